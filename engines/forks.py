"""Forks of this process: what a function gives in one, and whether one could train."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..errors import InputError
from ..interruption import end_with_parent
from ..interruption import held
from ..interruption import interruptible
from .worker import portable


class Fork:
    """A fork of this process, at a function.

    Args:
        function: what it does; what that gives can be pickled.
    """

    def __init__(self, function: Callable[[], Any]):
        context = multiprocessing.get_context("fork")
        self._connection, there = context.Pipe()
        self._process = context.Process(target=_give, args=(there, os.getpid(), function))
        self._process.start()
        there.close()

    def given(self) -> Any:
        """What the function gives, once it does. Its error is raised here; InputError where the fork was killed."""
        try:
            done, given = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise InputError(
                f"the process that prepares the runs has ended (exit code {self._process.exitcode}), perhaps for lack "
                "of memory; the same command goes on"
            ) from None
        if not done:
            raise given
        return given

    def end(self) -> None:
        """Ends it, if it hasn't."""
        with held():
            self._process.terminate()
            self._process.join()
        self._connection.close()


def in_a_fork(function: Callable[[], Any]) -> Any:
    """What a function gives in a fork of this process; its error is raised here."""
    fork = Fork(function)
    try:
        return fork.given()
    finally:
        fork.end()


def can_train() -> bool:
    """Whether this process, a fork, can train: not where the one that it was forked from has trained before."""
    try:
        torch.ones(1, requires_grad=True).sum().backward()
    except RuntimeError:
        return False
    return True


def _give(connection: Connection, parent: int, function: Callable[[], Any]) -> None:
    end_with_parent()
    if os.getppid() != parent:
        return
    try:
        with interruptible():
            try:
                answer = (True, function())
            except Exception as error:  # noqa: BLE001 whatever it is, it is raised there
                answer = (False, portable(error))
            connection.send(answer)
    except KeyboardInterrupt:
        os._exit(1)


__all__ = ["Fork", "can_train", "in_a_fork"]
