"""Paired tests against scipy, statsmodels and closed forms, and their error rates in simulations."""

import itertools

import numpy as np
import pytest
from made_runs import FOUR as LABELS
from made_runs import rows_of
from made_runs import scores_of as scores
from scipy import special
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from emomm.evaluation import significance
from emomm.evaluation.intervals import resample
from emomm.evaluation.intervals import resample_tallies
from emomm.evaluation.intervals import score_bounds
from emomm.evaluation.metrics import emotion_scores
from emomm.evaluation.significance import contributions
from emomm.evaluation.significance import difference_bounds
from emomm.evaluation.significance import holm
from emomm.evaluation.significance import mcnemar_test
from emomm.evaluation.significance import row_swap_test
from emomm.evaluation.significance import shares_of_units
from emomm.evaluation.significance import swap_interval
from emomm.evaluation.significance import swap_test
from emomm.evaluation.significance import t_test
from emomm.evaluation.tallies import scores_of_tallies
from emomm.evaluation.tallies import tally


def test_contributions_sum_to_the_scores():
    references, predictions, speakers = rows_of(6, seeds=2)
    references[references == 3] = 0  # a class that does not occur
    total = contributions(tally(references, predictions, speakers, 4)).sum(0)
    assert total == pytest.approx(np.mean([scores(references, each)[:2] for each in predictions], axis=0))


def test_with_even_speakers_a_difference_has_the_paired_t_interval_and_test_of_their_accuracies():
    references, first, owner = rows_of(9, even=True)
    second = rows_of(9, seed=1, even=True)[1]
    a, b = (resample(references, each, owner, 4) for each in (first, second))
    accuracies = [np.bincount(owner, each[0] == references) / 40 for each in (first, second)]
    expected = stats.ttest_rel(*accuracies)
    low, high = difference_bounds(a, b)
    assert [low[0], high[0]] == pytest.approx(expected.confidence_interval(0.95))
    assert t_test(a, b)[0] == pytest.approx(expected.pvalue)


def uar_statistic(references, owner):
    """UAR of predictions (seeds, n) by scikit-learn-checked `emotion_scores`, averaged over seeds."""
    return lambda predictions: np.mean([emotion_scores(references, each, LABELS)["uar"] for each in predictions])


@pytest.mark.parametrize("seeds", [1, 3])
def test_swapping_speakers_in_the_counts_is_swapping_their_rows(seeds):
    references, first, owner = rows_of(7, seeds=seeds)
    second = rows_of(7, seed=3, seeds=seeds)[1][:, : len(owner)]
    second = np.pad(second, ((0, 0), (0, len(owner) - second.shape[1])))
    uar = uar_statistic(references, owner)
    observed = abs(uar(first) - uar(second))
    as_great = []
    for swap in itertools.product([False, True], repeat=7):
        swapped = np.array(swap)[owner]  # the same rows in all seeds
        as_great.append(
            abs(uar(np.where(swapped, second, first)) - uar(np.where(swapped, first, second))) >= observed - 1e-12
        )
    a, b = (contributions(tally(references, each, owner, 4)) for each in (first, second))
    assert swap_test(a - b)[1] == pytest.approx(np.mean(as_great))


@pytest.mark.parametrize("units", [6, 12])
def test_few_units_give_scipys_exact_p(units):
    differences = np.random.default_rng(units).normal(0.3, 1, (units, 3))
    theirs = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert swap_test(differences) == pytest.approx(theirs.pvalue)


def test_many_units_give_about_scipys_p_and_the_same_each_time():
    differences = np.random.default_rng(0).normal(0.25, 1, (60, 2))
    theirs = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(1),
    )
    assert swap_test(differences) == pytest.approx(theirs.pvalue, abs=0.012)
    assert (swap_test(differences) == swap_test(differences)).all()
    assert swap_test(np.ones((60, 1)))[0] == 1 / 10_001  # never 0
    assert swap_test(np.zeros((60, 1)))[0] == swap_test(np.zeros((7, 1)))[0] == 1


def test_five_speakers_cannot_reach_05_and_six_can():
    assert swap_test(np.ones((5, 1)))[0] == 2 / 2**5
    assert swap_test(np.ones((6, 1)))[0] == 2 / 2**6


@pytest.mark.parametrize("speakers", [6, 9, 15])
def test_the_interval_is_what_the_test_does_not_reject(speakers):
    """With a difference of x taken out of every speaker in its share, p is .05 or more just inside of the bounds."""
    references, first, owner = rows_of(speakers)
    rng = np.random.default_rng(speakers)
    second = np.where(rng.random(first.shape) < 0.2, rng.integers(0, 4, first.shape), first)
    one, other = (tally(references, each, owner, 4) for each in (first, second))
    differences, shares = contributions(one) - contributions(other), shares_of_units(one)
    assert shares.sum(0) == pytest.approx([1, 1]) and (shares >= 0).all()
    low, high = swap_interval(differences, shares)
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        assert a < differences[:, i].sum() < b
        for x, inside in ((a + 1e-6, True), (b - 1e-6, True), (a - 1e-6, False), (b + 1e-6, False)):
            (p,) = swap_test((differences[:, i] - x * shares[:, i])[:, None])
            assert bool(p >= 0.05) is inside
    same = swap_interval(np.zeros((speakers, 2)), shares)
    assert np.abs(same).max() == 0


