"""The tables of a report that hold scores: results, comparisons, calibration, ratings, across corpora."""

from typing import Any

import numpy as np

from ..metrics import mean_and_std
from ..significance import IGNORES_DEPENDENCE
from .data import ReportData
from .findings import CrossCorpus
from .table import Marked
from .table import Table

SIGNIFICANT = 0.05
_METRICS = {"uar": "UAR", "accuracy": "accuracy", "f1_macro": "F1 macro", "f1_weighted": "F1 weighted"}


def letters(data: ReportData) -> dict[str, str]:
    """A mark for each experiment: a, b, ..., z, then numbers."""
    names = [each.name for each in data.experiments]
    return {name: chr(ord("a") + i) if i < 26 else f"({i + 1})" for i, name in enumerate(names)}


def better_than(data: ReportData, corpus: str, name: str, metric: str) -> str:
    """The marks of the experiments that this one is significantly better than; † where the test ignores dependence."""
    marks, found = letters(data), []
    for pair in data.comparisons.get(corpus, []):
        test = pair[metric]
        winner, loser = (pair["first"], pair["second"])[:: 1 if test["difference"] > 0 else -1]
        if winner == name and test["p_holm"] < SIGNIFICANT:
            found.append(marks[loser] + ("†" if test["note"] else ""))
    return "".join(sorted(found))


def results_table(data: ReportData) -> Table:
    """Scores of every experiment in every corpus, with intervals and marks."""
    marks = letters(data)
    rows, plain = [], []
    for each in data.experiments:
        for corpus, tested in each.tested.items():
            found = tested.statistics
            runs = [run for run in each.runs if corpus in run["test"]]
            folds = len({run["fold"] for run in runs})
            over = f"{found['seeds']} × {folds}"
            if len(runs) < found["seeds"] * folds:
                over = f"{len(runs)} of {over}"
            cells, numbers = [], []
            for metric in _METRICS:
                score, better = found[metric], ""
                if metric in ("uar", "accuracy"):
                    better = better_than(data, corpus, each.name, metric)
                bounds = score["ci95"]
                interval = "" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
                cells.append(Marked(f"{score['pooled']:.3f}{interval}", better))
                numbers += [score["pooled"], *(bounds or (None, None)), score["mean"], score["std"]]
                numbers += [score["std_over_folds"], score["std_over_seeds"], better]
            spread = mean_and_std(found["uar"])
            rows.append(
                [f"{marks[each.name]}  {each.name}", corpus, found["rows"], over, *cells]
                + [Marked(spread, ""), found["ece"], found["brier"]]
            )
            head = [marks[each.name], each.name, corpus, found["rows"], found["speakers"], found["seeds"]]
            method = [found["uar"]["ci_method"], found["uar"]["ci_units"]]
            errors = [found["ece"], *(found["ece_ci95"] or (None, None)), found["brier"]]
            plain.append([*head, *numbers, *method, *errors, *(found["brier_ci95"] or (None, None))])
    columns = ["experiment", "tested on", "rows", "seeds × folds", *_METRICS.values()]
    columns += ["UAR of runs ± std", "ECE", "Brier"]
    parts = (
        "",
        "_low",
        "_high",
        "_mean_of_runs",
        "_std_of_runs",
        "_std_over_folds",
        "_std_over_seeds",
        "_better_than",
    )
    plain_columns = ["mark", "experiment", "tested_on", "rows", "speakers", "seeds"]
    plain_columns += [metric + part for metric in _METRICS for part in parts]
    plain_columns += ["ci_method", "ci_units", "ece", "ece_low", "ece_high", "brier", "brier_low", "brier_high"]
    return Table("results", "Results", columns, rows, _results_note(data), (plain_columns, plain))


def _results_note(data: ReportData) -> str:
    note = "Scores are pooled over folds and averaged over seeds, with 95 % intervals."
    if any(pair[metric]["p_holm"] < SIGNIFICANT for pair, metric in _pairs(data)):
        note += f" Raised letters: better than those experiments, p < {SIGNIFICANT:g} after Holm's correction."
        if any(pair[metric]["note"] for pair, metric in _pairs(data)):
            note += f" †: the test {IGNORES_DEPENDENCE} between rows of one speaker, so its p is too small."
    elif data.comparisons and any(data.comparisons.values()):
        note += f" No difference between experiments is significant (p < {SIGNIFICANT:g} after Holm's correction)."
    units = {each["uar"]["ci_units"] for each in (t.statistics for e in data.experiments for t in e.tested.values())}
    if "rows" in units:
        note += " With fewer than five speakers the interval is over rows: it ignores dependence and is too narrow."
    return note


def _pairs(data: ReportData) -> list[tuple[dict[str, Any], str]]:
    return [(pair, metric) for pairs in data.comparisons.values() for pair in pairs for metric in ("uar", "accuracy")]


