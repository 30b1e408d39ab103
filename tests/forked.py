"""Processes of their own for tests, forked from pytest as it is when it has imported all tests and begun none.

Each begins with everything imported, which would take it seconds; and what has computed can't be forked to compute: so
a server is forked first, before any test, and forks them when it is asked.
"""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.connection import wait
from typing import Any

from emomm.engines.fork_server import Forked
from emomm.engines.fork_server import ForkServer
from emomm.engines.forks import can_train
from emomm.interruption import end_with_parent

_servers: list[ForkServer] = []


def begin() -> None:
    """Forks the server."""
    if not _servers:
        _servers.append(ForkServer(can_train))


def end() -> None:
    """Ends it, and whatever it has forked that still runs."""
    while _servers:
        _servers.pop().end()


def start(target: Callable[..., None], *args: Any, **environment: str) -> Forked:
    """Starts `target(*args)`, a function of a module, in a process of its own, with changes to its environment."""
    (server,) = _servers
    assert server.usable, "a test module computes with torch as it is imported"
    here, there = multiprocessing.Pipe()
    here.close()
    process = server.start(_call, there, (target, args), environment)
    there.close()
    return process


def finish(process: Forked, seconds: float = 300) -> int:
    """Waits for a process: its exit code, -9 where it was killed."""
    wait([process.sentinel], seconds)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"process {process.pid} did not end within {seconds} s")
    return process.exitcode


def _call(connection: Connection, parent: int, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    connection.close()
    end_with_parent()
    target(*args)
