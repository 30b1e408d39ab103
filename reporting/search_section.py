"""What a report says of searches for settings: its text, tables and figures."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from .drawing import Sketch
from .report_data import ReportData
from .report_data import ReportedExperiment
from .score_words import METRIC_NAMES
from .search_figures import history_figure
from .search_figures import importance_figure
from .search_trials import SearchTrial
from .search_words import gains
from .search_words import searched_sentence
from .table import Table


def searches(data: ReportData) -> list[ReportedExperiment]:
    """The experiments whose settings were searched for."""
    return [experiment for experiment in data.experiments if "searched" in experiment.entry]


def search_text(data: ReportData) -> list[str]:
    """How each search was done, and what it brought."""
    text = []
    for each in searches(data):
        text.append(f"{each.name}: {searched_sentence(each.entry['searched'])}")
        for job in data.jobs.values():
            if any(entry is each.entry for entry in job["experiments"]):
                text += gains(job, each.entry)
    return text


def found_table(data: ReportData) -> Table:
    """The settings that each study found."""
    found = [(each, fold, of) for each in searches(data) for fold, of in _found(each).items()]
    names = list(dict.fromkeys(name for _, _, of in found for name in of["settings"]))
    rows = [
        [each.name, fold, of["trial"] + 1, of["score"], *(_cell(of["settings"].get(name)) for name in names)]
        for each, fold, of in found
    ]
    columns = ["experiment", "study", "best trial", "validation score", *names]
    return Table("search", "Settings found", columns, rows, fold=len(rows) > 12)


def _found(each: ReportedExperiment) -> Mapping[str, Any]:
    return each.entry["searched"].get("found") or {}


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)


def search_figures(each: ReportedExperiment) -> list[Sketch]:
    """Of a search whose trials are there."""
    searched, made = each.entry["searched"], []
    studies: dict[str, list[SearchTrial]] = {}
    for trial in each.trials:
        studies.setdefault(trial.study, []).append(trial)
    if any(trial.score is not None for trial in each.trials):
        metric = searched["metric"]
        score = f"validation {METRIC_NAMES.get(metric, metric)}"
        best = [_best(trials, metric == "loss") for trials in studies.values()]
        alt = f"{each.name}: {score} of {len(each.trials)} trials in {len(studies)} studies; the best of each from "
        alt += f"{min(best):.3f} to {max(best):.3f}." if best else ""
        given = studies, score, metric == "loss"
        made.append(Sketch(f"search-history-{each.slug}", history_figure, given, f"{each.name}: trials", alt))
    known = [of["importance"] for of in _found(each).values() if of.get("importance")]
    if known:
        shares = {name: [of[name] for of in known if name in of] for name in known[0]}
        said = ", ".join(f"{name} {np.mean(values):.2f}" for name, values in shares.items())
        caption = f"{each.name}: importance of the settings"
        name, alt = f"search-importance-{each.slug}", f"{caption}: {said}."
        made.append(Sketch(name, importance_figure, (shares,), caption, alt))
    return made


def _best(trials: Sequence[SearchTrial], lower_is_better: bool) -> float:
    scores = [trial.score for trial in trials if trial.state == "complete" and trial.score is not None]
    return (min if lower_is_better else max)(scores, default=float("nan"))


__all__ = ["found_table", "search_figures", "search_text", "searches"]
