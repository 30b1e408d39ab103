"""What a report draws of an experiment's test rows: confusion, difficulty, calibration, the rows most often wrong."""

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from scipy import special

from ..evaluation.metrics import SCALARS
from ..evaluation.metrics import brier_score
from ..evaluation.metrics import calibration_error
from ..evaluation.metrics import reliability
from ..evaluation.predictions import PooledRows
from ..evaluation.protocols import natural_key
from ..evaluation.tallies import mean_over_seeds
from ..evaluation.tallies import scores_of_tallies
from ..evaluation.tallies import tally
from ..evaluation.test_parts import tested_corpus
from .report_data import ReportData
from .report_data import ReportedExperiment
from .report_data import Tested

Of, Found = TypeVar("Of"), TypeVar("Found")

BUCKETS = 20
ROWS_A_BUCKET = 10  # at least


def _once(find: Callable[[Of], Found]) -> Callable[[Of], Found]:
    """Remembers what was found of each object as long as it is there: figures, tables and words ask for the same."""
    known: WeakKeyDictionary[Of, Found] = WeakKeyDictionary()

    @functools.wraps(find)
    def found(of: Of) -> Found:
        if of not in known:
            known[of] = find(of)
        return known[of]

    return found


def confusion(rows: PooledRows) -> np.ndarray:
    """(C, C) counts over all seeds, rows true and columns predicted."""
    size = len(rows.labels)
    tested = rows.predictions >= 0
    cells = (rows.references * size + rows.predictions)[tested]
    return np.bincount(cells, minlength=size**2).reshape(size, size)


def share_right(rows: PooledRows) -> np.ndarray:
    """(n,) the share of the seeds that tested the row which were right."""
    tested = rows.predictions >= 0
    return (rows.predictions == rows.references).sum(0) / np.maximum(tested.sum(0), 1)


@dataclass(frozen=True, eq=False)
class DifficultyCurve:
    """How right an experiment is, by difficulty: B buckets of rows, as equal in number as can be.

    Args:
        difficulty, accuracy, uar: (B,) means of each bucket, the latter two averaged over the seeds.
        count: (B,) rows.
        overall: accuracy over all rows that have a difficulty.
        r, p: Pearson's correlation of a row's difficulty with the share of seeds that were right. p takes rows as
            independent.
        r_within, p_within: the same within classes: of the differences from the class means, with as many degrees of
            freedom fewer.
    """

    difficulty: np.ndarray
    accuracy: np.ndarray
    uar: np.ndarray
    count: np.ndarray
    overall: float
    r: float
    p: float
    r_within: float
    p_within: float


