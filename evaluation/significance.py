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
        error = _standard_error(resampled.values - estimate[..., None, :], resampled.scale)
        half = _quantile(resampled) * error * slope(estimate)
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


def difference_bounds(first: Resampled, second: Resampled) -> tuple[np.ndarray, np.ndarray]:
    """95 % bounds (..., M) of the difference first - second of two experiments on the same rows: ± t · se.

    For under six speakers; from there on, `swap_test` has an interval of its own. NaN as in `t_test`.
    """
    difference = first.estimate - second.estimate
    error = _standard_error(first.values - second.values - difference[..., None, :], first.scale)
    half = _quantile(first) * np.where((error > 1e-12) | (difference == 0), error, np.nan)
    return np.maximum(difference - half, -1), np.minimum(difference + half, 1)


def t_test(first: Resampled, second: Resampled) -> np.ndarray:
    """p values (..., M) of the t test that goes with `difference_bounds`: below .05 where they leave out 0.

    NaN where all speakers differ by exactly as much: there is nothing to tell the error from.
    """
    difference = first.estimate - second.estimate
    error = _standard_error(first.values - second.values - difference[..., None, :], first.scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(difference) / np.where(error > 1e-12, error, np.nan), first.df[..., None])
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


def shares_of_units(tallies: np.ndarray) -> np.ndarray:
    """The part of accuracy and UAR that each unit can add: tallies as in `contributions` to (..., units, 2).

    A unit whose rows are all right contributes so much; over the units they sum to 1.
    """
    full = tallies.copy()
    full[..., 0, :] = full[..., 1, :]
    return contributions(full)


def swap_test(differences: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two-sided paired permutation tests: how often swapping units at random gives as great a difference.

    All 2^units swaps for up to 12 units, else 10 000 at random and (count + 1) / (10 000 + 1).

    Args:
        differences: (units, tests) difference of the contributions of two experiments.
        seed: draws the swaps.

    Returns:
        (tests,) p values.
    """
    signs, extra = _signs(len(differences), seed)
    observed = np.abs(differences.sum(0)) - 1e-12
    as_great = np.empty(differences.shape[1])
    for part in _parts(differences.shape[1]):
        as_great[part] = (np.abs(signs @ differences[:, part]) >= observed[part]).sum(0)
    return (as_great + extra) / (len(signs) + extra)


def swap_interval(differences: np.ndarray, shares: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """95 % bounds (tests,) of the differences: those that `swap_test` with the same swaps does not reject.

    A true difference of x, everywhere the same, puts x · share into each unit; it is rejected where, with that taken
    out, fewer than 5 % of the swaps give as great a difference. Of one swap, the x that it does not speak against lie
    between two numbers; the bounds are quantiles of those. So they leave out 0 just where p < .05.

    Args:
        differences: (units, tests), as in `swap_test`.
        shares: (units, tests), of `shares_of_units`.
        seed: draws the swaps.
    """
    signs, extra = _signs(len(differences), seed)
    total = differences.sum(0)
    # p >= .05 takes so many swaps, besides the `extra` one that always counts
    needed = int(np.ceil(0.05 * (len(signs) + extra) - 1e-9)) - extra
    low, high = np.empty(differences.shape[1]), np.empty(differences.shape[1])
    for part in _parts(differences.shape[1]):
        swapped, kept = signs @ differences[:, part], signs @ shares[:, part]  # (swaps, tests)
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.stack([(total[part] - swapped) / (1 - kept), (total[part] + swapped) / (1 + kept)])
        # All swapped, or none: it speaks against no difference.
        neutral = (np.abs(kept) > 1 - 1e-9) | ~np.isfinite(ends).all(0)
        low[part] = np.partition(np.where(neutral, -np.inf, ends.min(0)), needed - 1, axis=0)[needed - 1]
        high[part] = -np.partition(np.where(neutral, -np.inf, -ends.max(0)), needed - 1, axis=0)[needed - 1]
    return np.maximum(low, -1), np.minimum(high, 1)


def _signs(units: int, seed: int) -> tuple[np.ndarray, int]:
    """(swaps, units) of 1 and -1, and how many count besides: where they are drawn, the one that was observed."""
    if units <= ENUMERATE_UP_TO:
        bits = np.arange(2 ** (units - 1))[:, None] >> np.arange(units) & 1  # the last unit stays: |sum| is symmetric
        return 1.0 - 2.0 * bits, 0
    return 1.0 - 2.0 * np.random.default_rng(seed).integers(0, 2, (SWAPS, units), dtype=np.int8), 1


def _parts(tests: int) -> list[slice]:
    """200 tests at once: 16 MB."""
    return [slice(start, start + 200) for start in range(0, tests, 200)]


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


def checked(
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
