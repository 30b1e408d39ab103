"""How many runs side by side pay on this machine: the first run that is to be done, tried for a moment.

Once in as many processes as there are cores (or runs), each with its share of these, all at the same time; and once
alone, with all cores. The processes must do more in all by a margin, or the runs are taken one by one; and what each
of them needs of memory must be there for all.
"""

import dataclasses
import multiprocessing
import tempfile
import time
from pathlib import Path
from threading import BrokenBarrierError
from typing import Protocol

import psutil
import torch
from transformers import TrainerCallback

from ..experiments.run import Run
from ..experiments.running import Place
from ..experiments.running import Work
from ..experiments.running import threads_of
from ..experiments.training import Experiment
from .forks import Fork

_WARM_UP = 3  # steps
_SECONDS = 0.4
_FEWEST = 2  # steps, however long they take
MARGIN = 1.1
"""By how much runs side by side must do more than one after another."""
_MEMORY = 0.8  # share of what is free
_PATIENCE = 60.0  # seconds until the others are no longer waited for


class Barrier(Protocol):
    """Where processes wait for one another."""

    def wait(self, timeout: float) -> object:
        """Until all are there. Raises BrokenBarrierError where one has failed, or is late."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was found.

    Args:
        jobs: how many processes are taken.
        alone: steps a second of one run with all cores.
        together: steps a second of all runs of `tried` processes, each with its share of the cores.
        tried: how many processes were tried; 1, none.
        fit: how many there is memory for.
        on_each_of: so many GPUs, of which one was tried; 0, of none.
    """

    jobs: int
    alone: float = 0.0
    together: float = 0.0
    tried: int = 1
    fit: int = 1
    on_each_of: int = 0

    def __str__(self) -> str:
        if self.tried == 1:
            return "one after another (there are no two runs, or no two cores or room on a GPU, to be side by side)"
        chosen = "one after another" if self.jobs == 1 else f"{self.jobs} side by side"
        memory = f"; memory for {self.fit}" if self.fit < self.tried else ""
        return (
            f"{chosen} ({self.together:.0f} steps a second by {self.tried} processes, {self.alone:.0f} by one{memory}"
            f"{', tried on one GPU' if self.on_each_of > 1 else ''})"
        )


def choose(work: Work, waiting: int, cores: int, threads: int | None) -> Choice:
    """How many processes to take. To be called in a fork, in which torch has computed nothing with several threads.

    Args:
        work: the runs.
        waiting: how many of them are to be done.
        cores: of this machine.
        threads: of a run, where the user says how many; else the processes share the cores.
    """
    tried = min(waiting, cores // (threads or 1))
    place = next((each for each in work.places if not work.run(each).files.metrics.exists()), None)
    if tried < 2 or place is None:
        return Choice(1)
    free = psutil.virtual_memory().available
    found = _at_once(work, place, tried, threads or cores // tried)
    together = sum(rate for rate, _ in found)
    alone, _ = steps_a_second(work.experiments[place[0]], work.run(place), threads or cores)
    fit = int(_MEMORY * free / max(memory for _, memory in found))
    jobs = min(tried, fit) if together > MARGIN * alone else 1
    return Choice(max(1, jobs), alone, together, tried, fit)


def _at_once(work: Work, place: Place, number: int, threads: int) -> list[tuple[float, int]]:
    barrier = multiprocessing.get_context("fork").Barrier(number)
    experiment, run = work.experiments[place[0]], work.run(place)
    forks = [Fork(lambda: steps_a_second(experiment, run, threads, barrier)) for _ in range(number)]
    try:
        return [fork.given() for fork in forks]
    finally:
        for fork in forks:
            fork.end()


def steps_a_second(
    experiment: Experiment, run: Run, threads: int, barrier: Barrier | None = None
) -> tuple[float, int]:
    """Of a run that is begun and left, with its evaluations; and the memory that is this process' alone, in bytes.

    Args:
        barrier: where the processes wait for one another, once each is warm.
    """
    clock = _Clock(barrier)
    with tempfile.TemporaryDirectory() as folder, threads_of(threads):
        planned = dataclasses.replace(run, folder=Path(folder))
        trainer = experiment.begin(planned, [clock]).trainer
        trainer.args.save_seconds = float("inf")
        trainer.train()
        memory = psutil.Process().memory_full_info().uss
    return clock.rate, memory


class _Clock(TrainerCallback):
    """Ends a training after a moment; then knows its steps a second."""

    def __init__(self, barrier: Barrier | None):
        self.rate = 0.0
        self._barrier, self._steps, self._began = barrier, 0, time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        if self._steps == _WARM_UP:
            self._meet()
            _finish(args.device)
            self._began = time.monotonic()
        taken, seconds = self._steps - _WARM_UP, time.monotonic() - self._began
        if taken >= _FEWEST and seconds >= _SECONDS:
            _finish(args.device)
            control.should_training_stop = True
        if taken > 0:
            self.rate = taken / (time.monotonic() - self._began)
        self._steps += 1

    def _meet(self) -> None:
        try:
            if self._barrier is not None:
                self._barrier.wait(_PATIENCE)
        except BrokenBarrierError:  # one has failed, or is late: what is measured says less
            pass


def _finish(device: torch.device) -> None:
    """Waits until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


__all__ = ["MARGIN", "Barrier", "Choice", "choose", "steps_a_second"]
