"""The trials of a search, as its table has them."""

import csv
import logging
from dataclasses import dataclass
from pathlib import Path

from ..job_folder import JobFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchTrial:
    """A trial.

    Args:
        study: the fold.
        state: complete, pruned or failed.
        score: what trials are compared by, of its best epoch; None where it gave none.
    """

    study: str
    state: str
    score: float | None


def read_trials(folder: Path, experiment: str) -> list[SearchTrial]:
    """The trials of an experiment of a job, in order; [] where no search has left any there, or they can't be read,
    which is said.

    Args:
        folder: of the job.
        experiment: whose settings were searched.
    """
    path = JobFolder(folder).search.trials
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["experiment"] == experiment]
            return [
                SearchTrial(row["study"], row["state"], float(row["score"]) if row["score"] else None) for row in rows
            ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError) as error:
        logger.warning("%s can't be read (%s): the report shows no trials", path, error)
        return []


__all__ = ["SearchTrial", "read_trials"]
