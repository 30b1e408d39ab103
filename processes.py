"""The processes of a launch by accelerate or torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import str_to_bool
from filelock import FileLock


def process_state() -> PartialState:
    """The state of this process among the others; to be asked for before anything counts them.

    On a CPU accelerate sees the others only if it is told so; else each would take itself for the only one.
    """
    if not torch.accelerator.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    return PartialState(cpu=bool(str_to_bool(os.environ.get("ACCELERATE_USE_CPU") or "false")))


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


__all__ = ["main_process_first", "process_state"]
