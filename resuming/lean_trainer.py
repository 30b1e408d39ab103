"""A Trainer that does once what it would do at each step or evaluation, to the same results."""

from functools import cache

import accelerate.optimizer
import accelerate.utils.other
import transformers.trainer
from torch.utils.data import DataLoader
from torch.utils.data import Dataset
from transformers import Trainer

_ASKED = (
    (accelerate.optimizer, "is_lomo_available"),
    (accelerate.utils.other, "is_deepspeed_available"),
    (transformers.trainer, "is_sagemaker_mp_enabled"),
)
"""Some times a step these are asked whether there is something that hardly anybody has: they look through the disk, or
read the environment, up to .16 ms each. Once is enough."""

for _module, _name in _ASKED:
    if hasattr(_module, _name):  # not in every version
        setattr(_module, _name, cache(getattr(_module, _name)))


class LeanTrainer(Trainer):
    """`Trainer` that keeps the loader of the rows that it evaluates after each epoch."""

    _loader_of: tuple[object, object] = (None, None)

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """As in `Trainer`; of its own evaluation rows, read by this process, the loader that was prepared before."""
        own = eval_dataset is None or eval_dataset is self.eval_dataset
        if not own or self.args.dataloader_num_workers or isinstance(self.eval_dataset, dict):
            return super().get_eval_dataloader(eval_dataset)
        of = (self.eval_dataset, self.accelerator)
        if any(kept is not each for kept, each in zip(self._loader_of, of, strict=True)):
            self._loader_of, self._kept_loader = of, super().get_eval_dataloader()
        return self._kept_loader


__all__ = ["LeanTrainer"]