@_once
def difficulty_curve(tested: Tested) -> DifficultyCurve | None:
    """The curve, in fewer buckets where they would hold under 10 rows; None under 20 rows, or where all are alike."""
    known = np.flatnonzero(~np.isnan(tested.difficulty))
    difficulty, right = tested.difficulty[known], share_right(tested.rows)[known]
    if len(known) < 2 * ROWS_A_BUCKET or np.ptp(difficulty) == 0:
        return None
    buckets = min(BUCKETS, len(known) // ROWS_A_BUCKET)
    place = np.empty(len(known), int)
    place[np.argsort(difficulty, kind="stable")] = np.arange(len(known)) * buckets // len(known)
    count = np.bincount(place)
    tallies = tally(tested.rows.references[known], tested.rows.predictions[:, known], place, len(tested.rows.labels))
    scores = mean_over_seeds(scores_of_tallies(tallies))
    classes = tested.rows.references[known]
    everywhere = np.zeros(len(known), int)
    return DifficultyCurve(
        np.bincount(place, difficulty) / count,
        scores[:, SCALARS.index("accuracy")],
        scores[:, SCALARS.index("uar")],
        count,
        float(right.mean()),
        *_correlation(difficulty, right, everywhere),
        *_correlation(difficulty, right, classes),
    )


def _correlation(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Pearson's r of x and y (n,) within groups (n,), and its p; NaN where one of them does not vary there."""
    names, place = np.unique(groups, return_inverse=True)
    count, free = np.bincount(place), len(x) - len(names) - 1
    deviations = []
    for values in (x, y):
        deviations.append(values - (np.bincount(place, values) / count)[place])
        if free < 1 or np.ptp(deviations[-1]) <= 1e-9 * np.abs(values).max():
            return np.nan, np.nan
    x, y = deviations
    r = float(np.clip((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()), -1, 1))
    with np.errstate(divide="ignore"):
        return r, float(2 * special.stdtr(free, -abs(r) * np.sqrt(free / (1 - r**2))))  # of t, above


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often the predicted class is right, by its probability, over the rows of all seeds together.

    Args:
        curve: of `metrics.reliability`.
        ece: calibration error of this very curve. The mean of the seeds' own is no lower: their gaps cancel here.
        brier: Brier score of the same rows.
    """

    curve: dict[str, np.ndarray]
    ece: float
    brier: float


@_once
def reliability_of(rows: PooledRows) -> Reliability:
    """The reliability diagram of an experiment in a corpus."""
    seeds, of_rows = np.nonzero(rows.predictions >= 0)
    given = rows.references[of_rows], rows.probabilities[seeds, of_rows]
    return Reliability(reliability(*given), calibration_error(*given), brier_score(*given))


def rows_most_often_wrong(tested: Tested, count: int) -> list[dict[str, Any]]:
    """Up to `count` rows that were ever wrong: by the share of seeds, then by the probability given to the truth."""
    rows = tested.rows
    was_tested = rows.predictions >= 0
    right = share_right(rows)
    of_truth = np.take_along_axis(rows.probabilities, rows.references[None, :, None], axis=2)[:, :, 0]
    of_truth = np.where(was_tested, of_truth, 0).sum(0) / np.maximum(was_tested.sum(0), 1)
    order = np.lexsort((rows.utterance_ids, of_truth, right))
    found = []
    for row in order[:count][right[order[:count]] < 1]:
        guesses = rows.predictions[was_tested[:, row], row]
        taken_for = Counter(guesses[guesses != rows.references[row]].tolist()).most_common(1)[0][0]
        hard = tested.difficulty[row]
        found.append(
            {
                "utterance": str(rows.utterance_ids[row]),
                "speaker": str(rows.speakers[row]),
                "session": str(rows.sessions[row]),
                "label": rows.labels[rows.references[row]],
                "taken for": rows.labels[taken_for],
                "wrong": int((guesses != rows.references[row]).sum()),
                "seeds": len(guesses),
                "probability of the truth": float(of_truth[row]),
                "difficulty": None if np.isnan(hard) else float(hard),
            }
        )
    return found


@dataclass(frozen=True, eq=False)
class CrossCorpus:
    """UAR (trained, tested) of experiments that were tested on corpora which they did not train on.

    Args:
        trained: names of the rows.
        tested: names of the columns.
        uar: pooled UAR, NaN where not tested.
        within: whether the corpus was trained on too (other rows of it).
        shared: as `uar`, decided among the classes that the test corpus has; None where each has all.
    """

    trained: list[str]
    tested: list[str]
    uar: np.ndarray
    within: np.ndarray
    shared: np.ndarray | None = None


def cross_corpus(data: ReportData) -> CrossCorpus | None:
    """The matrix, None where no experiment was tested on a corpus that it did not train on."""
    if all(_trains_on(data, experiment, corpus) for experiment in data.experiments for corpus in experiment.tested):
        return None
    trained_on = [
        "the others of " * (experiment.settings.get("evaluation_mode") == "leave_corpus_out")
        + " + ".join(experiment.trained_on)
        for experiment in data.experiments
    ]
    twice = len(set(trained_on)) < len(trained_on)
    names = [
        f"{name} ({each.name})" if twice else name for name, each in zip(trained_on, data.experiments, strict=True)
    ]
    order = sorted(range(len(names)), key=lambda i: (natural_key(trained_on[i]), i))
    first = dict.fromkeys(name for i in order for name in data.experiments[i].trained_on)
    tested = sorted(data.tested_corpora, key=lambda name: _place(tested_corpus(name, first), first))
    columns = list(dict.fromkeys(tested))
    uar, within = np.full((len(names), len(columns)), np.nan), np.zeros((len(names), len(columns)), bool)
    shared = uar.copy()
    for row, i in enumerate(order):
        for column, corpus in enumerate(columns):
            each = data.experiments[i]
            if corpus in each.tested:
                found = each.tested[corpus].statistics
                uar[row, column] = found["uar"]["pooled"]
                shared[row, column] = found.get("decisions", {}).get("shared", found)["uar"]["pooled"]
                within[row, column] = _trains_on(data, each, corpus)
    differs = not np.array_equal(uar, shared, equal_nan=True)
    return CrossCorpus([names[i] for i in order], columns, uar, within, shared if differs else None)


def _place(corpus: str, first: dict[str, None]) -> int:
    """Corpora that are trained on come first, in their order."""
    return list(first).index(corpus) if corpus in first else len(first)


def _trains_on(data: ReportData, each: ReportedExperiment, tested: str) -> bool:
    """Whether a run that tests it is trained on other rows of the same corpus."""
    corpus = tested_corpus(tested, {name for experiment in data.experiments for name in experiment.trained_on})
    return any(corpus in run["parts"]["train"]["corpora"] for run in each.runs if tested in run["test"])


__all__ = [
    "BUCKETS",
    "ROWS_A_BUCKET",
    "CrossCorpus",
    "DifficultyCurve",
    "Reliability",
    "confusion",
    "cross_corpus",
    "difficulty_curve",
    "reliability_of",
    "rows_most_often_wrong",
    "share_right",
]
