"""The runs of an experiment trained as stacks, and each ended as one that trained alone."""

import logging
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING
from typing import Any

import psutil
import torch
from torch import Tensor

from ..interruption import asked
from ..interruption import held
from ..job_folder import JobFolder
from ..processes import denormals_flushed
from ..processes import heap_kept
from .checkpoints import StackFolder
from .epoch_plan import Examples
from .gathering import Batches
from .stack import Stack
from .stacked_run import StackedRun

if TYPE_CHECKING:
    from ..experiments.run import Run
    from ..experiments.training import Begun
    from ..experiments.training import Experiment

logger = logging.getLogger(__name__)

End = Callable[[], dict[str, Any]]
"""Ends a run that is trained."""

_COPIES = 8  # of a run's weights: values, gradients, the optimiser's two, the best, the last, the model, room
_ACTIVATIONS = 6  # times the vectors of a batch


def train_stacked(experiment: "Experiment", runs: Sequence["Run"]) -> Iterator[tuple["Run", End]]:
    """Trains runs of an experiment as one model, or as several one after the other.

    What a run leaves in its folder is what it leaves when it trains alone, by the same writers. A stack that was
    killed goes on from its last state.

    Args:
        experiment: of the runs; checked (`check_stackable`).
        runs: that are not done; their folders are there.

    Yields each run once it is trained, with what is still to be called: it tests the run, writes its files, and gives
    or raises what `Experiment.train` does.
    """
    for members, folder in _stacks(experiment, runs):
        yield from _stack(experiment, members, folder)


def _stacks(experiment: "Experiment", runs: Sequence["Run"]) -> list[tuple[list["Run"], StackFolder | None]]:
    """The runs of each stack: those of stacks that began before, and the others."""
    place = JobFolder(experiment.job_folder).experiment(experiment.settings.name).stacks
    left = {run.identity: run for run in runs}
    found: list[tuple[list[Run], StackFolder | None]] = []
    for folder in StackFolder.found(place):
        members = [left.pop(identity) for identity in folder.members if identity in left]
        if members:
            found.append((members, folder))
        else:
            folder.remove()
    rest = list(left.values())
    size = experiment.settings.stack_size or len(rest)
    return found + [(rest[begin : begin + size], None) for begin in range(0, len(rest), size or 1)]


def _stack(experiment: "Experiment", runs: list["Run"], folder: StackFolder | None) -> Iterator[tuple["Run", End]]:
    """Trains one stack; two of half the runs where the device's memory doesn't hold it."""
    try:
        begun, stack, folder = _trained(experiment, runs, folder)
    except torch.OutOfMemoryError as error:
        too_much: torch.OutOfMemoryError | None = error.with_traceback(None)  # which holds the tensors
    else:
        too_much = None
    if too_much is not None:
        torch.cuda.empty_cache()
        if len(runs) == 1:
            yield runs[0], partial(_fail, too_much)
            return
        logger.info("%d runs are too many for the device's memory at once: they are stacked by halves", len(runs))
        for half in (runs[: len(runs) // 2], runs[len(runs) // 2 :]):
            yield from _stack(experiment, half, None)
        return
    for number, each in enumerate(begun):
        yield each.run, partial(_end, experiment, each, stack, number, len(folder.members))
    folder.remove()


def _end(experiment: "Experiment", begun: "Begun", stack: Stack, number: int, stacked: int) -> dict[str, Any]:
    trainer = begun.trainer
    trainer.close(stack.seconds[number], stack.layout.load, stack.last[number])
    return experiment.finish(begun, trainer.step_losses, trainer.step_rates, stacked=stacked)


def _fail(error: Exception) -> dict[str, Any]:
    raise error


def _trained(
    experiment: "Experiment", runs: list["Run"], folder: StackFolder | None
) -> tuple[list["Begun"], Stack, StackFolder]:
    begun = []
    for run in runs:
        begun.append(experiment.begin(run, experiment.callbacks, StackedRun))
        begun[-1].trainer.open(begun[-1].trainer.args.device)
    trainers, watches = [each.trainer for each in begun], [each.watch for each in begun]

    def measure(numbers: list[int], weights: dict[str, Tensor]) -> None:
        watches[0].measure([watches[number] for number in numbers], weights)

    stack = Stack(trainers, _examples(experiment, runs, trainers[0].args.device), measure)
    saved = None
    if folder is not None and (saved := folder.newest()) is not None:
        stack.restore([saved[folder.members.index(run.identity)] for run in runs])
    if saved is None or folder is None:
        if folder is not None:
            folder.remove()
        place = JobFolder(experiment.job_folder).experiment(experiment.settings.name).stacks
        folder = StackFolder.new(place, [run.identity for run in runs])
    logger.info("%s: %d runs are trained as one model", experiment.settings.name, len(runs))
    saving = _Saving(folder, len(folder.members) == len(runs), experiment.settings.save_seconds)
    try:
        with held(), denormals_flushed(), heap_kept():
            stack.train(saving)
    except torch.OutOfMemoryError:
        folder.remove()
        raise
    return begun, stack, folder


class _Saving:
    """Saves a stack at the end of an epoch: after some time, when a signal asked for the end, and when it is trained.

    Args:
        folder: where to.
        whole: whether the stack has all members of the folder: else what is there is more than what would be saved.
        seconds: the least time between two states.
    """

    def __init__(self, folder: StackFolder, whole: bool, seconds: float):
        self.folder, self.whole, self.seconds, self.last = folder, whole, seconds, time.monotonic()

    def __call__(self, stack: Stack) -> None:
        due = time.monotonic() - self.last >= self.seconds or asked() or not stack.runs
        if due and self.whole:
            self.folder.save(stack.epoch, [stack.saved(number) for number in range(len(stack.all))])
            self.last = time.monotonic()


def _examples(experiment: "Experiment", runs: Sequence["Run"], device: torch.device) -> Examples:
    data, settings = experiment.data, experiment.settings
    vectors = {f"{name}_features": experiment.inputs.vectors(name) for name in settings.modalities}
    return Examples(
        Batches(vectors, device, _free(device) / 2),
        data.label_ids,
        data.vad if settings.vad_loss_weight else None,
        [data.rows(run.fold.train) for run in runs],
        [data.rows(run.fold.validation) for run in runs],
    )


def _free(device: torch.device) -> float:
    """Bytes of the device's memory that are free."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


__all__ = ["train_stacked"]
