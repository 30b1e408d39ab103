"""A process that carries out runs of a job for another: what it hears and says, over a connection.

It hears (place, identity, alone) of a run, or None, which ends it. It says ("epoch", number, epochs), ("log", record),
("line", text) of what goes to stdout or stderr, and of each run ("ended", outcome), ("crowded",) where it found too
little memory beside others, or ("error", exception), which is the end of the job. On a GPU it says ("memory", Memory),
too, of a run that is not alone. Log records and lines travel whole, so that those of several processes don't mix.
"""

import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any
from typing import Protocol

from ..experiments.progress import EpochsBegin
from ..experiments.running import Crowded
from ..experiments.running import Place
from ..experiments.running import Work
from ..experiments.running import threads_of
from ..hub_access import limit_waiting
from ..interruption import end_with_parent
from ..interruption import interruptible
from ..settings.recipe import Recipe
from .cards import Measuring
from .cards import let_go
from .planned_anew import PlannedAnew

CarryOut = Callable[[Place, str, list[Any], bool], dict[str, Any]]
"""Gives the outcome of the run at a place, of this identity, with these callbacks of its Trainer, and whether its
device is its own."""


class Anew(Protocol):
    """What carries out runs in a process that did not plan them, as `PlannedAnew` does."""

    carry_out: CarryOut

    def read(self, number: int) -> None:
        """Reads what the runs of this number need and is no GPU's."""


class Voice:
    """Says messages over a connection, whole, from any thread."""

    def __init__(self, connection: Connection):
        self._connection, self._lock = connection, threading.RLock()

    def say(self, *message: Any) -> None:
        """Nothing where no one hears it any more."""
        content = ForkingPickler.dumps(message)
        with self._lock:
            try:
                self._connection.send_bytes(content)
            except OSError:  # the other process is ending, and ends this one
                pass

    def take_over(self) -> None:
        """Sends all that this process logs and prints through it."""
        sys.stdout = sys.stderr = _Lines(self)
        handler = _Records(self)
        known = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
        for logger in (logging.root, *known):
            if any(isinstance(each, logging.StreamHandler) for each in logger.handlers) or logger is logging.root:
                logger.handlers = [handler]


class _Records(QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.say("log", record)


class _Lines(io.TextIOBase):
    """A stream whose whole lines are said."""

    def __init__(self, voice: Voice):
        self._voice, self._begun = voice, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self._voice.say("line", line)
        return len(text)


# ---- the process ----------------------------------------------------------------------------------------------------


def serve_forked(connection: Connection, parent: int, threads: int, work: Work) -> None:
    """In a fork of the process that planned the job: its experiments are there."""

    def carry_out(place: Place, identity: str, callbacks: list[Any], alone: bool) -> dict[str, Any]:
        work.experiments[place[0]].callbacks = callbacks
        return work.carry_out(place)

    _serve(connection, parent, threads, lambda: carry_out)


def serve_spawned(
    connection: Connection, parent: int, threads: int, anew: Anew, level: int, first: int | None = None
) -> None:
    """In a process that has planned nothing: it plans the experiments of its runs anew.

    Args:
        anew: plans and carries out.
        level: of what EmoMM logs.
        first: the number of an experiment whose corpora are read before a run is heard of.
    """

    def begin() -> CarryOut:
        speak_from(level)
        if first is not None:
            anew.read(first)
        return anew.carry_out

    _serve(connection, parent, threads, begin)


def planned_anew(recipe: Recipe, level: int) -> PlannedAnew:
    """The runs of a job, for a process that logs from this level on and has no terminal."""
    speak_from(level)
    return PlannedAnew(recipe)


def speak_from(level: int) -> None:
    """Lets this process, which has no terminal, log from a level on."""
    logging.getLogger(__package__.partition(".")[0]).setLevel(level)
    logging.getLogger(PlannedAnew.__module__.rpartition(".")[0]).setLevel(level)
    limit_waiting()
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


def _serve(connection: Connection, parent: int, threads: int, begin: Callable[[], CarryOut]) -> None:
    """Until it hears None, or is interrupted.

    Args:
        connection: to the process that started this one.
        parent: its number; when it ends, so does this one.
        threads: of a run.
        begin: what precedes the first run.
    """
    end_with_parent()
    if os.getppid() != parent:  # it has ended before it was asked for
        return
    voice = Voice(connection)
    try:
        with interruptible():
            voice.take_over()
            with threads_of(threads):
                _carry_out_runs(connection, voice, begin)
    except KeyboardInterrupt:
        sys.exit(1)  # what can be gone on with is saved


def _carry_out_runs(connection: Connection, voice: Voice, begin: Callable[[], CarryOut]) -> None:
    try:
        carry_out = begin()
        while (asked := connection.recv()) is not None:
            place, identity, alone = asked
            callbacks: list[Any] = [EpochsBegin(lambda number, epochs: voice.say("epoch", number, epochs))]
            if not alone:
                callbacks.append(Measuring(lambda found: voice.say("memory", found)))
            try:
                outcome = carry_out(place, identity, callbacks, alone)
            except Crowded:
                voice.say("crowded")
            else:
                let_go()
                voice.say("ended", outcome)
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 whatever it is, it is raised where the job is
        voice.say("error", portable(error))


def portable(error: Exception) -> Exception:
    """The error as another process can read it, with where it was raised as a note."""
    error.add_note(f"in process {os.getpid()}:\n{traceback.format_exc()}")
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # noqa: BLE001 an error can hold anything
        return RuntimeError("\n".join([f"{type(error).__name__}: {error}", *error.__notes__]))
    return error


__all__ = ["CarryOut", "Voice", "planned_anew", "portable", "serve_forked", "serve_spawned"]
