"""The tables of a report that hold floors."""

import json
from collections import Counter
from typing import Any

from ..floors.results import RULE
from ..floors.words import below_mark
from ..floors.words import comparison
from ..floors.words import floors_of
from ..floors.words import in_order
from ..floors.words import long_name
from ..floors.words import own_floor
from .report_data import ReportData
from .report_data import ReportedExperiment
from .score_words import METRIC_NAMES
from .score_words import score_rows
from .table import Marked
from .table import Table
from .table import with_interval

_MARKS = {"below": "↓", "(below)": "(↓)", "": ""}
FLOOR_COLUMN = "floor (difference)"
PLAIN_COLUMNS = ["floor", "minus_floor", "minus_floor_low", "minus_floor_high", "minus_floor_p", "below_floor"]
NOTE = (
    f"{FLOOR_COLUMN.capitalize()}: UAR of the experiment's floor on the same rows, and the experiment's minus that. "
    "↓: below it, in brackets where the 95 % interval of the difference over speakers does not leave out 0. See the "
    "floors below."
)


def has_floors(data: ReportData) -> bool:
    """Whether any experiment has floors."""
    return any(experiment.entry.get("floors") for experiment in data.experiments)


def floor_cells(each: ReportedExperiment, corpus: str, decision: str) -> tuple[Any, list[Any]]:
    """An experiment's floor in the table of results: its cell, and `PLAIN_COLUMNS` of the CSV.

    The difference is of the decision among all classes, and stands there.
    """
    floor, found = own_floor(each.entry, corpus, decision), comparison(each.entry, corpus)
    if floor is None:
        return None, [None] * len(PLAIN_COLUMNS)
    if found is None or decision == "shared":
        return Marked(f"{floor:.3f}", ""), [floor, *[None] * (len(PLAIN_COLUMNS) - 1)]
    difference = f"{found['difference']:+.3f}".replace("-", "−")
    mark = below_mark(each.entry, corpus)
    plain = [floor, found["difference"], *(found["ci95"] or (None, None)), found["p"], mark]
    return Marked(f"{floor:.3f} ({difference})", _MARKS[mark]), plain


def floors_table(data: ReportData) -> Table:
    """Every floor once, with the experiments that it stands beside."""
    found: dict[tuple[str, str, str], tuple[dict[str, Any], list[ReportedExperiment]]] = {}
    of_all = (floors_of(experiment.entry, corpus) for experiment in data.experiments for corpus in experiment.tested)
    for name in in_order(name for floors in of_all for name in floors):
        for experiment in data.experiments:
            for corpus in experiment.tested:
                floor = floors_of(experiment.entry, corpus).get(name)
                if floor is not None:
                    scores = {metric: floor[metric] for metric in METRIC_NAMES}
                    found.setdefault((name, corpus, json.dumps(scores)), (floor, []))[1].append(experiment)
    rows, plain = [], []
    for (name, corpus, _), (floor, beside) in found.items():
        folds, names = _folds(beside[0], name), ", ".join(each.name for each in beside)
        called = long_name(name, floors_of(beside[0].entry, corpus))
        for row in score_rows(corpus, floor, floor):
            figures = [row.figures[metric] for metric in METRIC_NAMES]
            cells = [with_interval(figure["pooled"], figure["ci95"]) for figure in figures]
            rows.append([called, row.tested_on, *cells, _choice(folds), names])
            numbers = [
                number for figure in figures for number in (figure["pooled"], *(figure["ci95"] or (None, None)))
            ]
            plain.append([called, corpus, row.decision, *numbers, _choice(folds), names])
    columns = ["floor", "tested on", *METRIC_NAMES.values(), "C, or what was chosen", "beside"]
    plain_columns = ["floor", "tested_on", "decision"]
    plain_columns += [f"{metric}{part}" for metric in METRIC_NAMES for part in ("", "_low", "_high")]
    plain_columns += ["chosen", "beside"]
    return Table("floors", "Floors", columns, rows, _note(data), (plain_columns, plain))


def _folds(each: ReportedExperiment, name: str) -> list[dict[str, Any]]:
    return (each.entry.get("floors") or {}).get("folds", {}).get(name, [])


def _choice(folds: list[dict[str, Any]]) -> str:
    """What validation rows chose in the folds: `0.0048 to 0.48`; `both in 4 folds, voice in 1`."""
    kinds = Counter(fold["features"] for fold in folds if "features" in fold)
    if kinds:
        return ", ".join(f"{kind} in {count} of {len(folds)} folds" for kind, count in kinds.most_common())
    values = sorted(fold["C"] for fold in folds if "C" in fold)
    if not values:
        return "–"
    return f"{values[0]:.2g}" if values[0] == values[-1] else f"{values[0]:.2g} to {values[-1]:.2g}"


def _note(data: ReportData) -> str:
    floors = [experiment.entry.get("floors") or {} for experiment in data.experiments]
    note = max((floor.get("rule", RULE) for floor in floors), key=len, default=RULE)  # with what holds of one alone
    folds = [fold for floor in floors for found in floor.get("folds", {}).values() for fold in found]
    if any(fold.get("rows_without") for fold in folds):
        note += " For what a row lacks, voice or words, the mean of the training rows stands."
    if any(not fold.get("converged", True) for fold in folds):
        note += " Some fits did not converge (`converged` in results.json)."
    return note


__all__ = ["FLOOR_COLUMN", "NOTE", "PLAIN_COLUMNS", "floor_cells", "floors_table", "has_floors"]
