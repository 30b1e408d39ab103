"""How the runs of a job are carried out: what a job asks of an engine, and the engine that takes run after run."""

import logging
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from typing import Protocol

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..evaluation.learning_checks import run_line
from ..settings.recipe import Recipe
from .progress import JobProgress
from .run import Run
from .run import RunFailed
from .run_folder import begin_run
from .run_folder import keep_run
from .run_folder import outcome_of
from .run_folder import tidy
from .training import Experiment

logger = logging.getLogger(__name__)

Place = tuple[int, int]
"""A run of a job: the number of its experiment, and its number among the runs of that."""

_MEMORY_ERRORS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")
"""What libraries of a GPU say in RuntimeErrors of their own where there is no memory for them."""


class Crowded(RuntimeError):
    """A run found too little memory on a device that it shares with others."""


@dataclass
class Work:
    """The planned runs of a job.

    Args:
        recipe: of which they are.
        experiments: ready to train.
        plans: the runs of each.
        state: this process among those of a launch.
        progress: told of runs and epochs.
    """

    recipe: Recipe
    experiments: Sequence[Experiment]
    plans: Sequence[Sequence[Run]]
    state: PartialState
    progress: JobProgress

    @property
    def places(self) -> list[Place]:
        """The runs that an engine carries out, in the order of the plan: all but those that are stacked."""
        alone = [number for number, experiment in enumerate(self.experiments) if not experiment.settings.stack]
        return [(number, each) for number in alone for each in range(len(self.plans[number]))]

    def run(self, place: Place) -> Run:
        """The run at a place."""
        return self.plans[place[0]][place[1]]

    def unfinished(self) -> list[Experiment]:
        """The experiments with runs to be done."""
        planned = zip(self.experiments, self.plans, strict=True)
        return [each for each, runs in planned if not all(run.files.metrics.exists() for run in runs)]

    def done_before(self, place: Place) -> dict[str, Any] | None:
        """What a run that is done has left; None of one that is not, or whose files can't be relied on."""
        planned = self.run(place)
        found = [outcome_of(planned) if self.state.is_main_process else None]
        outcome = broadcast_object_list(found)[0]  # the main process decides for all
        if outcome is not None:
            if self.state.is_main_process:
                keep_run(planned)
            logger.info("%s: done before", planned)
        return outcome

    def carry_out(self, place: Place) -> dict[str, Any]:
        """What a run gives that is not done: what its metrics.json holds, or why it failed."""
        return carry_out(self.experiments[place[0]], self.run(place), self.state)


def carry_out(experiment: Experiment, planned: Run, state: PartialState, alone: bool = True) -> dict[str, Any]:
    """Trains and tests a run: what its metrics.json holds, or `failed_outcome`.

    Args:
        alone: whether its device is its own. Where it isn't, and there is too little memory, Crowded is raised.
    """
    if state.is_main_process:
        begin_run(planned)
    state.wait_for_everyone()
    return ended(planned, lambda: experiment.train(planned), state, alone)


def ended(planned: Run, end: Callable[[], dict[str, Any]], state: PartialState, alone: bool = True) -> dict[str, Any]:
    """How a run ends, which is said: what `end` gives, which trains or only tests it, or `failed_outcome`."""
    started = time.monotonic()
    try:
        outcome = end()
    except RunFailed as error:
        return failed_outcome(planned, error)
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        if not alone:
            raise Crowded(str(planned)) from None
        said = "out of memory on the device; lower batch_size (and raise gradient_accumulation_steps)"
        return failed_outcome(planned, RunFailed(said))
    if state.is_main_process:
        tidy(planned.folder)
    logger.info(
        "%s: validation UAR %.3f, %s, %.1f s",
        planned,
        outcome["validation"]["uar"],
        ", ".join(f"{name} UAR {scores['uar']:.3f}" for name, scores in outcome["test"].items()),
        time.monotonic() - started + (outcome["train_seconds"] if "stacked" in outcome else 0),
    )
    if outcome["warnings"]:
        logger.warning("%s: %s", planned, run_line(outcome["warnings"]))
    return outcome


def lacks_memory(error: Exception) -> bool:
    """Whether it says that a device has too little memory."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _MEMORY_ERRORS)


def failed_outcome(planned: Run, error: RunFailed) -> dict[str, Any]:
    """What results.json says of a run that gave no result, which is said."""
    logger.error("%s: %s", planned, error)
    return {
        "seed": planned.seed,
        "fold": planned.fold.name,
        "status": f"failed: {error}",
        "warnings": error.warnings,
    }


@contextmanager
def threads_of(number: int | None) -> Iterator[None]:
    """Within, this process computes with so many threads; None leaves them as they are."""
    if number is None:
        yield
        return
    before = torch.get_num_threads()
    with threadpool_limits(limits=number):
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)


class Engine(Protocol):
    """What a job asks of an engine. Results are equal whichever it is, at equal threads a run."""

    @property
    def threads(self) -> int:
        """With which a run computes; known once `make_ready` is through."""

    def at_work(self) -> AbstractContextManager[None]:
        """Around all of a job, its planning included. Raises InputError where the engine can't be had."""

    def make_ready(self, work: Work, make: Callable[[], None]) -> None:
        """Before the first run. `make` fills stores and keeps floors in the job's folder, for all runs: an engine may
        call it here, in another process, or leave it to the runs."""

    def outcomes(self, work: Work) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Carries out the runs that are not done, and gives the outcome of each, in any order."""


class OneByOne:
    """Run after run, in this process.

    Args:
        threads: of a run; None, as torch has them.
    """

    def __init__(self, threads: int | None = None):
        self._threads = threads

    @property
    def threads(self) -> int:
        """With which a run computes."""
        return torch.get_num_threads() if self._threads is None else self._threads

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keeps progress bars from having a thread, which a fork that fits floors would lack."""
        monitor, tqdm.monitor_interval = tqdm.monitor_interval, 0
        try:
            yield
        finally:
            tqdm.monitor_interval = monitor

    def make_ready(self, work: Work, make: Callable[[], None]) -> None:
        """The threads are those of training alone: what is made for all runs is made with all."""
        if self._threads is not None:
            make()

    def outcomes(self, work: Work) -> Iterator[tuple[Place, dict[str, Any]]]:
        """In the order of the plan."""
        for place in work.places:
            work.progress.begin(str(work.run(place)))
            outcome = work.done_before(place)
            if outcome is None:
                work.experiments[place[0]].callbacks = [work.progress.callback()]
                with threads_of(self._threads):
                    outcome = work.carry_out(place)
            work.progress.end(outcome)
            yield place, outcome


__all__ = [
    "Crowded",
    "Engine",
    "OneByOne",
    "Place",
    "Work",
    "carry_out",
    "ended",
    "failed_outcome",
    "lacks_memory",
    "threads_of",
]
