"""The disjoint folds that are nearest to given ones.

No speaker is in two tests, or in a test and in what its fold trains on; sizes and class counts of the tests, and of
the validation part where there is one, are as near to the given ones as whole speakers allow. Speakers are dealt to
the parts one by one, the largest first, each to where the class counts come nearest to those that are wanted; then
they are moved and swapped while that helps, from several beginnings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BEGINNINGS = 20


@dataclass(frozen=True, eq=False)
class GivenFold:
    """A fold: its name, (n,) bool of the rows that are trained on, those that validate (None where a rule draws them)
    and those of each test."""

    name: str
    train: np.ndarray
    validation: np.ndarray | None
    tests: dict[str, np.ndarray]

    @property
    def tested(self) -> np.ndarray:
        """(n,) bool: rows of all tests."""
        return np.logical_or.reduce(list(self.tests.values()))

    @property
    def all(self) -> np.ndarray:
        """(n,) bool: rows of all parts."""
        others = self.train if self.validation is None else self.train | self.validation
        return others | self.tested


def nearest_disjoint(
    folds: Sequence[GivenFold], speakers: np.ndarray, labels: np.ndarray, seed: int = 0
) -> list[GivenFold]:
    """The nearest disjoint folds. Where all rows are tested once over the folds, they are again.

    Args:
        speakers: (n,) numbers; rows of unknown speakers must have one of their own.
        labels: (n,) class numbers.

    Raises:
        ValueError: too few speakers for so many tests (folds of a cross-validation are fewer then, down to two).
    """
    rows = np.logical_or.reduce([fold.all for fold in folds])
    tested = np.logical_or.reduce([fold.tested for fold in folds])
    names = [(number, test) for number, fold in enumerate(folds) for test in fold.tests]
    wanted = [_counts(folds[number].tests[test], labels) for number, test in names]
    people = len(np.unique(speakers[rows]))
    rest = (rows & ~tested).any()
    if not rest and len(names) > people and len(names) == len(folds):
        folds, names = folds[:people], names[:people]
        wanted = [_counts(rows, labels) / people] * people
    needed = len(names) + bool(rest)
    if people < max(needed, 2):
        raise ValueError(f"{max(needed, 2)} speakers are needed to test none who is trained on; there are {people}")
    targets = np.array([*wanted, *([_counts(rows & ~tested, labels)] if rest else [])])
    groups = _deal(speakers, labels, rows, targets, seed)
    made = []
    for number, fold in enumerate(folds):
        tests = {test: groups == place for place, (of, test) in enumerate(names) if of == number}
        others = (fold.all if rest else rows) & ~np.logical_or.reduce(list(tests.values()))
        others &= ~np.isin(groups, [place for place, (of, _) in enumerate(names) if of == number])
        validation = None
        if fold.validation is not None:
            shares = _counts(fold.validation, labels) / max(int((fold.train | fold.validation).sum()), 1)
            wanted_here = shares * others.sum()
            sides = _deal(
                speakers, labels, others, np.array([wanted_here, _counts(others, labels) - wanted_here]), seed
            )
            validation = sides == 0
            others = sides == 1
        made.append(GivenFold(fold.name, others, validation, tests))
    return made


def _counts(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels[rows], minlength=labels.max() + 1).astype(float)


def _deal(speakers: np.ndarray, labels: np.ndarray, rows: np.ndarray, targets: np.ndarray, seed: int) -> np.ndarray:
    """(n,) which group each row's speaker is dealt to, -1 for other rows; none is empty where speakers suffice."""
    names, codes = np.unique(speakers[rows], return_inverse=True)
    counts = np.zeros((len(names), targets.shape[1]))
    np.add.at(counts, (codes.reshape(-1), labels[rows]), 1)
    rng, best, lowest = np.random.default_rng(seed), None, np.inf
    for beginning in range(_BEGINNINGS):
        order = np.argsort(-counts.sum(axis=1) * (1 if beginning == 0 else rng.uniform(0.5, 1.5, len(names))))
        dealt = _improved(_greedy(counts, targets, order), counts, targets)
        cost = _cost(dealt, counts, targets)
        if cost < lowest - 1e-9:
            best, lowest = dealt, cost
    groups = np.full(len(rows), -1)
    groups[rows] = best[codes.reshape(-1)]
    return groups


def _cost(dealt: np.ndarray, counts: np.ndarray, targets: np.ndarray) -> float:
    """How far the groups' class counts are from the targets, in shares of these; empty groups are worst."""
    sums = np.zeros_like(targets)
    np.add.at(sums, dealt, counts)
    empty = (np.bincount(dealt, minlength=len(targets)) == 0).sum()
    sizes = np.maximum(targets.sum(axis=1, keepdims=True), 1)
    return float((((sums - targets) / sizes) ** 2).sum()) + 1e6 * int(empty)


def _greedy(counts: np.ndarray, targets: np.ndarray, order: np.ndarray) -> np.ndarray:
    sums, dealt = np.zeros_like(targets), np.zeros(len(counts), int)
    sizes = np.maximum(targets.sum(axis=1, keepdims=True), 1)
    for speaker in order:
        before = (((sums - targets) / sizes) ** 2).sum(axis=1)
        after = (((sums + counts[speaker] - targets) / sizes) ** 2).sum(axis=1)
        dealt[speaker] = np.argmin(after - before)
        sums[dealt[speaker]] += counts[speaker]
    return dealt


def _improved(dealt: np.ndarray, counts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Moves a speaker, or swaps two, while that brings the groups nearer; many speakers are moved alone."""
    swaps = len(dealt) <= 60
    cost, better = _cost(dealt, counts, targets), True
    while better:
        better = False
        for speaker in range(len(dealt)):
            trials = [(speaker, group) for group in range(len(targets)) if group != dealt[speaker]]
            for one, group in trials:
                trial = dealt.copy()
                trial[one] = group
                if (found := _cost(trial, counts, targets)) < cost - 1e-9:
                    dealt, cost, better = trial, found, True
            for other in range(speaker if swaps else 0):
                if dealt[other] == dealt[speaker]:
                    continue
                trial = dealt.copy()
                trial[[speaker, other]] = trial[[other, speaker]]
                if (found := _cost(trial, counts, targets)) < cost - 1e-9:
                    dealt, cost, better = trial, found, True
        if len(dealt) > 300:
            break
    return dealt


__all__ = ["GivenFold", "nearest_disjoint"]
