"""How far scores can be trusted: 95 % intervals that know that rows of one speaker are not independent.

Everything here is a function of sums over rows, of the scores, of each class' recall, of calibration and of the
concordance of ratings; speakers are resampled as wholes. `benchmarks/error_rates.py` measures how often the intervals
cover.
"""

import functools
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from .metrics import RATINGS
from .metrics import SCALARS
from .tallies import checked
from .tallies import mean_over_seeds
from .tallies import scores_of_tallies
from .tallies import tally

RESAMPLES = 2000
SPEAKERS_FOR_INTERVAL = 5
SPEAKERS_FOR_BOOTSTRAP = 20


# ---- resamples ------------------------------------------------------------------------------------------------------


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
    references, predictions = checked(references, predictions, speakers, classes)
    units, kind = units_of(speakers)
    return resample_tallies(tally(references, predictions, units, classes), kind)


def resample_tallies(tallies: np.ndarray, units: str = "speakers", f1_of_true_classes: bool = False) -> Resampled:
    """`resample` from tallies (..., seeds, units, 3, C); leading axes are independent data sets."""
    rows = tallies[..., 1, :].sum(-1).mean(-2)  # (..., units): rows of each, averaged over the seeds
    score = functools.partial(scores_of_tallies, f1_of_true_classes=f1_of_true_classes)
    return resample_sums(tallies, rows, score, units)


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
        leverage = (share**2 / np.maximum(1 - share, 1e-9)).sum(-1) / (share**2).sum(-1)
        scale, method = leverage / RESAMPLES, "bootstrap"
    else:
        scale = np.full_like(df, (size - 1) / size if size > 1 else np.nan)
        resampled, method = total - sums, "jackknife"
    return Resampled(estimate, mean_over_seeds(score(resampled)), scale, df, method, units)


@functools.lru_cache(maxsize=1)
def _bootstrap_weights(size: int) -> np.ndarray:
    """(RESAMPLES, size) how often each speaker is drawn; kept, since a job's experiments share their speakers."""
    return np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES).astype(float)


# To a scale on which the error is even to both sides, back, and the slope there.
_SCALES: dict[str, tuple[Callable, Callable, Callable]] = {
    "logit": (special.logit, special.expit, lambda x: 1 / (x * (1 - x))),  # scores from 0 to 1
    "fisher": (np.arctanh, np.tanh, lambda x: 1 / (1 - x**2)),  # correlations
    "log": (np.log, np.exp, lambda x: 1 / x),
    "as it is": (np.array, np.array, np.ones_like),
}


def bounds_on(resampled: Resampled, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """95 % bounds (..., M): estimate ± t · se on one of the scales (delta method), brought back.

    The standard error is the resamples' (see `Resampled`). The degrees of freedom of t are the effective number of
    speakers, (Σ n)² / Σ n² with n the rows of each (Kish 1965), less one, at least 1: where few speak most, they count
    as few. Plain percentiles of the same resamples cover less (error_rates.py). NaN where there is a single unit, or
    the scale has no slope at the estimate.
    """
    to, back, slope = _SCALES[scale]
    estimate = resampled.estimate
    with np.errstate(divide="ignore", invalid="ignore"):
        error = standard_error(resampled.values - estimate[..., None, :], resampled.scale)
        half = t_quantile(resampled) * error * slope(estimate)
        return back(to(estimate) - half), back(to(estimate) + half)


def score_bounds(resampled: Resampled) -> tuple[np.ndarray, np.ndarray]:
    """95 % bounds (..., M) of scores from 0 to 1, by `bounds_on` their logits.

    Of a score of 0 or 1, which no resample tells anything of, the bounds of Clopper and Pearson (1934) for as many
    trials as there are effective speakers, none or all of which succeeded.
    """
    low, high = bounds_on(resampled, "logit")
    with np.errstate(invalid="ignore"):
        far = 0.025 ** (1 / (resampled.df[..., None] + 1))
    known = ~np.isnan(resampled.scale)[..., None]
    none, all_ = (known & (resampled.estimate == end) for end in (0, 1))
    low, high = np.where(none, 0.0, low), np.where(none, 1 - far, high)
    return np.where(all_, far, low), np.where(all_, 1.0, high)


def standard_error(deviations: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(..., M) from the deviations (..., B, M) of resamples from the estimate, and the `scale` of `Resampled`."""
    return np.sqrt(scale[..., None] * (deviations**2).sum(-2))


def t_quantile(resampled: Resampled) -> np.ndarray:
    """(..., 1) how many standard errors a 95 % interval reaches to either side."""
    return special.stdtrit(resampled.df, 0.975)[..., None]  # scipy.stats takes a second to import


def intervals(
    references: np.ndarray, predictions: np.ndarray, speakers: np.ndarray, classes: int
) -> dict[str, dict[str, Any]]:
    """95 % intervals of accuracy, uar, f1_macro and f1_weighted for speakers like these. Arguments as in `resample`.

    Returns:
        {metric: {"low", "high", "method", "units"}}. `units` is "speakers", or "rows" with fewer than five speakers:
        such an interval ignores dependence and is too narrow. `method` is "bootstrap", "jackknife", or of a score of 0
        or 1 "exact". low and high are None where there is a single unit.

    Raises:
        ValueError: no rows, unequal lengths, or class numbers outside 0 to classes - 1.
    """
    return intervals_of(resample(references, predictions, speakers, classes))


def intervals_of(resampled: Resampled) -> dict[str, dict[str, Any]]:
    """`intervals` of scores that are resampled already: the four `SCALARS`."""
    low, high = score_bounds(resampled)
    return {metric: interval_at(resampled, low, high, i) for i, metric in enumerate(SCALARS)}


def units_of(speakers: np.ndarray) -> tuple[np.ndarray, str]:
    """(n,) numbers of the units that are resampled, and what they are."""
    names, units = np.unique(speakers, return_inverse=True)
    return (np.arange(len(units)), "rows") if len(names) < SPEAKERS_FOR_INTERVAL else (units, "speakers")


def interval_at(resampled: Resampled, low: np.ndarray, high: np.ndarray, i: int) -> dict[str, Any]:
    """The interval of the i-th of M scores, as `intervals` has it, from its bounds (M,)."""
    exact = not np.isnan(low[i]) and resampled.estimate[i] in (0, 1) and low[i] != high[i]
    return {
        **_bounds(low[i], high[i]),
        "method": "exact" if exact else resampled.method,
        "units": resampled.units,
    }


def ci_figures(found: dict[str, Any]) -> dict[str, Any]:
    """An interval of `intervals` as results.json has it: {"ci95": [low, high] or None, "ci_method", "ci_units"}."""
    bounds = None if found["low"] is None else [found["low"], found["high"]]
    return {"ci95": bounds, "ci_method": found["method"], "ci_units": found["units"]}


def _bounds(low: float, high: float) -> dict[str, float | None]:
    return {"low": None, "high": None} if np.isnan(low) else {"low": float(low), "high": float(high)}


# ---- recall and calibration -----------------------------------------------------------------------------------------


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


__all__ = [
    "Resampled", "bounds_on", "calibration_intervals", "ci_figures", "concordance_intervals", "concordances",
    "interval_at", "intervals", "intervals_of", "moments", "recall_intervals", "resample", "resample_sums",
    "resample_tallies", "score_bounds", "standard_error", "t_quantile", "units_of",
]  # fmt: skip
