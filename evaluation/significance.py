"""Whether two experiments differ: paired tests on the same rows, which know that a speaker's rows are not independent.

Everything here is a function of `tallies` and of what `intervals` resamples. `benchmarks/error_rates.py` measures how
often the tests reject.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from .intervals import Resampled
from .intervals import standard_error
from .intervals import t_quantile

SWAPS = 10_000
ENUMERATE_UP_TO = 12  # units: 2^12 swaps are fewer than SWAPS
SPEAKERS_FOR_SWAPS = 6  # 2 / 2^5 = .0625 is the least p that five speakers can give
IGNORES_DEPENDENCE = "ignores dependence"


# ---- few speakers: t over them --------------------------------------------------------------------------------------


def difference_bounds(first: Resampled, second: Resampled) -> tuple[np.ndarray, np.ndarray]:
    """95 % bounds (..., M) of the difference first - second of two experiments on the same rows: ± t · se.

    For under six speakers; from there on, `swap_test` has an interval of its own. NaN as in `t_test`.
    """
    difference = first.estimate - second.estimate
    error = standard_error(first.values - second.values - difference[..., None, :], first.scale)
    half = t_quantile(first) * np.where((error > 1e-12) | (difference == 0), error, np.nan)
    return np.maximum(difference - half, -1), np.minimum(difference + half, 1)


def t_test(first: Resampled, second: Resampled) -> np.ndarray:
    """p values (..., M) of the t test that goes with `difference_bounds`: below .05 where they leave out 0.

    NaN where all speakers differ by exactly as much: there is nothing to tell the error from.
    """
    difference = first.estimate - second.estimate
    error = standard_error(first.values - second.values - difference[..., None, :], first.scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.abs(difference) / np.where(error > 1e-12, error, np.nan)
        p = 2 * special.stdtr(first.df[..., None], -errors)  # above; scipy.stats takes a second to import
    return np.where(difference == 0, 1.0, p)


# ---- swaps ----------------------------------------------------------------------------------------------------------


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
    """McNemar's p for two sets of predictions (n,), exact under 25 unequal rows. It ignores dependence.

    That of statsmodels, which takes over a second to import: with its correction for continuity.
    """
    a, b = first == references, second == references
    alone = int((a & ~b).sum()), int((~a & b).sum())
    unequal = sum(alone)
    if unequal < 25:
        fewer = sum(math.comb(unequal, count) for count in range(min(alone) + 1))
        return min(1.0, 2 * fewer / 2**unequal)
    return float(special.chdtrc(1, (abs(alone[0] - alone[1]) - 1) ** 2 / unequal))


def holm(p: Sequence[float]) -> list[float]:
    """p values, corrected for their number by Holm's method (1979): that of statsmodels."""
    order = np.argsort(p)
    times = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(times), 1)
    return corrected.tolist()


__all__ = [
    "IGNORES_DEPENDENCE", "SPEAKERS_FOR_SWAPS", "contributions", "difference_bounds", "holm", "mcnemar_test",
    "row_swap_test", "shares_of_units", "swap_interval", "swap_test", "t_test",
]  # fmt: skip
