"""How far scores can be trusted: intervals and paired tests that know that rows of one speaker are not independent.

Everything here is a function of arrays. Rows are first counted by speaker; what follows, resampling and swapping whole
speakers, is done on those counts with matrix products. `benchmarks/error_rates.py` measures how often the intervals
cover and the tests reject.
"""

import functools
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special
from scipy import stats

from .metrics import RATINGS
from .metrics import SCALARS

RESAMPLES = 2000
SWAPS = 10_000
ENUMERATE_UP_TO = 12  # units: 2^12 swaps are fewer than SWAPS
SPEAKERS_FOR_INTERVAL = 5
SPEAKERS_FOR_BOOTSTRAP = 20
SPEAKERS_FOR_SWAPS = 6  # 2 / 2^5 = .0625 is the least p that five speakers can give
IGNORES_DEPENDENCE = "ignores dependence"


# ---- counts ---------------------------------------------------------------------------------------------------------


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


def scores_of_tallies(tallies: np.ndarray) -> np.ndarray:
    """The four `SCALARS`, as `emotion_scores` has them: tallies (..., 3, C) to (..., 4), NaN where there is no row."""
    right, true, predicted = tallies[..., 0, :], tallies[..., 1, :], tallies[..., 2, :]
    rows = true.sum(-1)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    scores = (
        right.sum(-1) / np.maximum(rows, 1),
        (right / np.maximum(true, 1)).sum(-1) / np.maximum((true > 0).sum(-1), 1),
        f1.sum(-1) / np.maximum((true + predicted > 0).sum(-1), 1),
        (f1 * true).sum(-1) / np.maximum(rows, 1),
    )
    return np.where((rows > 0)[..., None], np.stack(scores, axis=-1), np.nan)


def mean_over_seeds(scores: np.ndarray) -> np.ndarray:
    """Scores (..., seeds, units, M) averaged over the seeds that tested the unit: (..., units, M)."""
    tested = ~np.isnan(scores)
    return np.where(tested, scores, 0).sum(-3) / np.maximum(tested.sum(-3), 1)


# ---- intervals ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Resampled:
    """The scores of an experiment and how they vary when speakers come and go. M is `SCALARS`.

    Two experiments tested on the same rows are resampled alike: the difference of their `values` is the resampled
    difference.

    Args:
        estimate: (..., M) scores, each averaged over the seeds.
        values: (..., B, M) the same on B resamples.
        scale: (...,) the squared standard error is scale · Σ over resamples of (value - estimate)².
        df: (...,) degrees of freedom of the t interval.
        method: "jackknife" or "bootstrap".
        units: "speakers" or "rows".
    """

    estimate: np.ndarray
    values: np.ndarray
    scale: np.ndarray
    df: np.ndarray
    method: str
    units: str


def resample(references: np.ndarray, predictions: np.ndarray, speakers: np.ndarray, classes: int) -> Resampled:
    """Scores on resamples of speakers: bootstrap from 20 speakers on, jackknife from 5; under 5, of rows.

    Seeds are not more data: a resample takes a speaker's rows in all seeds, and the score is averaged over the seeds
    inside it. The same for the same arguments: the bootstrap's seed is fixed.

    Args:
        references: (n,) true class numbers.
        predictions: (n,) or (seeds, n) predicted class numbers, -1 where a seed has not tested the row.
        speakers: (n,) speaker names or numbers.
        classes: how many classes there are.
    """
    references, predictions = _checked(references, predictions, speakers, classes)
    names, units = np.unique(speakers, return_inverse=True)
    if len(names) < SPEAKERS_FOR_INTERVAL:
        tallies = tally(references, predictions, np.arange(len(references)), classes)
        return resample_tallies(tallies, units="rows")
    return resample_tallies(tally(references, predictions, units, classes))


def resample_tallies(tallies: np.ndarray, units: str = "speakers") -> Resampled:
    """`resample` from tallies (..., seeds, units, 3, C); leading axes are independent data sets."""
    rows = tallies[..., 1, :].sum(-1).mean(-2)  # (..., units): rows of each, averaged over the seeds
    return resample_sums(tallies, rows, scores_of_tallies, units)


