"""What a report shows, read from the folders of jobs: plain data, nothing drawn and nothing trained."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..evaluation.comparisons import compare_experiments
from ..evaluation.predictions import PooledRows
from ..evaluation.predictions import Predictions
from ..evaluation.predictions import RunPredictions
from ..evaluation.predictions import pool_runs
from ..evaluation.predictions import read_predictions
from ..evaluation.summaries import experiment_statistics
from ..job_folder import JobFolder
from ..job_folder import job_results
from ..job_folder import slug_of
from .search_trials import SearchTrial
from .search_trials import read_trials


@dataclass(frozen=True, eq=False)
class Curves:
    """What was logged while an experiment's runs trained.

    Args:
        epochs: (E,) numbers of the epochs, from 1.
        series: name -> (runs, E), NaN where a run logged nothing: `loss`, `eval_loss`, `eval_uar`, `padding` (share of
            the epoch's batches), and what begins with `curriculum/` (of the pool that the epoch trained on).
        best_epochs: (runs,) the epoch whose weights were kept, NaN where not known.
    """

    epochs: np.ndarray
    series: dict[str, np.ndarray]
    best_epochs: np.ndarray

    @property
    def has_curriculum(self) -> bool:
        """Whether the pool was ever a part of the training rows."""
        pool = self.series.get("curriculum/pool_fraction")
        return pool is not None and bool(np.nanmin(pool) < 1)


@dataclass(frozen=True, eq=False)
class Tested:
    """An experiment's test rows in one corpus.

    Args:
        corpus: its name.
        rows: n rows in K seeds.
        difficulty: (n,) averaged over the runs that tested the row; NaN where unknown.
        statistics: of `experiment_statistics`.
    """

    corpus: str
    rows: PooledRows
    difficulty: np.ndarray
    statistics: dict[str, Any]


@dataclass(frozen=True, eq=False)
class ReportedExperiment:
    """An experiment of a job.

    Args:
        name: unique in the report; begins with the job's label where there are several jobs.
        slug: the name as part of a file's name.
        entry: what results.json says of it.
        runs: its runs that are done, as in results.json.
        failed: "seed 1, session-2: reason" of the others.
        settings: of its first run, without paths.
        curves: of its runs.
        tested: {corpus: rows}.
        trials: of the search for its settings; [] where there was none.
    """

    name: str
    slug: str
    entry: dict[str, Any]
    runs: list[dict[str, Any]]
    failed: list[str]
    settings: dict[str, Any]
    curves: Curves
    tested: dict[str, Tested]
    trials: Sequence[SearchTrial] = ()

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The corpora that any run trained on."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run["parts"]["train"]["corpora"]))


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that a report shows.

    Args:
        jobs: {label: results.json}.
        experiments: of all jobs that have a finished run.
        comparisons: of `compare_experiments`, {corpus: pairs}.
    """

    jobs: dict[str, dict[str, Any]]
    experiments: list[ReportedExperiment]
    comparisons: dict[str, list[dict[str, Any]]]

    @property
    def title(self) -> str:
        """The recipes' names."""
        return " and ".join(self.jobs)

    @property
    def corpora(self) -> dict[str, dict[str, Any]]:
        """The cards of all corpora, {name: card}."""
        return {card["name"]: card for experiment in self.experiments for card in experiment.entry["corpora"]}

    @property
    def tested_corpora(self) -> list[str]:
        """The corpora that were tested on."""
        return list(dict.fromkeys(corpus for experiment in self.experiments for corpus in experiment.tested))


def read_report(folders: Sequence[str | Path]) -> ReportData:
    """Reads the folders of one or more jobs, finished or under way.

    Raises:
        InputError: a folder without results.json, a job without any finished run, a file that is missing or torn.
    """
    results = [job_results(folder) for folder in folders]
    labels = _job_labels([job["recipe"] for job in results], [Path(folder).resolve().name for folder in folders])
    read: list[ReportedExperiment] = []
    entries = [
        (Path(folder), label, entry)
        for folder, label, job in zip(folders, labels, results, strict=True)
        for entry in job["experiments"]
    ]
    for folder, label, entry in tqdm(entries, desc="reading", unit="experiment", disable=None):
        name = entry["name"] if len(folders) == 1 else f"{label}: {entry['name']}"
        if any(run["status"] == "done" for run in entry["runs"]):
            read.append(_experiment(folder, name, _free_slug(name, read), entry))
    for folder, job in zip(folders, results, strict=True):
        if not any(run["status"] == "done" for entry in job["experiments"] for run in entry["runs"]):
            raise InputError(f"{folder}: no run of this job is done, so there is nothing to report yet")
    pooled = {
        experiment.name: {name: tested.rows for name, tested in experiment.tested.items()} for experiment in read
    }
    return ReportData(dict(zip(labels, results, strict=True)), read, compare_experiments(pooled))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read ({error}); run the job's command again to complete it") from error


def _job_labels(recipes: list[str], folders: list[str]) -> list[str]:
    """A label for each job: its recipe, where that is not unique the folder, else with a number."""
    for labels in (recipes, folders):
        if len(set(labels)) == len(labels):
            return labels
    return [f"{name} ({number})" for number, name in enumerate(folders, start=1)]


def file_stem(slug: str, corpus: str) -> str:
    """An experiment in a corpus, as part of a file's name: `--` between the two, so that none is taken for another.

    A corpus whose name is more than letters and digits of ASCII gets a hash of it besides.
    """
    short = slug_of(corpus)
    if not re.fullmatch(r"[A-Za-z0-9 _-]+", corpus):
        short = f"{short}-{hashlib.sha256(corpus.encode()).hexdigest()[:6]}".strip("-")
    return f"{slug}--{short}" if slug else short


def _free_slug(name: str, read: list["ReportedExperiment"]) -> str:
    slug = slug_of(name)
    return f"{slug}-{len(read)}" if slug in {experiment.slug for experiment in read} else slug


def _experiment(folder: Path, name: str, slug: str, entry: dict[str, Any]) -> ReportedExperiment:
    runs = [run for run in entry["runs"] if run["status"] == "done"]
    failed = [f"seed {run['seed']}, {run['fold']}: {run['status']}" for run in entry["runs"] if run not in runs]
    files = JobFolder(folder).experiment(entry["name"])
    places = [files.run(run["seed"], run["fold"]) for run in runs]
    predicted = [
        RunPredictions(run["seed"], run["fold"], _predictions(place.predictions))
        for run, place in zip(runs, places, strict=True)
    ]
    try:
        pooled = pool_runs(predicted)
    except ValueError as error:
        raise InputError(f"{folder}, experiment {entry['name']!r}: {error}") from error
    statistics = experiment_statistics(pooled)
    tested = {
        corpus: Tested(corpus, rows, _difficulty(corpus, rows, predicted), statistics[corpus])
        for corpus, rows in pooled.items()
    }
    settings = _settings(places[0].record)
    for which in ("text", "speech"):
        if f"{which}_model_name" in settings:  # a hash or a place there
            settings[f"{which}_model_name"] = (entry.get(f"{which}_encoder") or {}).get("name")
    searched = entry.get("searched")
    if searched is not None and searched["form"] == "nested":
        settings |= dict.fromkeys(searched["space"], "by fold, see the search")
    trials = () if searched is None else read_trials(folder, searched["of"])
    curves = _curves([_history(place.history) for place in places], [run.get("best_epoch") for run in runs])
    return ReportedExperiment(name, slug, entry, runs, failed, settings, curves, tested, trials)


def _settings(path: Path) -> dict[str, Any]:
    """Of which settings a run is."""
    said = _json(path)
    if not (isinstance(said, dict) and isinstance(said.get("settings"), dict)):
        raise InputError(f"{path} is torn, or not of a run of emomm; run the job's command again to complete it")
    return dict(said["settings"])


def _history(path: Path) -> list[dict[str, Any]]:
    """What a run logged."""
    history = _json(path)
    if not (isinstance(history, list) and all(isinstance(entry, dict) for entry in history)):
        raise InputError(f"{path} is torn, or not of a run of emomm; run the job's command again to complete it")
    return history


def _predictions(path: Path) -> Predictions:
    try:
        return read_predictions(path)
    except ValueError as error:
        raise InputError(f"{path} {error}; run the job's command again to complete it") from error


def _difficulty(corpus: str, rows: PooledRows, runs: list[RunPredictions]) -> np.ndarray:
    """(n,) mean over runs: prototypes fitted to training rows differ from fold to fold."""
    total, count = np.zeros(len(rows.utterance_ids)), np.zeros(len(rows.utterance_ids))
    for run in runs:
        tested = run.predictions.by_corpus().get(corpus)
        if tested is None:
            continue
        place = np.searchsorted(rows.utterance_ids, tested.utterance_ids)  # `rows` are ordered by id
        known = ~np.isnan(tested.difficulty)
        np.add.at(total, place[known], tested.difficulty[known])
        np.add.at(count, place[known], 1)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _curves(histories: list[list[dict[str, Any]]], best_epochs: list[float | None]) -> Curves:
    """The mean of what each run logged within an epoch."""
    found: dict[tuple[str, int, int], list[float]] = {}
    for run, history in enumerate(histories):
        for entry in history:
            after = int(np.ceil(entry.get("epoch", 0) - 1e-6))
            for key, value in entry.items():
                value = np.nan if value is None else value  # a loss that was not finite
                if key in ("loss", "eval_loss", "eval_uar") and after > 0:
                    found.setdefault((key, run, after), []).append(value)
                elif key == "padding" or key.startswith("curriculum/"):  # logged as the epoch begins
                    found.setdefault((key, run, round(entry["epoch"]) + 1), []).append(value)
    last = max((epoch for _, _, epoch in found), default=0)
    series = {key: np.full((len(histories), last), np.nan) for key, _, _ in found}
    for (key, run, epoch), values in found.items():
        series[key][run, epoch - 1] = np.mean(values) if len(values) > 1 else values[0]
    best = np.array([np.nan if epoch is None else epoch for epoch in best_epochs], float)
    return Curves(np.arange(1, last + 1), series, best)


__all__ = [
    "Curves",
    "ReportData",
    "ReportedExperiment",
    "Tested",
    "file_stem",
    "read_report",
]
