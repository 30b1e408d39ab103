"""Forks for runs on a GPU: a fork of this process, taken before it touches one, that forks workers when it is asked.

What has touched a GPU can't be forked to compute on one, and to plan a job is to touch it. But what was imported
before is there in the fork, and so in all workers: new processes would take seconds each to import it.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle
from multiprocessing.reduction import send_handle
from typing import Any

import torch

from ..errors import InputError
from ..interruption import end_with_parent
from ..interruption import held
from .forks import can_train
from .forks import in_a_fork

_PATIENCE = 5.0  # seconds until the server is killed
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ForkServer:
    """A fork of this process as it is now, and what it forks.

    Args:
        can_compute: asked in a fork of it, whether that can compute on the GPU.
    """

    def __init__(self, can_compute: Callable[[], bool]):
        context = multiprocessing.get_context("fork")
        self._connection, there = context.Pipe()
        given = (there, self._connection, os.getpid(), can_compute)
        self._process = context.Process(target=_serve, args=given, name="fork server")
        self._process.start()
        there.close()
        self._usable: bool | None = None

    @property
    def usable(self) -> bool:
        """Whether its forks can compute on the GPU; waits until that is known."""
        if self._usable is None:
            try:
                self._usable = bool(self._connection.recv())
            except (EOFError, OSError):
                self._usable = False
        return self._usable

    def start(
        self, target: Callable[..., None], connection: Connection, args: tuple[Any, ...], environment: dict[str, str]
    ) -> "Forked":
        """A fork of it, at `target(connection, its parent, *args)`, with changes to the environment.

        Args:
            target, args: can be pickled.
            connection: is handed over.
        """
        here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
        self._connection.send((target, args, environment))
        for end in (connection, there):
            send_handle(self._connection, end.fileno(), self._process.pid)
        there.close()
        return Forked(here)

    def end(self) -> None:
        """Ends it; its forks have ended, or end with it."""
        with held():
            self._connection.close()
            self._process.join(_PATIENCE)
            self._process.kill()
            self._process.join()


class Forked:
    """A fork of the server's, as `multiprocessing` shows a process.

    Args:
        said: where the server says its number, and its exit code.
    """

    def __init__(self, said: Connection):
        self.sentinel, self._code = said, None
        try:
            self.pid = said.recv()
        except (EOFError, OSError):
            self.pid, self._code = None, -signal.SIGKILL

    @property
    def exitcode(self) -> int | None:
        """None until it has ended."""
        if self._code is None and self.sentinel.poll():
            try:
                self._code = self.sentinel.recv()
            except (EOFError, OSError):  # the server has been killed, and it with it
                self._code = -signal.SIGKILL
        return self._code

    def join(self) -> None:
        """Waits for its end."""
        while self.exitcode is None:
            wait([self.sentinel])

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.exitcode is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:  # it has just ended
                pass

    def close(self) -> None:
        """Forgets it."""
        self.sentinel.close()


def computes_on_gpu() -> bool:
    """Whether this process, a fork, can train, and on a GPU."""
    try:
        torch.ones(1, device="cuda").sum().item()
    except (RuntimeError, AssertionError):
        return False
    return can_train()


# ---- the server -----------------------------------------------------------------------------------------------------


def _serve(connection: Connection, other: Connection, parent: int, can_compute: Callable[[], bool]) -> None:
    end_with_parent()
    if os.getppid() != parent:
        return
    other.close()
    # What is sent to all processes, by a terminal or by SLURM, the workers hear themselves, and save their states.
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        usable = in_a_fork(can_compute)
    except InputError:  # it was killed
        usable = False
    connection.send(usable)
    children: dict[BaseProcess, Connection] = {}
    while True:
        ready = wait([connection, *(child.sentinel for child in children)])
        for child in [each for each in children if each.sentinel in ready]:
            _say_end(child, children.pop(child))
        if connection in ready:
            try:
                target, args, environment = connection.recv()
                given, said = (Connection(recv_handle(connection)) for _ in range(2))
            except (EOFError, OSError):
                os._exit(0)
            child = _forked(target, (given, os.getpid(), *args), environment, handlers)
            given.close()
            said.send(child.pid)
            children[child] = said


def _forked(
    target: Callable[..., None], args: tuple[Any, ...], environment: dict[str, str], handlers: dict[int, Any]
) -> BaseProcess:
    def begin() -> None:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.environ.update(environment)
        target(*args)

    child = multiprocessing.get_context("fork").Process(target=begin)
    child.start()
    return child


def _say_end(child: BaseProcess, said: Connection) -> None:
    child.join()
    try:
        said.send(child.exitcode)
    except OSError:  # no one listens any more
        pass
    said.close()
    child.close()


__all__ = ["ForkServer", "Forked", "computes_on_gpu"]