def resample_sums(
    sums: np.ndarray, rows: np.ndarray, score: Callable[[np.ndarray], np.ndarray], units: str = "speakers"
) -> Resampled:
    """`resample` for any scores of sums over rows: sums (..., seeds, units, a, b), rows (..., units) of each unit.

    `score` takes sums (..., a, b) to scores (..., M), NaN where there is no row.

    A bootstrap over S speakers varies too little: by (S - 1) / S in the variance where all have as many rows, by more
    where not, since the long ones draw the score to themselves. Leaving a speaker out makes up for that: it divides a
    deviation by 1 - share of the rows. The bootstrap's `scale` does the same; for even speakers it is S / (S - 1).
    """
    size = sums.shape[-3]
    total = sums.sum(-3, keepdims=True)
    estimate = mean_over_seeds(score(total))[..., 0, :]
    effective = rows.sum(-1) ** 2 / np.maximum((rows**2).sum(-1), 1)
    df = np.maximum(effective - 1, 1)
    if units == "speakers" and size >= SPEAKERS_FOR_BOOTSTRAP:
        flat = sums.reshape(*sums.shape[:-2], -1)
        resampled = (_bootstrap_weights(size) @ flat).reshape(*flat.shape[:-2], RESAMPLES, *sums.shape[-2:])
        share = rows / rows.sum(-1, keepdims=True)
        leverage = (share**2 / (1 - share) ** 2).sum(-1) / (share**2).sum(-1)
        scale, method = (size - 1) / size * leverage / RESAMPLES, "bootstrap"
    else:
        scale = np.full_like(df, (size - 1) / size if size > 1 else np.nan)
        resampled, method = total - sums, "jackknife"
    return Resampled(estimate, mean_over_seeds(score(resampled)), scale, df, method, units)


@functools.lru_cache(maxsize=1)
def _bootstrap_weights(size: int) -> np.ndarray:
    """(RESAMPLES, size) how often each speaker is drawn; kept, since a job's experiments share their speakers."""
    return np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES).astype(float)


def score_bounds(resampled: Resampled) -> tuple[np.ndarray, np.ndarray]:
    """95 % bounds (..., M) of scores: logit(estimate) ± t · se / (estimate · (1 - estimate)), brought back to [0, 1].

    The standard error is the resamples' (see `Resampled`). The degrees of freedom of t are the effective number of
    speakers, (Σ n)² / Σ n² with n the rows of each (Kish 1965), less one, at least 1: where few speak most, they count
    as few. Plain percentiles of the same resamples cover less (error_rates.py). NaN where the
    estimate is 0 or 1, or there is a single unit: there is nothing to tell the width from.
    """
    estimate = resampled.estimate
    with np.errstate(divide="ignore", invalid="ignore"):
        error = _standard_error(resampled.values - estimate[..., None, :], resampled.scale)
        half = _quantile(resampled) * error / (estimate * (1 - estimate))
        middle = special.logit(estimate)
        return special.expit(middle - half), special.expit(middle + half)


def difference_bounds(first: Resampled, second: Resampled) -> tuple[np.ndarray, np.ndarray]:
    """95 % bounds (..., M) of the difference first - second of two experiments on the same rows: ± t · se."""
    difference = first.estimate - second.estimate
    half = _quantile(first) * _standard_error(first.values - second.values - difference[..., None, :], first.scale)
    return np.maximum(difference - half, -1), np.minimum(difference + half, 1)


def t_test(first: Resampled, second: Resampled) -> np.ndarray:
    """p values (..., M) of the t test that goes with `difference_bounds`: below .05 where they leave out 0."""
    difference = first.estimate - second.estimate
    error = _standard_error(first.values - second.values - difference[..., None, :], first.scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(difference) / error, first.df[..., None])
    return np.where(difference == 0, 1.0, p)


