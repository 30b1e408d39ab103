"""A Trainer whose interrupted runs go on exactly as if nothing had happened."""

import json
import os
import shutil
import time
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from ..files import TEMPORARY
from ..files import is_of_the_disk
from ..interruption import Interrupted
from ..interruption import asked
from ..interruption import held
from ..processes import denormals_flushed
from ..processes import heap_kept
from .lean_trainer import LeanTrainer
from .resume_states import newest_state
from .resume_states import resume_states
from .resume_states import seal

_LOSS_FILE = "running_loss.json"
_STAGING = f".states{TEMPORARY}"


class ResumableTrainer(LeanTrainer):
    """`Trainer` that writes resume states whole, goes on from whole ones alone, and saves one when it is interrupted.

    When a state is written is up to a callback, which asks `save_due`. The two newest are kept.

    Args:
        identity: of what is trained: a resume state of anything else is not gone on from.
        The rest is as in `Trainer`; its `args` have `save_seconds`.
    """

    def __init__(self, *args, identity: str | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.identity = identity
        self._saved_at = self._began_at = time.monotonic()
        self._seconds_before = 0.0
        self._resume_folder: str | None = None
        self._writing = False
        self._interrupted_by = 0
        self._trial = None  # of `hyperparameter_search`
        self.add_callback(_Resuming(self))

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """As in `Trainer`; `resume_from_checkpoint=True` takes the newest whole resume state, if there is one.

        Raises Interrupted where a signal asked for the end: with a state saved if it came in the middle.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = self._newest_state()
        self._resume_folder = resume_from_checkpoint or None
        self._saved_at = self._began_at = time.monotonic()
        with held(), denormals_flushed(), heap_kept():
            return super().train(resume_from_checkpoint=self._resume_folder, **kwargs)

    @property
    def folder(self) -> Path:
        """Where the files of this training lie: of a trial of `hyperparameter_search`, in a folder of its own."""
        return Path(super()._get_output_dir(self._trial))

    @property
    def seconds(self) -> float:
        """Of training so far, those before it was interrupted included."""
        return self._seconds_before + time.monotonic() - self._began_at

    def _newest_state(self) -> str | None:
        """The state to go on from; the main process decides for all."""
        found = [None]
        if self.args.should_save:
            state = newest_state(self.args.output_dir, self.identity)
            found = [None if state is None else str(state)]
        return broadcast_object_list(found)[0]

    def save_due(self) -> bool:
        """Whether a resume state is to be saved: by the main process' clock, or since any process was interrupted.

        All processes ask together, and get the same answer.
        """
        waited = self.args.process_index == 0 and time.monotonic() - self._saved_at >= self.args.save_seconds
        due, self._interrupted_by = int(waited), asked()
        if self.args.world_size > 1:
            wanted = torch.tensor([due, self._interrupted_by], device=self.args.device)
            torch.distributed.all_reduce(wanted, op=torch.distributed.ReduceOp.MAX)
            due, self._interrupted_by = wanted.tolist()
        return bool(due or self._interrupted_by)

    # ---- trials of `hyperparameter_search` --------------------------------------------------------------------------

    def begin_anew(self) -> None:
        """Forgets what a training before has left: where `model_init` gives a model for each."""

    def _hp_search_setup(self, trial) -> None:
        """As in `Trainer`, after `begin_anew`."""
        if self.model_init is not None:
            self.begin_anew()
        super()._hp_search_setup(trial)

    def _report_to_hp_search(self, trial, step: int, metrics: dict[str, float]) -> None:
        """As in `Trainer`, by epochs: trials whose batches differ in size have other steps."""
        super()._report_to_hp_search(trial, round(self.state.epoch), metrics)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def _get_output_dir(self, trial) -> str:
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, _STAGING) if self._writing else folder

    def _save_checkpoint(self, model, trial) -> None:
        """Writes the resume state beside the others, and renames it when it is whole: a kill leaves no torn one.

        The one before is kept, for the case that this one can't be read.
        """
        folder = self.folder
        staging, name = folder / _STAGING, f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            for path in [staging, *resume_states(folder)[1:]]:
                shutil.rmtree(path, ignore_errors=True)
        self._running_loss = self.accelerator.gather(self._tr_loss).mean().item()  # as it is logged: of all ranks
        self.accelerator.wait_for_everyone()
        self._writing = True
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each has written a part
            if self.args.should_save:
                self.write_own_state(staging / name)
                seal(staging / name, self.identity)
                os.rename(staging / name, folder / name)
        except RuntimeError as error:
            if not is_of_the_disk(error):
                raise
            said = str(error).splitlines()[0]
            raise OSError(f"{folder / name} could not be written, is the disk full? {said}") from error
        finally:
            self._writing = False
            if self.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._saved_at = time.monotonic()

    def write_own_state(self, folder: Path) -> None:
        """Adds to a resume state what `Trainer` leaves out: the loss since it was last logged, and the time."""
        state = {
            "running_loss": self._running_loss,
            "last_logged_step": self._globalstep_last_logged,
            "seconds": self.seconds,
        }
        (folder / _LOSS_FILE).write_text(json.dumps(state))

    def restore_own_state(self, folder: Path) -> None:
        """Takes it from one."""
        state = json.loads((folder / _LOSS_FILE).read_text())
        self._tr_loss += state["running_loss"]
        self._globalstep_last_logged = state["last_logged_step"]
        self._seconds_before = state.get("seconds", 0.0)  # one of an earlier version lacks it

    def remove_resume_states(self) -> None:
        """Removes what only an interrupted run needs."""
        if self.args.should_save:
            for path in [*resume_states(self.folder), self.folder / _STAGING]:
                shutil.rmtree(path, ignore_errors=True)


class _Resuming(TrainerCallback):
    """Restores as training begins; ends it once the state of an interrupted one is saved."""

    def __init__(self, trainer: ResumableTrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if self.trainer._resume_folder is not None:
            self.trainer.restore_own_state(Path(self.trainer._resume_folder))

    def on_save(self, args, state, control, **kwargs):
        if self.trainer._interrupted_by:
            raise Interrupted(self.trainer._interrupted_by)


__all__ = ["ResumableTrainer"]
