"""The processes of a launch by accelerate or torchrun: what one finds out all know, and where one fails all stop."""

import ctypes
import os
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import str_to_bool
from filelock import FileLock

from .errors import InputError

T = TypeVar("T")

# A process may be ahead of another by hours; one that has died is noticed at once, by its closed connection.
_PATIENCE = timedelta(days=7)

# glibc's malloc.h; `_LARGEST` is the most that its heap takes: what is larger is mapped, and given back at once.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST, _KEPT = 32 * 2**20, 256 * 2**20


def process_state() -> PartialState:
    """The state of this process among the others; to be asked for before anything counts them.

    On a CPU accelerate sees the others only if it is told so; else each would take itself for the only one.
    """
    if not torch.accelerator.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    return PartialState(cpu=bool(str_to_bool(os.environ.get("ACCELERATE_USE_CPU") or "false")))


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Within, numbers too small for float32's full precision (under 1.2e-38) count as 0 in this thread, and in those
    that it starts; where the processor can't, nothing changes.

    A head that tells its training rows apart has such gradients, and a processor takes five times as long over them.
    No weight is moved by them: what is added is far below its last bit.
    """
    before = not bool(torch.tensor(1e-40).mul(1.0))
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def heap_kept() -> Iterator[None]:
    """Within, memory that is freed stays with this process, up to `_KEPT` bytes; where the system's C library is not
    glibc, nothing changes.

    A step frees its gradients and the next one takes as much again. glibc gives the end of its heap back meanwhile,
    often 8 MB and more of it, and each page that is taken again is a fault: thousands a step, a twentieth of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST)  # as it becomes by itself; setting either leaves both as they are
    mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield
    finally:
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)


@contextmanager
def main_process_first(state: PartialState, lock: Path) -> Iterator[None]:
    """The body runs on the main process, then on the others, however long the first takes.

    accelerate's own waits in a collective, which gives up after some minutes; here the others wait for a file.
    """
    if state.num_processes == 1:
        yield
        return
    turn = FileLock(lock)
    try:
        if state.is_main_process:
            turn.acquire()
        state.wait_for_everyone()
        with turn:
            yield
    finally:
        turn.release(force=True)


class Group:
    """The processes of a launch.

    Args:
        state: of this process among them.
    """

    def __init__(self, state: PartialState):
        self.process, self.processes = state.process_index, state.num_processes
        self._group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE) if self.processes > 1 else None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that speaks and writes for all."""
        return self.process == 0

    def gather(self, value: T) -> list[T]:
        """Each process' value, by its number. All must call it."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self.processes
        torch.distributed.all_gather_object(values, value, group=self._group)
        return values

    def first_does(self, work: Callable[[], T]) -> T:
        """What `work` gives the first process, in all; its InputError is raised in all."""
        result, error = _attempt(work) if self.is_first else (None, None)
        result, error = self.gather((result, error))[0]
        if error is not None:
            raise InputError(error)
        return result

    def each_does(self, work: Callable[[], T]) -> T:
        """What `work` gives this process. The first goes ahead, so that downloads are made once.

        Raises:
            InputError: in all processes, where it was raised in any.
        """
        result, error = _attempt(work) if self.is_first else (None, None)
        self._stop(error)
        if not self.is_first:
            result, error = _attempt(work)
        self._stop(error)
        return result

    def _stop(self, error: str | None) -> None:
        errors = [error for error in self.gather(error) if error is not None]
        if errors:
            raise InputError(errors[0])


def _attempt(work: Callable[[], T]) -> tuple[T | None, str | None]:
    try:
        return work(), None
    except InputError as error:
        return None, str(error)


__all__ = ["Group", "denormals_flushed", "heap_kept", "main_process_first", "process_state"]
