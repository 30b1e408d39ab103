"""Runs side by side on this machine: N processes, each with its share of the cores, or with a GPU.

On Linux without a GPU they are forks of this process once everything is imported, loaded and planned, so that it is
paid once, and they share the memory of it. A fork must not follow the first parallel computation of torch (the threads
of OpenMP are not there in it, and are waited for): this process plans with one thread, and what is computed before the
runs (states of encoders, floors, the calibration of `auto`) is computed in a fork too. With a GPU, or on another
system, a fork can't be had: new processes import and plan for themselves, once each, and take run after run.
"""

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from ..errors import InputError
from ..experiments.running import OneByOne
from ..experiments.running import Place
from ..experiments.running import Work
from ..experiments.running import threads_of
from ..processes import process_state
from .calibration import Choice
from .calibration import choose
from .choosing import AUTO
from .crew import Crew
from .crew import Worker
from .forks import can_train
from .forks import in_a_fork
from .worker import serve_forked
from .worker import serve_spawned

logger = logging.getLogger(__name__)


class SideBySide:
    """The engine of `--jobs`.

    Args:
        jobs: how many processes; "auto", what a calibration says pays.
        threads: of a run; None, the cores shared out among the processes.
        fork: whether workers are forks of this process; None, where they can be.
    """

    def __init__(self, jobs: int | str, threads: int | None = None, fork: bool | None = None):
        self.jobs, self._threads = jobs, threads
        self.forks = sys.platform == "linux" and not torch.cuda.is_available() if fork is None else fork
        self._cores = torch.get_num_threads()

    @property
    def threads(self) -> int:
        """With which a run computes."""
        if self._threads is not None:
            return self._threads
        return max(1, self._cores // self.jobs) if isinstance(self.jobs, int) else self._cores

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keeps torch to one thread in this process, where it is going to be forked."""
        if process_state().num_processes > 1:
            raise InputError("--jobs is for one process: start the job without a launcher, or leave it out")
        self._cores, monitor = torch.get_num_threads(), tqdm.monitor_interval
        if self.forks:
            torch.set_num_threads(1)
            tqdm.monitor_interval = 0  # a thread, which a fork would lack
        try:
            yield
        finally:
            torch.set_num_threads(self._cores)
            tqdm.monitor_interval = monitor

    def make_ready(self, work: Work, make: Callable[[], None]) -> None:
        """Fills stores and fits floors, with all cores; then decides how many processes there are."""
        if self.forks:
            self.forks = bool(in_a_fork(can_train))
        if not self.forks:
            torch.set_num_threads(self._cores)
            make()
        else:
            in_a_fork(lambda: _made(make, self._cores))
            for experiment in work.unfinished():
                experiment.make_shared()  # from disk
        waiting = sum(not run.files.metrics.exists() for runs in work.plans for run in runs)
        if self.jobs == AUTO:
            choice = in_a_fork(lambda: choose(work, waiting, self._cores, self._threads)) if self.forks else None
            self.jobs = self._chosen(choice, waiting)

    def _chosen(self, choice: Choice | None, waiting: int) -> int:
        if choice is None:  # a GPU shows what it can do at its whole memory only
            return max(1, min(torch.cuda.device_count(), waiting))
        logger.info("--jobs auto: %s", choice)
        return choice.jobs

    def outcomes(self, work: Work) -> Iterator[tuple[Place, dict[str, Any]]]:
        """As the runs end."""
        if self.jobs == 1:
            with threads_of(self.threads):
                yield from OneByOne().outcomes(work)
            return
        yield from Crew(work, self.jobs, lambda number: self._start(number, work)).outcomes()
        torch.set_num_threads(self._cores)  # nothing is forked any more

    def _start(self, number: int, work: Work) -> Worker:
        context = multiprocessing.get_context("fork" if self.forks else "spawn")
        here, there = context.Pipe()
        target, given = serve_forked, (there, os.getpid(), self.threads, work)
        if not self.forks:
            level = logging.getLogger(__package__.partition(".")[0]).level
            target, given = serve_spawned, (there, os.getpid(), self.threads, work.recipe, level)
        process = context.Process(target=target, args=given, name=f"worker {number}")
        with _sees_one_gpu(number):
            process.start()
        there.close()
        return Worker(number, process, here)


def _made(make: Callable[[], None], cores: int) -> None:
    with threads_of(cores):
        make()


@contextmanager
def _sees_one_gpu(number: int) -> Iterator[None]:
    """Within, processes that are started see one GPU: the workers take them in turn."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    devices = [*map(str, range(torch.cuda.device_count()))] if not before else before.split(",")
    if not torch.cuda.is_available():
        yield
        return
    os.environ[name] = devices[number % len(devices)]
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


__all__ = ["SideBySide"]
