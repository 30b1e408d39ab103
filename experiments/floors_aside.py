"""The floors of a job fitted beside its training, by a fork of this process, where there is a core left for it.

What it fits it keeps in the job's folder, as always: whatever it could not do is done, and said, when the floors are
read after the training. It begins before this process has loaded scikit-learn, whose threads a fork would lack, and
computes nothing with torch, whose threads it lacks perhaps.
"""

import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from ..cores import core_count
from ..interruption import end_with_parent
from ..interruption import held
from ..job_folder import JobFolder
from .job_floors import job_floors
from .running import Work

logger = logging.getLogger(__name__)

_WORTH = 300  # optimiser steps that are still to be done; of fewer, floors are soon fitted after them
_PATIENCE = 300.0  # seconds in which it keeps at least one floor; what it has not fitted then is fitted here


@contextmanager
def floors_aside(work: Work, folder: Path) -> Iterator[None]:
    """Within, the floors of a job that are not kept yet are fitted beside what this process does; at the end of the
    body it is waited for. Where that can't be done or doesn't pay, nothing is.

    Args:
        work: of the job.
        folder: of the job.
    """
    process = _begun(work, folder) if _pays(work) else None
    try:
        yield
        if process is not None:
            _wait(process, JobFolder(folder).floors)
    finally:
        if process is not None:
            with held():
                process.kill()  # one that hangs hears nothing else; what it keeps is whole
                process.join()


def _wait(process: BaseProcess, floors: Path) -> None:
    """Until it has ended, or keeps no further floor for long: a fork may wait for a thread that it lacks."""
    kept = -1
    while process.is_alive() and len([*floors.glob("*")]) > kept:
        kept = len([*floors.glob("*")])
        process.join(_PATIENCE)


def _pays(work: Work) -> bool:
    """Whether a fork can be had, has a core to itself, and something to do meanwhile."""
    if sys.platform != "linux" or core_count() < 2 or "sklearn" in sys.modules or torch.accelerator.is_available():
        return False
    if multiprocessing.current_process().daemon:  # which may have none of its own
        return False
    wanted = [experiment for experiment in work.experiments if experiment.settings.floors]
    stored = all(experiment.speech is None and not experiment.inputs.runs_encoders for experiment in wanted)
    return bool(wanted) and stored and work.state.num_processes == 1 and _steps(work) >= _WORTH


def _steps(work: Work) -> int:
    """That are still to be done, by all runs."""
    planned = zip(work.experiments, work.plans, strict=True)
    return sum(
        experiment.steps(run, 1) for experiment, runs in planned for run in runs if not run.files.metrics.exists()
    )


def _begun(work: Work, folder: Path) -> BaseProcess | None:
    for experiment in work.experiments:  # encoded here, where torch's threads are
        for name in experiment.settings.modalities:
            experiment.inputs.vectors(name)
    process = multiprocessing.get_context("fork").Process(target=_fit, args=(os.getpid(), work, folder), name="floors")
    try:
        process.start()
    except OSError:  # there is no room for another process
        logger.debug("floors are fitted after the training", exc_info=True)
        return None
    return process


def _fit(parent: int, work: Work, folder: Path) -> None:
    end_with_parent()
    if os.getppid() != parent:
        return
    logging.disable(logging.CRITICAL)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 until the process ends
    torch.set_num_threads(max(1, core_count() - 1))
    job_floors(work.experiments, work.plans, folder, work.state)


__all__ = ["floors_aside"]
