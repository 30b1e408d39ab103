"""The tables of a report that hold scores: results, comparisons, calibration, ratings, across corpora."""

from typing import Any

import numpy as np

from ..evaluation.learning_checks import experiment_warnings
from ..evaluation.metrics import mean_and_std
from ..evaluation.significance import IGNORES_DEPENDENCE
from ..floors.words import floors_of
from .findings import CrossCorpus
from .floor_tables import FLOOR_COLUMN
from .floor_tables import NOTE as FLOOR_NOTE
from .floor_tables import PLAIN_COLUMNS as FLOOR_PLAIN_COLUMNS
from .floor_tables import floor_cells
from .floor_tables import has_floors
from .protocol_words import OVERLAP
from .protocol_words import named_protocol
from .protocol_words import overlap_mark
from .protocol_words import overlaps
from .report_data import ReportData
from .report_data import ReportedExperiment
from .report_data import Tested
from .score_words import METRIC_NAMES
from .score_words import ONE_SEED
from .score_words import ScoreRow
from .score_words import decisions_note
from .score_words import lacking_note
from .score_words import score_rows
from .table import Marked
from .table import Table
from .table import with_interval

SIGNIFICANT = 0.05
MIXED = "‡"
UNSEEN_COLUMN = "UAR, unseen sentences"
_UNSEEN_PLAIN_COLUMNS = [
    "uar_unseen_sentences", "uar_unseen_sentences_low", "uar_unseen_sentences_high", "rows_unseen_sentences",
]  # fmt: skip


def letters(data: ReportData) -> dict[str, str]:
    """A mark for each experiment: a, b, ..., z, then numbers."""
    names = [experiment.name for experiment in data.experiments]
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
    """Scores of every experiment in every corpus, with intervals and marks; two lines where a corpus lacks classes."""
    rows, plain = [], []
    for experiment in data.experiments:
        for corpus, tested in experiment.tested.items():
            for row in score_rows(corpus, tested.statistics, tested.statistics):
                shown_row, plain_row = _result_row(data, experiment, tested, row)
                rows.append(shown_row)
                plain.append(plain_row)
    uar, *others = METRIC_NAMES.values()
    columns = ["experiment", "tested on", "rows", "seeds × folds", uar, FLOOR_COLUMN, *others]
    columns += [UNSEEN_COLUMN, "UAR of runs ± std", "ECE", "Brier"]
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
    plain_columns = ["mark", "experiment", "tested_on", "decision", "chance", "rows", "speakers", "seeds"]
    plain_columns += [metric + part for metric in METRIC_NAMES for part in parts]
    plain_columns += ["ci_method", "ci_units", "folds_lacking_classes", "ece", "ece_low", "ece_high"]
    plain_columns += ["brier", "brier_low", "brier_high", "warnings", *_UNSEEN_PLAIN_COLUMNS, *FLOOR_PLAIN_COLUMNS]
    table = Table("results", "Results", columns, rows, _results_note(data), (plain_columns, plain))
    table = table if _has_unseen(data) else table.without(UNSEEN_COLUMN)
    return table if has_floors(data) else table.without(FLOOR_COLUMN)


def _has_unseen(data: ReportData) -> bool:
    return any("unseen_sentences" in t.statistics for each in data.experiments for t in each.tested.values())


def _unseen_cells(found: dict[str, Any]) -> tuple[str, list[Any]]:
    """UAR on unseen sentences with its interval and rows, as it is shown and as the CSV has it."""
    unseen = found.get("unseen_sentences")
    if unseen is None:
        return "–", [None, None, None, None]
    if unseen["uar"] is None:
        return "no such rows", [None, None, None, unseen["rows"]]
    score = unseen["uar"]
    text = f"{with_interval(score['pooled'], score['ci95']).text}, {unseen['rows']:g} rows"
    return text, [score["pooled"], *(score["ci95"] or (None, None)), unseen["rows"]]


