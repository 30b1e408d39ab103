"""How many processor cores there are for this process."""

import os


def core_count() -> int:
    """Those that it may run on, where the system says so (Linux); else all that the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


__all__ = ["core_count"]