def comparisons_table(data: ReportData) -> Table:
    """Every two experiments on the same rows: difference, interval, p."""
    columns = ["tested on", "first", "second", "score", "difference", "95 % interval", "p", "p (Holm)", "test"]
    columns += [f"p, swapped rows ({IGNORES_DEPENDENCE})", f"p, McNemar ({IGNORES_DEPENDENCE})"]
    rows, plain = [], []
    for corpus, pairs in data.comparisons.items():
        for pair in pairs:
            for metric in ("uar", "accuracy"):
                test = pair[metric]
                bounds = test["ci95"]
                method = test["test"] + (f" ({test['note']})" if test["note"] else "")
                p_rows = test.get("row_p")
                mcnemar = pair["mcnemar"]["p"] if metric == "accuracy" else None
                head = [corpus, pair["first"], pair["second"], _METRICS[metric]]
                star = "*" if test["p_holm"] < SIGNIFICANT else ""
                rows.append(
                    [*head, Marked(_signed(test["difference"]), star)]
                    + [Marked("–" if bounds is None else f"[{_signed(bounds[0])}, {_signed(bounds[1])}]", "")]
                    + [Marked(_p(test["p"]), ""), Marked(_p(test["p_holm"]), ""), method]
                    + [Marked(_p(p_rows), ""), Marked(_p(mcnemar), "")]
                )
                plain.append(
                    [*head, test["difference"], *(bounds or (None, None)), test["p"], test["p_holm"], method]
                    + [p_rows, mcnemar]
                )
    note = f"Difference: first minus second. *: p < {SIGNIFICANT:g} after Holm's correction over a corpus' pairs; the "
    note += "interval goes with the p before it. McNemar's test is of the first seed of each. "
    note += f"What {IGNORES_DEPENDENCE} takes rows of one speaker for independent: its p is too small."
    single = [each.name for each in data.experiments if any(t.statistics["seeds"] < 2 for t in each.tested.values())]
    if single:
        note += " Tests and intervals are for other speakers, not for other trainings: with one seed (here "
        note += (
            f"{', '.join(single) if len(single) < len(data.experiments) else 'every experiment'}) a difference may "
        )
        note += "be the luck of that seed."
    plain_columns = ["tested_on", "first", "second", "score", "difference", "low", "high", "p", "p_holm", "test"]
    plain_columns += ["p_swapped_rows", "p_mcnemar"]
    if not any(row[-2] for row in plain):  # no pair has few speakers
        columns, rows = [*columns[:-2], columns[-1]], [[*row[:-2], row[-1]] for row in rows]
    fold = len(rows) > 30
    return Table(
        "comparisons", "Differences between experiments", columns, rows, note, (plain_columns, plain), fold=fold
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _p(value: float | None) -> str:
    return "–" if value is None else "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def calibration_scores_table(data: ReportData) -> Table:
    """Calibration error and Brier score of every experiment, with intervals."""
    rows = []
    for each in data.experiments:
        for corpus, tested in each.tested.items():
            found = tested.statistics
            cells = [with_interval(found[name], found[f"{name}_ci95"]) for name in ("ece", "brier")]
            rows.append([each.name, corpus, *cells])
    note = "ECE: expected calibration error of the likeliest class, in 15 bins. With few rows it is too large, since "
    note += "chance makes gaps in every bin, and its interval covers somewhat less than 95 %."
    return Table("calibration-scores", "Calibration", ["experiment", "tested on", "ECE", "Brier score"], rows, note)


def with_interval(value: float, bounds: list[float] | None) -> Marked:
    """`0.824 [0.767, 0.868]`, without bounds `0.824`."""
    return Marked(f"{value:.3f}" + ("" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"), "")


def vad_table(data: ReportData) -> Table:
    """How well valence, arousal and dominance are told, of the experiments whose models give them."""
    rows, plain = [], []
    for each in data.experiments:
        for corpus, tested in each.tested.items():
            for name, found in tested.statistics.get("vad", {}).items():
                ccc, rmse = found["ccc"], found["rmse"]
                bounds = ccc["ci95"]
                interval = "" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
                head = [each.name, corpus, name, found["n"]]
                cells = [f"{ccc['pooled']:.3f}{interval}", mean_and_std(ccc)]
                rows.append([*head, *(Marked(cell, "") for cell in cells), rmse["pooled"]])
                numbers = [ccc["pooled"], *(bounds or (None, None)), ccc["mean"], ccc["std"]]
                plain.append([*head, *numbers, ccc["ci_method"], ccc["ci_units"]])
                plain[-1] += [rmse["pooled"], rmse["mean"], rmse["std"]]
    columns = ["experiment", "tested on", "rating", "rated rows", "CCC", "CCC of runs ± std", "RMSE"]
    plain_columns = ["experiment", "tested_on", "rating", "rated_rows", "ccc", "ccc_low", "ccc_high"]
    plain_columns += ["ccc_mean_of_runs", "ccc_std_of_runs", "ci_method", "ci_units"]
    plain_columns += ["rmse", "rmse_mean_of_runs", "rmse_std_of_runs"]
    note = "CCC: concordance correlation, with its 95 % interval; RMSE in points of the scale from 1 to 5. Both are "
    note += "pooled over folds and averaged over seeds."
    title = "Valence, arousal and dominance"
    return Table("valence-arousal-dominance", title, columns, rows, note, (plain_columns, plain))


def cross_corpus_table(matrix: CrossCorpus) -> Table:
    """UAR, trained on × tested on."""
    rows = [[name, *map(float, row)] for name, row in zip(matrix.trained, matrix.uar, strict=True)]
    plain = [[name, *(None if np.isnan(v) else float(v) for v in row)] for name, *row in rows]
    columns = ["trained on", *matrix.tested]
    return Table("cross-corpus", "UAR, trained on (rows) and tested on (columns)", columns, rows, "", (columns, plain))