def _result_row(
    data: ReportData, each: ReportedExperiment, tested: Tested, row: ScoreRow
) -> tuple[list[Any], list[Any]]:
    """A line of the results, as it is shown and as the CSV has it. The paired tests are of the decision among all
    classes, so its marks stand there."""
    found, mark = tested.statistics, letters(data)[each.name]
    runs = [run for run in each.runs if tested.corpus in run["test"]]
    folds = len({run["fold"] for run in runs})
    averaged = f"{found['seeds']} × {folds}"
    if len(runs) < found["seeds"] * folds:
        averaged = f"{len(runs)} of {averaged}"
    cells, numbers = [], []
    for metric in METRIC_NAMES:
        score, better = row.figures[metric], ""
        if metric in ("uar", "accuracy") and row.decision != "shared":
            better = better_than(data, tested.corpus, each.name, metric)
        cells.append(Marked(with_interval(score["pooled"], score["ci95"]).text, better))
        numbers += [score["pooled"], *(score["ci95"] or (None, None)), score["mean"], score["std"]]
        numbers += [score["std_over_folds"], score["std_over_seeds"], better]
    lacking = found["folds_lacking_classes"]
    spread = Marked(mean_and_std(row.figures["uar"]), MIXED if lacking else "")
    errors = [None, None] if row.decision == "shared" else [found["ece"], found["brier"]]
    warnings = experiment_warnings(each.entry["runs"])
    name = f"{mark}  {each.name}{' !' if warnings else ''}"
    floor, plain_floor = floor_cells(each, tested.corpus, row.decision)
    cells.insert(1, floor)
    unseen, plain_unseen = _unseen_cells(found) if row.decision != "shared" else _unseen_cells({})
    tested_on = row.tested_on + overlap_mark(each.entry)
    shown_row = [name, tested_on, found["rows"], averaged, *cells, unseen, spread, *errors]
    classes = row.figures["classes"] if row.decision else tested.rows.labels
    head = [mark, each.name, tested.corpus, row.decision, 1 / len(classes)]
    head += [found["rows"], found["speakers"], found["seeds"]]
    method = [row.figures["uar"]["ci_method"], row.figures["uar"]["ci_units"], len(lacking)]
    calibration = []
    for name in ("ece", "brier"):  # of the decision among all
        of_all = (found[name], *(found[f"{name}_ci95"] or (None, None)))
        calibration += (None, None, None) if row.decision == "shared" else of_all
    kinds = "; ".join(f"{warning['kind']} {warning['runs']}/{warning['of']}" for warning in warnings)
    return shown_row, [*head, *numbers, *method, *calibration, kinds, *plain_unseen, *plain_floor]


def _results_note(data: ReportData) -> str:
    note = "Scores are pooled over folds and averaged over seeds, with 95 % intervals."
    if any(pair[metric]["p_holm"] < SIGNIFICANT for pair, metric in _pairs(data)):
        note += f" Raised letters: better than those experiments, p < {SIGNIFICANT:g} after Holm's correction."
        if any(pair[metric]["note"] for pair, metric in _pairs(data)):
            note += f" †: the test {IGNORES_DEPENDENCE} between rows of one speaker, so its p is too small."
    elif data.comparisons and any(data.comparisons.values()):
        note += f" No difference between experiments is significant (p < {SIGNIFICANT:g} after Holm's correction)."
    if any(experiment_warnings(experiment.entry["runs"]) for experiment in data.experiments):
        note += " !: some or all of its runs learned nothing, or not every class; see the top of the report."
    note += "".join(f" {each.name}: {line}." for each in data.experiments if (line := named_protocol(each.entry)))
    for each in data.experiments:
        marked = f"{OVERLAP} " if overlap_mark(each.entry) else ""
        note += "".join(f" {marked}{each.name}: {line}." for line in overlaps(each.entry))
    if _has_unseen(data):
        note += f" {UNSEEN_COLUMN}: on test rows whose words were neither trained on nor chose an epoch."
    said = [(t.corpus, t.statistics) for experiment in data.experiments for t in experiment.tested.values()]
    if any(found["uar"]["ci_units"] == "rows" for _, found in said):
        note += " With fewer than five speakers the interval is over rows: it ignores dependence and is too narrow."
    lacking = dict.fromkeys(text for corpus, found in said if (text := lacking_note(corpus, found)))
    note += "".join(f" {MIXED}: {text}" for text in lacking)
    note += "".join(f" {text}" for text in dict.fromkeys(decisions_note(*each) for each in said) if text)
    if any(found["decisions"] for _, found in said):
        note += " Letters, and the differences below, are of the decision among all classes."
    note += f" {FLOOR_NOTE}" if has_floors(data) else ""
    most = max(sum(corpus in experiment.tested for experiment in data.experiments) for corpus in data.tested_corpora)
    if most > 1:
        note += f" The highest of {most} test scores is optimistic: luck helps to pick it."
    return note


def _pairs(data: ReportData) -> list[tuple[dict[str, Any], str]]:
    return [(pair, metric) for pairs in data.comparisons.values() for pair in pairs for metric in ("uar", "accuracy")]