def _standard_error(deviations: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.sqrt(scale[..., None] * (deviations**2).sum(-2))


def _quantile(resampled: Resampled) -> np.ndarray:
    return stats.t.ppf(0.975, resampled.df)[..., None]


def intervals(
    references: np.ndarray, predictions: np.ndarray, speakers: np.ndarray, classes: int
) -> dict[str, dict[str, Any]]:
    """95 % intervals of accuracy, uar, f1_macro and f1_weighted for speakers like these. Arguments as in `resample`.

    Returns:
        {metric: {"low", "high", "method", "units"}}. `units` is "speakers", or "rows" with fewer than five speakers:
        such an interval ignores dependence and is too narrow. low and high are None where the score is 0 or 1.

    Raises:
        ValueError: no rows, unequal lengths, or class numbers outside 0 to classes - 1.
    """
    resampled = resample(references, predictions, speakers, classes)
    low, high = score_bounds(resampled)
    return {
        metric: {**_bounds(low[i], high[i]), "method": resampled.method, "units": resampled.units}
        for i, metric in enumerate(SCALARS)
    }


def _bounds(low: float, high: float) -> dict[str, float | None]:
    return {"low": None, "high": None} if np.isnan(low) else {"low": float(low), "high": float(high)}


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

    The bounds are those of Fisher's z: atanh(estimate) ± t · se / (1 - estimate²), brought back to [-1, 1]. Arguments
    as in `moments`; speakers (n,) are names or numbers.

    Returns:
        {"valence": {"pooled", "low", "high", "method", "units"}, ...}; low and high are None where there is nothing to
        tell the width from.
    """
    names, units = np.unique(speakers, return_inverse=True)
    kind = "speakers" if len(names) >= SPEAKERS_FOR_INTERVAL else "rows"
    sums = moments(ratings, predicted, units if kind == "speakers" else np.arange(len(ratings)))
    resampled = resample_sums(sums, sums[..., 0].mean((-1, -3)), concordances, kind)
    estimate = resampled.estimate
    with np.errstate(divide="ignore", invalid="ignore"):
        error = _standard_error(resampled.values - estimate[..., None, :], resampled.scale)
        half = _quantile(resampled) * error / (1 - estimate**2)
        low, high = np.tanh(np.arctanh(estimate) - half), np.tanh(np.arctanh(estimate) + half)
    return {
        name: {
            "pooled": float(estimate[i]),
            **_bounds(low[i], high[i]),
            "method": resampled.method,
            "units": resampled.units,
        }
        for i, name in enumerate(RATINGS)
    }


# ---- paired tests ---------------------------------------------------------------------------------------------------


def contributions(tallies: np.ndarray) -> np.ndarray:
    """What each unit adds to accuracy and UAR: tallies (..., seeds, units, 3, C) to (..., units, 2).

    Averaged over the seeds; over the units they sum to the scores. A row that is right adds 1 / n to accuracy and
    1 / (rows of its class · classes that occur) to UAR. Two experiments on the same rows have the same true labels, so
    swapping a unit between them swaps its contributions. Every seed must have tested every row.
    """
    right, true = tallies[..., 0, :], tallies[..., 1, :].sum(-2, keepdims=True)  # (..., seeds, units | 1, C)
    accuracy = right.sum(-1) / true.sum(-1)
    uar = (right / np.maximum(true, 1)).sum(-1) / (true > 0).sum(-1)
    return np.stack([accuracy, uar], axis=-1).mean(-3)


def swap_test(differences: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two-sided paired permutation tests: how often swapping units at random gives as great a difference.

    All 2^units swaps for up to 12 units, else 10 000 at random and (count + 1) / (10 000 + 1).

    Args:
        differences: (units, tests) difference of the contributions of two experiments.
        seed: draws the swaps.

    Returns:
        (tests,) p values.
    """
    units = len(differences)
    if units <= ENUMERATE_UP_TO:
        bits = np.arange(2 ** (units - 1))[:, None] >> np.arange(units) & 1  # the last unit stays: |sum| is symmetric
        extra = 0
    else:
        bits = np.random.default_rng(seed).integers(0, 2, (SWAPS, units), dtype=np.int8)
        extra = 1
    signs = 1.0 - 2.0 * bits
    observed = np.abs(differences.sum(0)) - 1e-12
    as_great = np.empty(differences.shape[1])
    for start in range(0, len(as_great), 200):  # 200 tests at once: 16 MB
        part = slice(start, start + 200)
        as_great[part] = (np.abs(signs @ differences[:, part]) >= observed[part]).sum(0)
    return (as_great + extra) / (len(signs) + extra)


def row_swap_test(differences: np.ndarray, seed: int = 0) -> float:
    """`swap_test` over rows, for one test: differences (rows,). It ignores that rows of one speaker are dependent.

    Rows with the same size of difference are swapped together, as a binomial count: as exact, and cheap for many rows.
    """
    differences = differences[differences != 0]
    if len(differences) <= ENUMERATE_UP_TO:
        return float(swap_test(differences[:, None])[0]) if len(differences) else 1.0
    differences = differences / np.abs(differences).max()
    sizes, counts = np.unique(np.abs(differences).round(9), return_counts=True)
    swapped = np.random.default_rng(seed).binomial(counts, 0.5, (SWAPS, len(counts)))
    sums = np.abs((counts - 2 * swapped) @ sizes)
    return float(((sums >= abs(differences.sum()) - 1e-6).sum() + 1) / (SWAPS + 1))


def mcnemar_test(references: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """McNemar's p for two sets of predictions (n,), exact under 25 unequal rows. It ignores dependence."""
    from statsmodels.stats.contingency_tables import mcnemar  # takes over a second to import

    a, b = first == references, second == references
    table = [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
    unequal = table[0][1] + table[1][0]
    return float(mcnemar(table, exact=unequal < 25).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """p values, corrected for their number by Holm's method."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(p, method="holm")[1].tolist() if len(p) else []


def _checked(
    references: np.ndarray, predictions: np.ndarray, speakers: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
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
