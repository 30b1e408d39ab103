"""What results.json says of a job as a whole: intervals, calibration and comparisons, from its runs' predictions."""

import logging
from pathlib import Path
from typing import Any

from ..job_folder import JobFolder
from ..job_folder import readable_results
from ..job_folder import slug_of
from .comparisons import compare_experiments
from .metrics import SCALARS
from .predictions import PooledRows
from .predictions import RunPredictions
from .predictions import pool_runs
from .predictions import read_predictions
from .selection import choices
from .summaries import experiment_statistics

logger = logging.getLogger(__name__)

Pooled = dict[str, PooledRows]


def pooled_predictions(entry: dict[str, Any], folder: Path) -> Pooled:
    """The predictions of an experiment's finished runs, by test corpus; none where a file of them can't be read.

    Args:
        entry: the experiment in results.json.
        folder: of the job.
    """
    runs, place = [], JobFolder(folder).experiment(entry["name"])
    for run in entry["runs"]:
        path = place.run(run["seed"], run["fold"]).predictions
        if run["status"] != "done":
            continue
        try:
            runs.append(RunPredictions(run["seed"], run["fold"], read_predictions(path)))
        except ValueError as error:  # what is left would be another experiment
            logger.warning("%s %s: no statistics of %r; the job's command makes it again", path, error, entry["name"])
            return {}
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
    before = readable_results(folder)
    if before is not None:
        return [entry for entry in before["experiments"] if entry["name"] not in names]
    job = JobFolder(folder)
    if job.results.exists():
        others = job.experiments() - {slug_of(name) for name in names}
        rest = f"; run {', '.join(sorted(others))} again to have it there, which trains nothing" if others else ""
        logger.warning("%s is torn, or not ours: it is made again%s", job.results, rest)
    return []


__all__ = ["add_statistics", "earlier_experiments", "pooled_predictions"]