def comparisons_table(data: ReportData) -> Table:
    """Every two experiments on the same rows: difference, interval, p."""
    columns = ["tested on", "first", "second", "score", "difference", "95 % interval (before Holm)", "p (before Holm)"]
    columns += ["p (after Holm)", "test"]
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
                head = [corpus, pair["first"], pair["second"], METRIC_NAMES[metric]]
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
    note = f"Difference: first minus second. *: p < {SIGNIFICANT:g} after Holm's correction over a corpus' pairs. The "
    note += "interval is not corrected: it goes with the p beside it. McNemar's test is of the first seed of each. "
    note += f"What {IGNORES_DEPENDENCE} takes rows of one speaker for independent: its p is too small."
    single = [
        experiment.name
        for experiment in data.experiments
        if any(t.statistics["seeds"] < 2 for t in experiment.tested.values())
    ]
    if single:
        note += f" {ONE_SEED}"
        note += f" One seed have: {', '.join(single)}." if len(single) < len(data.experiments) else ""
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
    for experiment in data.experiments:
        for corpus, tested in experiment.tested.items():
            found = tested.statistics
            cells = [with_interval(found[name], found[f"{name}_ci95"]) for name in ("ece", "brier")]
            rows.append([experiment.name, corpus, *cells])
    note = "ECE: expected calibration error of the likeliest class, in 15 bins. With few rows it is too large, since "
    note += "chance makes gaps in every bin, and its interval covers somewhat less than 95 %."
    return Table("calibration-scores", "Calibration", ["experiment", "tested on", "ECE", "Brier score"], rows, note)


def vad_table(data: ReportData) -> Table:
    """How well valence, arousal and dominance are told, of the experiments whose models give them."""
    rows, plain = [], []
    for name, corpus, ratings in _rated(data):
        for rating, found in ratings.items():
            ccc, rmse = found["ccc"], found["rmse"]
            head = [name, corpus, rating, found["n"]]
            cells = [with_interval(ccc["pooled"], ccc["ci95"]), Marked(mean_and_std(ccc), "")]
            rows.append([*head, *cells, rmse["pooled"]])
            numbers = [ccc["pooled"], *(ccc["ci95"] or (None, None)), ccc["mean"], ccc["std"]]
            plain.append([*head, *numbers, ccc["ci_method"], ccc["ci_units"]])
            plain[-1] += [rmse["pooled"], rmse["mean"], rmse["std"]]
    columns = ["experiment", "tested on", "rating", "rated rows", "CCC", "CCC of runs ± std", "RMSE"]
    plain_columns = ["experiment", "tested_on", "rating", "rated_rows", "ccc", "ccc_low", "ccc_high"]
    plain_columns += ["ccc_mean_of_runs", "ccc_std_of_runs", "ci_method", "ci_units"]
    plain_columns += ["rmse", "rmse_mean_of_runs", "rmse_std_of_runs"]
    note = "CCC: concordance correlation, with its 95 % interval; RMSE in points of the scale from 1 to 5. Both are "
    note += "pooled over folds and averaged over seeds."
    if has_floors(data) and rows:
        note += " Floor: ridge regression on the features of the experiment's floor; validation rows choose its alpha."
    title = "Valence, arousal and dominance"
    return Table("valence-arousal-dominance", title, columns, rows, note, (plain_columns, plain))


def _rated(data: ReportData) -> list[tuple[str, str, dict[str, Any]]]:
    """Experiments that learn ratings and their floors: name, corpus, "vad" of its statistics."""
    found = []
    for experiment in data.experiments:
        for corpus, tested in experiment.tested.items():
            floors = floors_of(experiment.entry, corpus)
            own = floors.get(experiment.entry["floors"]["own"], {}) if floors else {}
            if "vad" in tested.statistics:
                found.append((experiment.name, corpus, tested.statistics["vad"]))
                found.append((f"{experiment.name}: floor", corpus, own.get("vad", {})))  # no line without one
    return found


def cross_corpus_table(matrix: CrossCorpus, shared: bool = False) -> Table:
    """UAR, trained on × tested on; `shared`: decided among the classes that the test corpus has."""
    values = matrix.shared if shared else matrix.uar
    rows = [[name, *map(float, row)] for name, row in zip(matrix.trained, values, strict=True)]
    plain = [[name, *(None if np.isnan(v) else float(v) for v in row)] for name, *row in rows]
    columns = ["trained on", *matrix.tested]
    title = "UAR, trained on (rows) and tested on (columns)"
    if matrix.shared is not None:
        title += f", decided among {'the classes of the test corpus' if shared else 'all classes'}"
    return Table(f"cross-corpus{'-shared' * shared}", title, columns, rows, "", (columns, plain))
