"""Intervals of what `significance.intervals` has none of: recall of each class, calibration, concordance of ratings.

Each is a function of sums over rows, so speakers are resampled as there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .metrics import RATINGS
from .significance import bounds_on
from .significance import checked
from .significance import interval_at
from .significance import resample_sums
from .significance import score_bounds
from .significance import tally
from .significance import units_of


def recall_intervals(
    references: np.ndarray, predictions: np.ndarray, speakers: np.ndarray, labels: Sequence[str]
) -> dict[str, dict[str, Any] | None]:
    """`intervals` of each class' recall, with "pooled"; None of a class that does not occur in the references."""
    references, predictions = checked(references, predictions, speakers, len(labels))
    units, kind = units_of(speakers)
    tallies = tally(references, predictions, units, len(labels))
    resampled = resample_sums(tallies, tallies[..., 1, :].sum(-1).mean(-2), _recalls, kind)
    low, high = score_bounds(resampled)
    occurs = np.isin(np.arange(len(labels)), references)
    return {
        label: {"pooled": float(resampled.estimate[i]), **interval_at(resampled, low, high, i)} if occurs[i] else None
        for i, label in enumerate(labels)
    }


def _recalls(tallies: np.ndarray) -> np.ndarray:
    right, true = tallies[..., 0, :], tallies[..., 1, :]
    return np.where(true > 0, right / np.maximum(true, 1), np.nan)


def calibration_intervals(
    references: np.ndarray, probabilities: np.ndarray, speakers: np.ndarray, bins: int = 15
) -> dict[str, dict[str, Any]]:
    """`intervals` of the expected calibration error and the Brier score, as `metrics` has them, averaged over seeds.

    The Brier score's on the log scale. The calibration error's as it is, cut off at 0: with few rows that error itself
    is too large (chance makes gaps in every bin), and its interval then covers somewhat less than 95 %.

    Args:
        references: (n,) true class numbers.
        probabilities: (seeds, n, C), NaN where a seed has not tested the row.
        speakers: (n,) speaker names or numbers.
        bins: of the calibration error.
    """
    units, kind = units_of(speakers)
    size = int(units.max()) + 1
    gaps, squares = np.zeros((len(probabilities), size, bins, 2)), np.zeros((len(probabilities), size, 1, 2))
    for seed, of_seed in enumerate(np.asarray(probabilities, np.float64)):
        tested = ~np.isnan(of_seed).any(axis=-1)
        p, unit, true = of_seed[tested], units[tested], references[tested]
        confidence = p.max(axis=1)
        place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        gap = (p.argmax(axis=1) == true) - confidence
        square = (p**2).sum(axis=1) - 2 * p[np.arange(len(true)), true] + 1
        for kind_of, values in enumerate((np.ones(len(true)), gap)):
            gaps[seed, ..., kind_of] = np.bincount(unit * bins + place, values, size * bins).reshape(size, bins)
        for kind_of, values in enumerate((np.ones(len(true)), square)):
            squares[seed, :, 0, kind_of] = np.bincount(unit, values, size)
    rows = squares[..., 0, 0].mean(0)
    found = {}
    for name, sums, score, scale in (("ece", gaps, _ece, "as it is"), ("brier", squares, _mean_of_sums, "log")):
        resampled = resample_sums(sums, rows, score, kind)
        low, high = bounds_on(resampled, scale)
        found[name] = interval_at(resampled, np.maximum(low, 0), high, 0)
    return found


def _ece(sums: np.ndarray) -> np.ndarray:
    """(..., bins, 2) rows and Σ (right - confidence) to (..., 1)."""
    rows = sums[..., 0].sum(-1)
    return np.where(rows > 0, np.abs(sums[..., 1]).sum(-1) / np.maximum(rows, 1), np.nan)[..., None]


def _mean_of_sums(sums: np.ndarray) -> np.ndarray:
    """(..., 1, 2) rows and a sum over them to (..., 1)."""
    rows = sums[..., 0]
    return np.where(rows > 0, sums[..., 1] / np.maximum(rows, 1), np.nan)


# ---- valence, arousal and dominance ---------------------------------------------------------------------------------


def moments(ratings: np.ndarray, predicted: np.ndarray, units: np.ndarray) -> np.ndarray:
    """What `concordances` needs to know of each unit.

    Args:
        ratings: (n, 3), NaN where unrated.
        predicted: (seeds, n, 3), NaN where a seed has not tested the row.
        units: (n,) number of the unit that a row belongs to, from 0.

    Returns:
        (seeds, units, 3, 6) float64 sums over the rated rows: 1, x, y, x², y², xy of the ratings x and predictions y.
    """
    size = int(units.max()) + 1
    found = np.zeros((len(predicted), size, 3, 6))
    for seed, guess in enumerate(predicted):
        for i in range(3):
            rated = ~(np.isnan(ratings[:, i]) | np.isnan(guess[:, i]))
            x, y = ratings[rated, i].astype(np.float64) - 3, guess[rated, i].astype(np.float64) - 3  # about the middle
            for kind, values in enumerate((np.ones_like(x), x, y, x * x, y * y, x * y)):
                found[seed, :, i, kind] = np.bincount(units[rated], values, size)
    return found


def concordances(sums: np.ndarray) -> np.ndarray:
    """`metrics.concordance` from `moments`: (..., 3, 6) to (..., 3), NaN where there is no row."""
    rows = sums[..., 0]
    n = np.maximum(rows, 1)
    x, y, xx, yy, xy = (sums[..., kind] / n for kind in range(1, 6))
    below = xx - x * x + yy - y * y + (x - y) ** 2
    same = below < 1e-12
    return np.where(rows > 0, np.where(same, 0, 2 * (xy - x * y)) / np.where(same, 1, below), np.nan)


def concordance_intervals(
    ratings: np.ndarray, predicted: np.ndarray, speakers: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Concordance of valence, arousal and dominance, averaged over seeds, with 95 % intervals as `intervals` has them.

    The bounds are `bounds_on` Fisher's z. Arguments as in `moments`; speakers (n,) are names or numbers.

    Returns:
        {"valence": {"pooled", "low", "high", "method", "units"}, ...}; low and high are None where there is nothing to
        tell the width from.
    """
    units, kind = units_of(speakers)
    sums = moments(ratings, predicted, units)
    resampled = resample_sums(sums, sums[..., 0].mean((-1, -3)), concordances, kind)
    low, high = bounds_on(resampled, "fisher")
    return {
        name: {"pooled": float(resampled.estimate[i]), **interval_at(resampled, low, high, i)}
        for i, name in enumerate(RATINGS)
    }


__all__ = ["calibration_intervals", "concordance_intervals", "concordances", "moments", "recall_intervals"]
