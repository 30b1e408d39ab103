"""The processes of a launch by accelerate or torchrun."""

import os

import torch
from accelerate import PartialState
from accelerate.utils import str_to_bool


def process_state() -> PartialState:
    """The state of this process among the others; to be asked for before anything counts them.

    On a CPU accelerate sees the others only if it is told so; else each would take itself for the only one.
    """
    if not torch.accelerator.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    return PartialState(cpu=bool(str_to_bool(os.environ.get("ACCELERATE_USE_CPU") or "false")))


__all__ = ["process_state"]
