"""The engine that the options of a command ask for."""

from typing import Any

from ..errors import InputError
from ..experiments.running import Engine
from ..experiments.running import OneByOne

AUTO = "auto"
"""Of `--jobs`: as many as pay."""


def engine_of(
    jobs: int | str | None = None,
    threads: int | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    slurm: dict[str, Any] | None = None,
) -> Engine:
    """What carries out the runs of a job.

    Args:
        jobs: runs at a time; "auto", as many as pay; None, one after another, or on a cluster as many as it has room
            for.
        threads: of a run; None, the cores, shared out among the processes.
        engine: local, ray or slurm.
        ray_address: of a Ray cluster; None, one that is started on this machine.
        slurm: parameters of submitit's executor.

    Raises InputError for options that don't go together.
    """
    for name, given, of in (("--ray_address", ray_address, "ray"), ("--slurm", slurm, "slurm")):
        if given is not None and engine != of:
            raise InputError(f"{name} goes with --engine {of}")
    if engine != "local" and jobs == AUTO:
        raise InputError(f"--jobs auto is for this machine: with --engine {engine}, give a number, or leave it out")
    if engine == "ray":
        from .ray_engine import RayEngine  # here, since what an engine needs is for the runs that it carries out

        return RayEngine(ray_address, jobs, threads)
    if engine == "slurm":
        from .slurm_engine import SlurmEngine

        return SlurmEngine(jobs, threads, slurm)
    if jobs is None or jobs == 1:
        return OneByOne(threads)
    from .side_by_side import SideBySide

    return SideBySide(jobs, threads)


__all__ = ["AUTO", "engine_of"]