def test_five_speakers_that_all_differ_alike_are_no_proof():
    """The t test would have no error at all, and p = 0."""
    references = np.tile([0, 1], 50)
    owner = np.repeat(np.arange(5), 20)
    first, second = references.copy(), references.copy()
    second[::20] = 1 - second[::20]
    a, b = (resample(references, each, owner, 2) for each in (first, second))
    assert np.isnan(t_test(a, b)[0]) and np.isnan(difference_bounds(a, b)[0][0])


@pytest.mark.parametrize(("only_first", "only_second"), [(9, 2), (30, 14), (300, 255)])
def test_swapping_rows_for_accuracy_is_the_sign_test(only_first, only_second):
    differences = np.concatenate([np.zeros(100), np.ones(only_first), -np.ones(only_second)]) / 500
    expected = stats.binomtest(only_first, only_first + only_second).pvalue
    assert row_swap_test(differences) == pytest.approx(expected, abs=0.012 if only_first > 9 else 1e-12)


def test_swapping_rows_of_unequal_weight_is_swapping_units():
    rng = np.random.default_rng(2)
    differences = rng.choice([-1, 0, 1], 300, p=[0.2, 0.4, 0.4]) * rng.choice([0.2, 0.5, 1.3], 300) / 300
    assert row_swap_test(differences) == pytest.approx(swap_test(differences[:, None])[0], abs=0.012)
    assert row_swap_test(np.zeros(30)) == 1


def test_mcnemar_is_exact_for_few_rows():
    references = np.zeros(200, int)
    first, second = np.zeros(200, int), np.zeros(200, int)
    first[:3], second[3:15] = 1, 1
    assert mcnemar_test(references, first, second) == pytest.approx(stats.binomtest(3, 15).pvalue)
    second[3:60] = 1
    assert mcnemar_test(references, first, second) == pytest.approx(stats.chi2.sf((54 - 1) ** 2 / 60, 1))


def test_mcnemar_and_holm_are_those_of_statsmodels():
    rng = np.random.default_rng(0)
    for rows in rng.integers(1, 200, 12):
        references, first = rng.integers(0, 3, (2, rows))
        second = np.where(rng.random(rows) < 0.7, first, rng.integers(0, 3, rows))
        a, b = first == references, second == references
        table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        theirs = mcnemar(table, exact=table[0][1] + table[1][0] < 25).pvalue
        assert mcnemar_test(references, first, second) == pytest.approx(theirs, rel=1e-12)
        p = rng.random(rows % 9 + 1) * rng.choice([1.0, 0.05])
        assert holm(p) == multipletests(p, method="holm")[1].tolist()


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([]) == []


# Error rates: benchmarks/error_rates.py has the full table


def simulated(sets, speakers, seed):
    """(2, sets, 1, speakers, 3, 4) tallies of two experiments that do equally well, but not on every speaker."""
    rng = np.random.default_rng([speakers, seed])
    counts = rng.multinomial(rng.integers(20, 80, (sets, speakers)), [0.4, 0.3, 0.2, 0.1])
    ease = np.array([0.8, 0.3, 0.0, -0.6]) + rng.normal(0, 0.4, (sets, speakers, 1))
    both = []
    for _ in range(2):
        right = rng.binomial(counts, special.expit(ease + rng.normal(0, 0.5, (sets, speakers, 1))))
        wrong = (counts - right)[..., None] * (1 - np.eye(4)) / 3
        both.append(np.stack([right, counts, right + wrong.sum(-2)], axis=-2)[:, None])
    return np.stack(both)


@pytest.mark.parametrize(("speakers", "least"), [(5, 0.90), (10, 0.93), (20, 0.93), (50, 0.93)])
def test_intervals_cover_and_tests_keep_their_level(speakers, least):
    """1000 simulations, or 500: ± two standard errors is chance, which the limits allow for."""
    batches = [simulated(100, speakers, seed) for seed in range(2, 12 if speakers < 20 else 7)]
    chance = 2 * np.sqrt(0.05 * 0.95 / (100 * len(batches)))
    truth = scores_of_tallies(simulated(500, 200, seed=1).sum((0, 1, 2, 3)))
    covered, contained, p_swaps, p_t = [], [], [], []
    for tallies in batches:
        first, second = (resample_tallies(each) for each in tallies)
        low, high = score_bounds(first)
        covered.append((low <= truth) & (truth <= high))
        low, high = difference_bounds(first, second)
        contained.append((low <= 0) & (0 <= high))
        a, b = (contributions(each) for each in tallies)
        p_swaps.append(swap_test(np.moveaxis(a - b, 1, 0).reshape(speakers, -1)))
        p_t.append(t_test(first, second)[:, :2])
    for inside in (np.concatenate(covered).mean(0), np.concatenate(contained).mean(0)):
        assert (inside > least - chance).all() and (inside < 0.97 + chance).all()
    assert (np.mean(np.concatenate(p_t) < 0.05, axis=0) < 0.065 + chance).all()
    rejected = np.mean(np.concatenate(p_swaps) < 0.05)
    assert rejected == 0 if speakers < significance.SPEAKERS_FOR_SWAPS else abs(rejected - 0.05) < 0.015 + chance
