"""What results.json says of a job as a whole: intervals, calibration and comparisons, from its runs' predictions."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from .experiment_statistics import PooledRows
from .experiment_statistics import RunPredictions
from .experiment_statistics import compare_experiments
from .experiment_statistics import experiment_statistics
from .experiment_statistics import pool_runs
from .metrics import SCALARS
from .selection import choices
from .settings import slug_of

logger = logging.getLogger(__name__)

Pooled = dict[str, PooledRows]


def pooled_predictions(entry: dict[str, Any], folder: Path) -> Pooled:
    """The predictions of an experiment's finished runs, by test corpus; none at all where a file of them is gone.

    Args:
        entry: the experiment in results.json.
        folder: of the job.
    """
    runs = []
    for run in entry["runs"]:
        path = folder / slug_of(entry["name"]) / f"seed-{run['seed']}" / run["fold"] / "predictions.parquet"
        if run["status"] != "done":
            continue
        if not path.exists():  # what is left would be another experiment
            logger.warning("%s is gone: no statistics of %r; the job's command makes it again", path, entry["name"])
            return {}
        runs.append(RunPredictions(run["seed"], run["fold"], pq.read_table(path)))
    return pool_runs(runs) if runs else {}


def add_statistics(results: dict[str, Any], folder: Path) -> dict[str, Pooled]:
    """Adds what only all runs together say, from their predictions.

    Intervals that respect speakers go into each experiment's `summary`; calibration, scores by speaker and session,
    and the rest of `experiment_statistics` into its `statistics`; paired tests between experiments into `comparisons`;
    which of several experiments the validation scores choose into `chosen_on_validation` (see `selection`).

    Returns the pooled predictions by experiment.
    """
    pooled = {entry["name"]: pooled_predictions(entry, folder) for entry in results["experiments"]}
    for entry in results["experiments"]:
        found = experiment_statistics(pooled[entry["name"]])
        for corpus, said in found.items():
            entry["summary"][corpus] = {metric: said[metric] for metric in SCALARS}
        entry["statistics"] = {
            corpus: {key: value for key, value in said.items() if key not in SCALARS} for corpus, said in found.items()
        }
    results["comparisons"] = compare_experiments(pooled)
    results["chosen_on_validation"] = choices(results["experiments"])
    return pooled


def earlier_experiments(folder: Path, names: set[str]) -> list[dict[str, Any]]:
    """What results.json says of experiments other than `names`: those of an earlier call with `--experiment`."""
    path = folder / "results.json"
    before = json.loads(path.read_text())["experiments"] if path.exists() else []
    return [entry for entry in before if entry["name"] not in names]


__all__ = ["add_statistics", "earlier_experiments", "pooled_predictions"]
