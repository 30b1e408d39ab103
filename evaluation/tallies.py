"""Rows counted by what may not be told apart from another: all that scores, resampling and swapping need to know.

A unit is a speaker, a session or a row. What follows from the counts, for whole speakers at once, is done with matrix
products.
"""

import numpy as np


def tally(references: np.ndarray, predictions: np.ndarray, units: np.ndarray, classes: int) -> np.ndarray:
    """What the scores need to know of each unit (a speaker, a session, a row).

    Args:
        references: (n,) true class numbers.
        predictions: (seeds, n) predicted class numbers, -1 where a seed has not tested the row.
        units: (n,) number of the unit that a row belongs to, from 0.
        classes: how many classes there are.

    Returns:
        (seeds, units, 3, classes) float64 counts: rows right, rows of the class, rows predicted to be of it.
    """
    references, units = np.asarray(references, np.int64), np.asarray(units, np.int64)
    size = int(units.max()) + 1
    counts = np.empty((len(predictions), size, 3, classes))
    for seed, predicted in enumerate(np.asarray(predictions, np.int64)):
        tested = predicted >= 0
        unit, true, guess = units[tested], references[tested], predicted[tested]
        for kind, (owner, label) in enumerate(
            ((unit[guess == true], true[guess == true]), (unit, true), (unit, guess))
        ):
            cells = np.bincount(owner * classes + label, minlength=size * classes)
            counts[seed, :, kind] = cells.reshape(size, classes)
    return counts


def scores_of_tallies(tallies: np.ndarray, f1_of_true_classes: bool = False) -> np.ndarray:
    """The four `SCALARS`, as `emotion_scores` has them: tallies (..., 3, C) to (..., 4), NaN where there is no row.

    `f1_of_true_classes`: the macro F1 is over the classes that occur in the references, as UAR is; else also over
    those that are only predicted, whose F1 is 0.
    """
    right, true, predicted = tallies[..., 0, :], tallies[..., 1, :], tallies[..., 2, :]
    rows = true.sum(-1)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    averaged = true > 0 if f1_of_true_classes else true + predicted > 0
    scores = (
        right.sum(-1) / np.maximum(rows, 1),
        (right / np.maximum(true, 1)).sum(-1) / np.maximum((true > 0).sum(-1), 1),
        (f1 * averaged).sum(-1) / np.maximum(averaged.sum(-1), 1),
        (f1 * true).sum(-1) / np.maximum(rows, 1),
    )
    return np.where((rows > 0)[..., None], np.stack(scores, axis=-1), np.nan)


def mean_over_seeds(scores: np.ndarray) -> np.ndarray:
    """Scores (..., seeds, units, M) averaged over the seeds that tested the unit: (..., units, M)."""
    tested = ~np.isnan(scores)
    return np.where(tested, scores, 0).sum(-3) / np.maximum(tested.sum(-3), 1)


def checked(
    references: np.ndarray, predictions: np.ndarray, speakers: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """References (n,) and predictions (seeds, n) as arrays. Raises ValueError as `intervals` does."""
    references, predictions = np.asarray(references), np.atleast_2d(predictions)
    if not len(references):
        raise ValueError("there are no rows to score")
    if predictions.shape[1:] != references.shape or len(speakers) != len(references):
        raise ValueError(
            f"references {references.shape} need predictions (seeds, {len(references)}) and as many speakers, "
            f"got {predictions.shape} and {len(speakers)}"
        )
    for what, values, least in (("references", references, 0), ("predictions", predictions, -1)):
        if values.min() < least or values.max() >= classes:
            raise ValueError(
                f"{what} reach from {values.min()} to {values.max()}, there are classes 0 to {classes - 1}"
            )
    return references, predictions


__all__ = ["checked", "mean_over_seeds", "scores_of_tallies", "tally"]
