"""A run of a job as a task for another machine: what is sent there, and what comes back.

The other machine needs EmoMM installed, in the same version, and corpora, stores and the job's folder at the same
paths. A task that is begun again, after its worker was lost, goes on from the newest state in the run's folder: one is
saved at the end of each epoch.
"""

import logging
import logging.handlers
import os
import pickle
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..experiments.running import Place
from ..experiments.running import Work
from ..experiments.running import threads_of
from ..interruption import interruptible
from ..settings.recipe import Recipe
from .planned_anew import PlannedAnew
from .worker import portable

_planned: dict[bytes, PlannedAnew] = {}  # of this process, which takes task after task


@dataclass(frozen=True)
class Said:
    """What a task gives.

    Args:
        outcome: of the run; None where there is an error.
        records: what it logged.
        error: that ends the job.
    """

    outcome: dict[str, Any] | None
    records: list[logging.LogRecord]
    error: Exception | None = None


@dataclass(frozen=True)
class RunTask:
    """Carries out a run, in whatever process it is called.

    Args:
        recipe: of the job, with paths that are the same everywhere.
        threads: of a run.
    """

    recipe: Recipe
    threads: int

    def __call__(self, place: Place, identity: str) -> Said:
        """The run at a place, of this identity."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        records = _Records()
        logger = logging.getLogger(__package__.partition(".")[0])
        logger.setLevel(logging.INFO)
        logger.addHandler(records)
        logger.propagate = False
        planned = _planned.setdefault(pickle.dumps(self.recipe), PlannedAnew(self.recipe))
        try:
            with interruptible(), threads_of(self.threads):
                return Said(planned.carry_out(place, identity, [SaveEachEpoch()]), records.found)
        except Exception as error:  # noqa: BLE001 whatever it is, it is raised where the job is
            return Said(None, records.found, portable(error))
        finally:
            logger.removeHandler(records)

    def checkpoint(self, place: Place, identity: str) -> Any:
        """For submitit, when SLURM takes the machine away: the same again goes on from the newest state."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, place, identity)


def task_of(work: Work, threads: int) -> RunTask:
    """The task of a job's runs."""
    recipe = work.recipe
    out = str(recipe.output_dir.resolve())
    stores = [None if each.store_dir is None else str(Path(each.store_dir).resolve()) for each in recipe.experiments]
    experiments = [
        replace(each, output_dir=out, store_dir=store) for each, store in zip(recipe.experiments, stores, strict=True)
    ]
    return RunTask(replace(recipe, experiments=experiments), threads)


def outcome_of_task(said: Said) -> dict[str, Any]:
    """The outcome in it; logs here what was logged there. Raises its error."""
    for record in said.records:
        logging.getLogger(record.name).handle(record)
    if said.error is not None:
        raise said.error
    return said.outcome


class SaveEachEpoch(TrainerCallback):
    """Asks for a state to go on from at the end of each epoch: a worker that is lost costs no more than one."""

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_save = not control.should_training_stop


class _Records(logging.handlers.QueueHandler):
    """Keeps what is logged, as it can be pickled."""

    def __init__(self) -> None:
        super().__init__(None)
        self.found: list[logging.LogRecord] = []

    def enqueue(self, record: logging.LogRecord) -> None:
        self.found.append(record)


__all__ = ["RunTask", "Said", "SaveEachEpoch", "outcome_of_task", "task_of"]
