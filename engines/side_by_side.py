"""Runs side by side on this machine: N processes, each with its share of the cores, or with a GPU.

On Linux without a GPU they are forks of this process once everything is imported, loaded and planned, so that it is
paid once, and they share the memory of it. A fork must not follow the first parallel computation of torch (the threads
of OpenMP are not there in it, and are waited for): this process plans with one thread, and what is computed before the
runs (states of encoders, floors, the calibration of `auto`) is computed in a fork too. With GPUs they are forks of a
fork that was taken before this process touched one (`fork_server`): what is imported is there, and they plan for
themselves. Several share a GPU, as many as its memory holds (`cards`). On another system, and where the driver was
touched too early, new processes import and plan for themselves, once each, and take run after run.
"""

import logging
import math
import multiprocessing
import os
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
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
from .cards import Cards
from .cards import let_go
from .cards import names_of
from .cards import visible_cards
from .choosing import AUTO
from .crew import Crew
from .crew import Worker
from .fork_server import Forked
from .fork_server import ForkServer
from .fork_server import computes_on_gpu
from .forks import can_train
from .forks import in_a_fork
from .gpu_trial import choose_on_gpu
from .planned_anew import PlannedAnew
from .worker import Anew
from .worker import serve_forked
from .worker import serve_spawned

logger = logging.getLogger(__name__)

_MOST = 8  # processes that `auto` tries on a GPU, which takes turns between them


class SideBySide:
    """The engine of `--jobs`.

    Args:
        jobs: how many processes; "auto", what a calibration says pays.
        threads: of a run; None, the cores shared out among the processes.
        fork: whether workers are forks of this process; None, where they can be.
        anew: what a worker that is no fork carries out its runs with, and can be pickled; None, the recipe's plan.
    """

    def __init__(
        self,
        jobs: int | str,
        threads: int | None = None,
        fork: bool | None = None,
        anew: Callable[[int], Anew] | None = None,
    ):
        self.jobs, self._threads, self._cards, self._anew = jobs, threads, visible_cards(), anew
        can_fork = sys.platform == "linux" if fork is None else fork
        self.forks = can_fork and not self._cards
        self._forks_early = can_fork and bool(self._cards)
        self._server: ForkServer | None = None
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
        self._cores, monitor = torch.get_num_threads(), tqdm.monitor_interval
        if self.forks:
            torch.set_num_threads(1)
            tqdm.monitor_interval = 0  # a thread, which a fork would lack
        if self._forks_early:
            self._server = ForkServer(computes_on_gpu)
        try:
            if process_state().num_processes > 1:  # which touches a GPU
                raise InputError("--jobs is for one process: start the job without a launcher, or leave it out")
            yield
        finally:
            if self._server is not None:
                self._server.end()
            torch.set_num_threads(self._cores)
            tqdm.monitor_interval = monitor

    def make_ready(self, work: Work, make: Callable[[], None]) -> None:
        """Fills stores and fits floors, with all cores; then decides how many processes there are: no more than runs,
        done or not, among which the cores are shared out."""
        if isinstance(self.jobs, int):
            self.jobs = max(1, min(self.jobs, len(work.places)))
        if self.forks:
            self.forks = bool(in_a_fork(can_train))
        if not self.forks:
            torch.set_num_threads(self._cores)
            make()
            let_go()
        else:
            in_a_fork(lambda: _made(make, self._cores))
            for experiment in work.unfinished():
                experiment.make_shared()  # from disk
        waiting = sum(not run.files.metrics.exists() for runs in work.plans for run in runs)
        if self.jobs == AUTO:
            self.jobs = self._chosen(work, waiting)

    def _chosen(self, work: Work, waiting: int) -> int:
        if self.forks:
            choice = in_a_fork(lambda: choose(work, waiting, self._cores, self._threads))
        elif self._cards:
            choice = self._chosen_on_gpus(work, waiting)
        else:
            choice = Choice(1)
        logger.info("--jobs auto: %s", choice)
        return choice.jobs

    def _chosen_on_gpus(self, work: Work, waiting: int) -> Choice:
        """What pays on one of them, on all; at least one run on each."""
        cards, threads = len(self._cards), self._threads or 1
        place = next((each for each in work.places if not work.run(each).files.metrics.exists()), None)
        if place is None:
            return Choice(1)
        most = min(math.ceil(waiting / cards), self._cores // threads // cards, _MOST)

        def start(number: int, target: Callable[..., None], args: tuple[Any, ...]) -> tuple[Any, Connection]:
            return self._process(number * cards, target, args)

        choice = choose_on_gpu(start, work.recipe, place, most, threads)
        return replace(choice, jobs=max(1, min(choice.jobs * cards, waiting)), on_each_of=cards)

    def outcomes(self, work: Work) -> Iterator[tuple[Place, dict[str, Any]]]:
        """As the runs end."""
        if self.jobs == 1:
            with threads_of(self.threads):
                yield from OneByOne().outcomes(work)
            return
        cards = Cards(len(self._cards), self.jobs) if self._cards else None
        yield from Crew(work, self.jobs, lambda number: self._start(number, work), cards).outcomes()
        torch.set_num_threads(self._cores)  # nothing is forked any more

    def _start(self, number: int, work: Work) -> Worker:
        if self.forks:
            return Worker(number, *self._process(number, serve_forked, (self.threads, work)))
        level = logging.getLogger(__package__.partition(".")[0]).level
        first = next((place[0] for place in work.places if not work.run(place).files.metrics.exists()), None)
        anew = PlannedAnew(work.recipe) if self._anew is None else self._anew(self.jobs)
        return Worker(number, *self._process(number, serve_spawned, (self.threads, anew, level, first)))

    def _forks_early_still(self) -> bool:
        """Whether there is a server whose forks can compute on the GPU; says so once where they can't."""
        if self._server is not None and not self._server.usable:
            logger.info("--jobs: new processes, which import for themselves, since forks can't use the GPU here")
            self._server.end()
            self._server = None
        return self._server is not None

    def _process(
        self, number: int, target: Callable[..., None], args: tuple[Any, ...]
    ) -> tuple[BaseProcess | Forked, Connection]:
        """A process at `target(connection, its parent, *args)`, and the connection to it; it sees one GPU."""
        context = multiprocessing.get_context("fork" if self.forks else "spawn")
        here, there = context.Pipe()
        environment = names_of(self._cards, number)
        if self._forks_early_still():
            process = self._server.start(target, there, args, environment)
        else:
            process = context.Process(target=target, args=(there, os.getpid(), *args), name=f"worker {number}")
            with _environment(environment):
                process.start()
        there.close()
        return process, here


def _made(make: Callable[[], None], cores: int) -> None:
    with threads_of(cores):
        make()


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Within, processes that are started have these changes to the environment."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


__all__ = ["SideBySide"]
