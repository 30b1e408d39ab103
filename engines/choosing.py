"""The engine that the options of a command ask for."""

from ..experiments.running import Engine
from ..experiments.running import OneByOne
from .side_by_side import SideBySide


def engine_of(jobs: int | str | None = None, threads: int | None = None) -> Engine:
    """What carries out the runs of a job.

    Args:
        jobs: processes on this machine; "auto", as many as pay; None, one after another.
        threads: of a run; None, the cores, shared out among the processes.
    """
    if jobs is None or jobs == 1:
        return OneByOne(threads)
    return SideBySide(jobs, threads)


__all__ = ["engine_of"]
