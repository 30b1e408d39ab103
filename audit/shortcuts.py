"""Whether labels can be told without listening: from the session, the duration, the corpus, what is missing, or the
sentence alone.

A logistic regression on each alone (of sentences, the label that each mostly has), tested on speakers that it was not
fitted on. It tells labels where its UAR is above chance by more than its error; a problem where that is by a tenth of
the way to 1 too.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ..text_columns import coded
from .audited import NONE
from .audited import AuditedRows

_FOLDS = 5
_TAIL = 0.0005  # of a probe that knows nothing to be taken for one that does
_GAIN = 0.1
_BINS = 8


@dataclass(frozen=True)
class Probe:
    """What one thing alone tells of labels.

    Args:
        of: session, duration, corpus, missing, sentence.
        uar: on speakers that were not fitted on.
        chance: UAR of who knows nothing.
        error: standard error of `uar`, of speakers and of rows, the larger.
        speakers: how many were tested.
        tells: whether `uar` is above `chance` by more than its error.
        problem: whether it is so by a tenth of what is to be gained, too.
    """

    of: str
    uar: float
    chance: float
    error: float
    speakers: int
    tells: bool
    problem: bool


def probes(rows: AuditedRows) -> list[Probe]:
    """A probe of each thing that there is, where there are speakers to test it on."""
    given = {
        "session": _sessions(rows),
        "duration": _durations(rows),
        "corpus": _one_hot(coded(rows.corpora)[1]),
        "missing": _missing(rows),
        "sentence": rows.sentences[:, None] if _repeats(rows.sentences) else None,
    }
    found = [_probe(rows, of, columns) for of, columns in given.items() if columns is not None]
    return [probe for probe in found if probe is not None]


def _sessions(rows: AuditedRows) -> np.ndarray | None:
    (_, corpora), (sessions, numbers) = coded(rows.corpora), coded(rows.sessions)
    return _one_hot(corpora * len(sessions) + numbers)


def _one_hot(codes: np.ndarray) -> np.ndarray | None:
    """(n, different) float32; None where all are alike, or so many that they are no groups."""
    different, codes = np.unique(codes, return_inverse=True)
    if not 2 <= len(different) <= 1000:
        return None
    return np.eye(len(different), dtype=np.float32)[codes.reshape(-1)]


def _durations(rows: AuditedRows) -> np.ndarray | None:
    lengths = rows.lengths
    if lengths.max(initial=0) <= 1:
        return None
    logs = np.log(np.maximum(lengths, 1))
    edges = np.unique(np.quantile(logs[lengths > 0], np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.eye(len(edges) + 1)[np.searchsorted(edges, logs, side="right")]
    scaled = (logs - logs.mean()) / max(float(logs.std()), 1e-9)
    return np.column_stack([scaled, scaled**2, bins])


def _missing(rows: AuditedRows) -> np.ndarray | None:
    lacks = np.column_stack([rows.lengths == 0, rows.sentences == NONE, np.isnan(rows.vad)])
    varies = lacks.any(axis=0) & ~lacks.all(axis=0)
    return lacks[:, varies].astype(np.float32) if varies.any() else None


def _repeats(numbers: np.ndarray) -> bool:
    known = numbers[numbers != NONE]
    return len(np.unique(known)) < len(known)


def _probe(rows: AuditedRows, of: str, columns: np.ndarray) -> Probe | None:
    speakers, groups = coded(rows.speakers)
    labels = rows.labels
    present = np.flatnonzero(np.bincount(labels, minlength=len(rows.label_names)))
    if len(speakers) < 3 or len(present) < 2:
        return None
    from sklearn.model_selection import GroupKFold  # here, since it takes a second, and a brief audit has no probes

    predicted = np.full(len(rows), NONE)
    for fitted, tested in GroupKFold(min(_FOLDS, len(speakers))).split(columns, labels, groups):
        if len(np.unique(labels[fitted])) > 1:
            predict = _by_sentence if of == "sentence" else _by_regression
            predicted[tested] = predict(columns[fitted], labels[fitted], columns[tested])
    right = (predicted == labels).astype(float)
    uar, error = _uar(right, labels, groups, present)
    chance = 1 / len(present)
    limit = -float(stdtrit(len(speakers) - 1, _TAIL)) * error
    tells = uar - chance > limit
    return Probe(
        of, uar, chance, error, len(speakers), bool(tells), bool(tells and uar - chance > _GAIN * (1 - chance))
    )


def _by_regression(fitted: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(class_weight="balanced", max_iter=200)
    # Equal rows once, with weights: of a session or a corpus there are few different ones.
    kinds, place = np.unique(np.column_stack([fitted, labels]), axis=0, return_inverse=True)
    weights = np.bincount(labels)[kinds[:, -1].astype(int)]
    weights = np.bincount(place.reshape(-1)) * (len(labels) / len(np.unique(labels)) / weights)
    model.set_params(class_weight=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(kinds[:, :-1], kinds[:, -1].astype(int), sample_weight=weights)
    return model.predict(tested)


def _by_sentence(fitted: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """The label that each sentence mostly has, in shares of classes; the commonest label for sentences not known."""
    classes = labels.max() + 1
    sizes = np.maximum(np.bincount(labels, minlength=classes), 1)
    known, codes = np.unique(fitted[:, 0], return_inverse=True)
    counts = np.zeros((len(known), classes))
    np.add.at(counts, (codes.reshape(-1), labels), 1 / sizes[labels])
    place = np.minimum(np.searchsorted(known, tested[:, 0]), len(known) - 1)
    there = (known[place] == tested[:, 0]) & (tested[:, 0] != NONE)
    return np.where(there, counts.argmax(axis=1)[place], sizes.argmax())


def _uar(right: np.ndarray, labels: np.ndarray, groups: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """UAR, and its standard error: by a jackknife over speakers or of independent rows, whichever is larger."""
    size = groups.max() + 1, labels.max() + 1
    hits, counts = np.zeros(size), np.zeros(size)
    np.add.at(hits, (groups, labels), right)
    np.add.at(counts, (groups, labels), 1)
    hits, counts = hits[:, present], counts[:, present]
    total, of_class = hits.sum(axis=0), counts.sum(axis=0)
    recalls = total / of_class
    without = np.nanmean((total - hits) / np.where(of_class > counts, of_class - counts, np.nan), axis=1)
    jackknife = np.sqrt((len(without) - 1) * np.var(without))
    independent = np.sqrt((recalls * (1 - recalls) / of_class).sum()) / len(present)
    return float(recalls.mean()), float(max(jackknife, independent))


__all__ = ["Probe", "probes"]
