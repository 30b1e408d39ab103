"""Says while a run trains that it learns nothing, and stops it where its weights are no longer finite."""

import logging
import math
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from ..evaluation.learning_checks import KINDS
from ..evaluation.learning_checks import RunRecord
from ..evaluation.learning_checks import Warnings
from ..evaluation.learning_checks import learning_warnings
from ..evaluation.learning_checks import run_line

logger = logging.getLogger(__name__)

_SAMPLE = 4096  # values of a weight that are compared with what they were
_SMALL = 0.01  # a weight that was smaller, such as a bias of 0, is compared with this
_AT_ONCE = ("loss_not_finite",)
_FIRST_WORD = 3  # epochs, at least, until anything is said of a run that is merely slow


class LearningWatch(TrainerCallback):
    """Looks at the weights once an epoch, and says each warning of `learning_checks` once, as soon as it is due.

    Weights that are not finite never become finite again: training stops at the end of that epoch, without a resume
    state. A loss that is not finite is said at the end of its epoch; everything else from half of the epochs on, since
    a run may begin slowly. Nothing is looked at within an epoch, and it holds no state that a resumed run would lack:
    the weights that it compares with are those that the seed gives. To be added after the Trainer's own callbacks.

    Args:
        model: with the weights that the run begins with, also where it is going to be resumed.
        name: of the run.
        record: what is known of the run before it trains.
    """

    def __init__(self, model: nn.Module, name: str, record: RunRecord):
        self.name, self.record = name, record
        self._said: set[str] = set()
        trained = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
        self._before = {key: _samples(weight.unsqueeze(0))[0].clone() for key, weight in trained.items()}
        self._size = {key: before.square().mean().sqrt().clamp(min=_SMALL) for key, before in self._before.items()}
        self._measured: torch.Tensor | None = None

    @torch.no_grad()
    def look(self, model: nn.Module, epoch: float) -> None:
        """Notes whether the trainable weights are finite at the end of this epoch, and how far they have moved.

        How far: the largest change of a parameter, the root mean square of its changes over that of its values at the
        start. None where no parameter has the shape that it had, as when they are spread over devices. Waits for the
        device once.
        """
        if self._measured is None:
            trained = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
            self.measure([self], {key: weight.unsqueeze(0) for key, weight in trained.items()})
        (lowest, highest, changes), self._measured = self._measured.unbind(dim=1), None
        finite = lowest.isfinite() & highest.isfinite()
        largest = changes.nan_to_num(nan=math.inf).max().item()
        self.record = replace(
            self.record,
            weights_change=None if largest < 0 else largest,
            diverged_epoch=None if finite.all() else round(epoch),
        )

    @staticmethod
    @torch.no_grad()
    def measure(watches: Sequence["LearningWatch"], weights: Mapping[str, torch.Tensor]) -> None:
        """Looks at the weights of several runs at once, those that each watch `look`s at next: (runs, ...) each."""
        found = []
        for key, values in weights.items():
            before = torch.stack([watch._before[key] for watch in watches]).to(values.device)
            now = _samples(values)
            if now.shape == before.shape:
                size = torch.stack([watch._size[key] for watch in watches]).to(values.device)
                change = (now - before).square().mean(dim=1).sqrt() / size
            else:
                change = torch.full((len(values),), -1.0, device=values.device)
            # NaN and infinity are the lowest or the highest value of all.
            extremes = torch.aminmax(values.detach().flatten(1), dim=1)
            found.append(torch.stack([*(value.float() for value in extremes), change], dim=1))
        for watch, measured in zip(watches, torch.stack(found, dim=1).cpu(), strict=True):
            watch._measured = measured  # (weights, 3)

    def warnings(self, history: list[dict[str, Any]], kinds: Collection[str] = KINDS, **more: Any) -> Warnings:
        """What there is to say of the run, of some `kinds`, given its history and `more` fields of its record."""
        return learning_warnings(replace(self.record, history=history, **more), kinds)

    def on_epoch_end(self, args, state, control, model, **kwargs):
        self.look(model, state.epoch)
        if self.record.diverged_epoch is not None:
            control.should_training_stop = True
            # Its scores would be of no model, and from a state of it a resumed run would go on.
            control.should_evaluate = control.should_save = False
            self._say(state, _AT_ONCE)

    def on_epoch_begin(self, args, state, control, **kwargs):
        done, epochs = state.epoch or 0, args.stop_after_epoch or args.num_train_epochs
        if done and not done % 1:  # not where one is resumed in its middle
            self._say(state, KINDS if done >= max(_FIRST_WORD, epochs / 2) else _AT_ONCE)

    def _say(self, state, kinds: tuple[str, ...]) -> None:
        found = self.warnings(state.log_history, kinds)
        new = [each for each in found if each["kind"] not in self._said]
        self._said |= {each["kind"] for each in new}
        if new and state.is_world_process_zero:
            logger.warning("%s: so far, after epoch %d: %s", self.name, round(state.epoch), run_line(new))


def _samples(weights: torch.Tensor) -> torch.Tensor:
    """At most `_SAMPLE` of the values of each of several weights (n, ...), evenly spread, in float32 (n, m)."""
    flat = weights.detach().flatten(1)
    return flat[:, :: max(1, -(-flat.shape[1] // _SAMPLE))].float()


__all__ = ["LearningWatch"]
