"""How many runs side by side pay on a GPU: the first run that is to be done, tried for a moment.

In processes that stay: once in one of them alone, which also shows what a run takes of the memory; then in as many as
there are cores, runs and memory for, all at the same time, and in half of these. They must do more in all by a margin.
"""

import logging
from collections.abc import Callable
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.connection import wait
from threading import BrokenBarrierError
from typing import Any

from ..experiments.running import Place
from ..experiments.running import lacks_memory
from ..interruption import end_with_parent
from ..settings.recipe import Recipe
from .calibration import MARGIN
from .calibration import Choice
from .calibration import steps_a_second
from .cards import Memory
from .cards import let_go
from .cards import memory_now
from .worker import planned_anew

_PATIENCE = 120.0  # seconds until a process is no longer waited for
Start = Callable[[int, Callable[..., None], tuple[Any, ...]], tuple[Any, Connection]]
"""Starts a process of a number at a function of (connection, parent, *args); gives it and the connection to it."""


def choose_on_gpu(start: Start, recipe: Recipe, place: Place, most: int, threads: int) -> Choice:
    """How many processes to take on one GPU.

    Args:
        start: starts a process that sees that GPU.
        recipe: of the job.
        place: of the run that is tried.
        most: processes that there are runs and cores for.
        threads: of a run.
    """
    if most < 2:
        return Choice(1)
    processes = [start(number, serve_trial, (threads, recipe, place)) for number in range(most)]
    try:
        return _tried([connection for _, connection in processes])
    finally:
        for process, connection in processes:
            connection.close()
            process.kill()
            process.join()
            process.close()


def _tried(connections: Sequence[Connection]) -> Choice:
    if not all([_heard(connection) == "planned" for connection in connections]):  # nothing else is going on then
        return Choice(1)
    tried = _rates(connections[:1])
    if tried is None:
        return Choice(1)
    alone, memory = tried
    fit = max(1, memory.room // memory.need)
    most, found = min(fit, len(connections)), {1: alone}
    for number in sorted({most, most // 2} - {0, 1}, reverse=True):
        tried = _rates(connections[:number])
        if tried is None:
            break
        found[number] = tried[0]
    several = [number for number in found if number > 1]
    if not several:
        return Choice(1, alone, alone, 1, fit)
    best = max(several, key=found.get)
    jobs = best if found[best] > MARGIN * alone else 1
    return Choice(jobs, alone, found[best], best, fit)


def _rates(connections: Sequence[Connection]) -> tuple[float, Memory] | None:
    """Steps a second of all of these processes at the same time, and what the first takes; None where one can't."""
    for connection in connections:
        connection.send("try")
    if not all([_heard(connection) == "ready" for connection in connections]):  # all of them are heard
        return None
    for connection in connections:
        connection.send("go")
    found = [_heard(connection) for connection in connections]
    if any(said is None for said in found):
        return None
    return sum(rate for rate, _ in found), found[0][1]


def _heard(connection: Connection) -> Any:
    """What it says next; None where it has failed."""
    try:
        return connection.recv() if wait([connection], _PATIENCE) else None
    except (EOFError, OSError):
        return None


# ---- the process ----------------------------------------------------------------------------------------------------


class _OverThere:
    """A barrier that the other end of a connection keeps.

    Args:
        connection: to it.
    """

    def __init__(self, connection: Connection):
        self._connection = connection

    def wait(self, timeout: float) -> None:
        """Says that it is there, and waits for the word."""
        try:
            self._connection.send("ready")
            if self._connection.poll(timeout) and self._connection.recv() == "go":
                return
        except (EOFError, OSError):
            pass
        raise BrokenBarrierError


def serve_trial(connection: Connection, parent: int, threads: int, recipe: Recipe, place: Place) -> None:
    """Tries a run whenever it is told to, and says what came of it; None where there is too little memory."""
    end_with_parent()
    try:
        planned = planned_anew(recipe, logging.ERROR)
        experiment, run = planned.experiment(place), planned.run(place)
        connection.send("planned")
        while connection.recv() == "try":
            try:
                rate, _ = steps_a_second(experiment, run, threads, _OverThere(connection))
                said = (rate, memory_now())
            except RuntimeError as error:
                if not lacks_memory(error):
                    raise
                said = None
            connection.send(said)
            let_go()
    except (EOFError, OSError, KeyboardInterrupt):
        return


__all__ = ["choose_on_gpu", "serve_trial"]
