"""Intervals of recall, calibration and concordance, against their own definitions and in simulations."""

import numpy as np
import pytest
import statsmodels.api as sm
from made_runs import FOUR as LABELS
from made_runs import rows_of
from made_runs import scores_of as scores
from scipy import special
from scipy import stats

from emomm.evaluation.intervals import calibration_intervals
from emomm.evaluation.intervals import concordance_intervals
from emomm.evaluation.intervals import concordances
from emomm.evaluation.intervals import intervals
from emomm.evaluation.intervals import moments
from emomm.evaluation.intervals import recall_intervals
from emomm.evaluation.intervals import resample
from emomm.evaluation.intervals import resample_tallies
from emomm.evaluation.intervals import score_bounds
from emomm.evaluation.metrics import SCALARS
from emomm.evaluation.metrics import brier_score
from emomm.evaluation.metrics import calibration_error
from emomm.evaluation.metrics import concordance
from emomm.evaluation.metrics import emotion_scores
from emomm.evaluation.tallies import tally


@pytest.mark.parametrize("speakers", [5, 12])
def test_jackknife_leaves_out_a_speaker_at_a_time(speakers):
    references, predictions, owner = rows_of(speakers, seeds=2)
    found = resample(references, predictions, owner, 4)
    assert (found.method, found.units) == ("jackknife", "speakers")
    left_out = [
        np.mean([scores(references[owner != out], each[owner != out]) for each in predictions], axis=0)
        for out in range(speakers)
    ]
    estimate = np.mean([scores(references, each) for each in predictions], axis=0)
    assert found.values == pytest.approx(np.array(left_out))
    assert found.estimate == pytest.approx(estimate)
    error = np.sqrt((speakers - 1) / speakers * ((np.array(left_out) - estimate) ** 2).sum(0))
    sizes = np.bincount(owner)
    half = stats.t.ppf(0.975, sizes.sum() ** 2 / (sizes**2).sum() - 1) * error / (estimate * (1 - estimate))
    given = intervals(references, predictions, owner, 4)
    for i, metric in enumerate(SCALARS):
        bounds = special.expit([special.logit(estimate[i]) - half[i], special.logit(estimate[i]) + half[i]])
        assert [given[metric]["low"], given[metric]["high"]] == pytest.approx(bounds.tolist())
        assert given[metric]["method"] == "jackknife" and given[metric]["units"] == "speakers"


def test_standard_errors_agree_with_cluster_robust_regression():
    references, predictions, owner = rows_of(30)
    right = (predictions[0] == references).astype(float)
    fit = sm.OLS(right, np.ones(len(right))).fit(cov_type="cluster", cov_kwds={"groups": owner})
    found = resample(references, predictions, owner, 4)
    error = np.sqrt(found.scale * ((found.values - found.estimate) ** 2).sum(0))
    assert error[0] == pytest.approx(fit.bse[0], rel=0.06)
    by_jackknife = resample_tallies(tally(references, predictions, owner, 4), units="left out in turn")
    assert np.sqrt(by_jackknife.scale * ((by_jackknife.values - by_jackknife.estimate) ** 2).sum(0)) == pytest.approx(
        error, rel=0.08
    )


def test_bootstrap_over_speakers_agrees_with_scipy():
    references, predictions, owner = rows_of(25)
    found = resample(references, predictions, owner, 4)
    assert (found.method, found.units) == ("bootstrap", "speakers")
    assert found.values.shape == (2000, 4)

    def uar(chosen):
        rows = np.concatenate([np.flatnonzero(owner == speaker) for speaker in chosen])
        return emotion_scores(references[rows], predictions[0, rows], LABELS)["uar"]

    theirs = stats.bootstrap(
        (np.arange(25),), uar, n_resamples=1000, vectorized=False, method="percentile", rng=np.random.default_rng(5)
    )
    assert found.values[:, 1].std() == pytest.approx(theirs.standard_error, rel=0.07)
    assert np.quantile(found.values[:, 1], [0.025, 0.975]) == pytest.approx(theirs.confidence_interval, abs=0.007)
    low, high = score_bounds(found)
    assert low[1] < theirs.confidence_interval.low + 0.01 and high[1] > theirs.confidence_interval.high - 0.01


def test_the_bootstrap_begins_at_twenty_speakers():
    for speakers, method in ((19, "jackknife"), (20, "bootstrap")):
        references, predictions, owner = rows_of(speakers)
        assert resample(references, predictions, owner, 4).method == method


def test_a_speaker_with_most_of_the_rows_does_not_break_the_bootstrap():
    """As a jackknife of the same rows: both make up for the pull of the long one, neither beyond measure."""
    rng = np.random.default_rng(0)
    owner = np.concatenate([np.zeros(2000, int), np.repeat(np.arange(1, 25), 20)])
    references = rng.integers(0, 4, len(owner))
    ease = rng.normal(1.2, 0.4, 25)[owner]
    predictions = np.where(rng.random(len(owner)) < special.expit(ease), references, (references + 1) % 4)
    wide = intervals(references, predictions, owner, 4)["uar"]
    by_jackknife = resample_tallies(tally(references, predictions[None], owner, 4), units="left out in turn")
    low, high = score_bounds(by_jackknife)
    assert wide["method"] == "bootstrap"
    assert 0.4 < (wide["high"] - wide["low"]) / (high[1] - low[1]) < 1.6


@pytest.mark.parametrize("speakers", [20, 50])
def test_intervals_cover_where_few_speakers_have_most_rows(speakers):
    """Zipf: the k-th speaker has 1 / k of the first one's rows. Without the share in `scale` it covers less."""
    rng = np.random.default_rng(speakers)
    counts = np.maximum(600 / np.arange(1, speakers + 1), 8).astype(int)
    ease = rng.normal(0.8, 0.6, (1000, speakers))
    right = rng.binomial(counts, special.expit(ease))
    tallies = np.zeros((1000, 1, speakers, 3, 2))
    tallies[:, 0, :, 0, 0], tallies[:, 0, :, 1, 0] = right, counts
    tallies[:, 0, :, 2] = np.stack([right, counts - right], axis=-1)
    truth = special.expit(rng.normal(0.8, 0.6, 10**6)).mean()
    low, high = score_bounds(resample_tallies(tallies))
    inside = ((low[:, 0] <= truth) & (truth <= high[:, 0])).mean()
    assert 0.93 < inside < 0.97


def test_under_five_speakers_rows_are_the_units():
    references, predictions, owner = rows_of(4)
    accuracy = intervals(references, predictions, owner, 4)["accuracy"]
    assert (accuracy["method"], accuracy["units"]) == ("jackknife", "rows")
    n, share = len(references), (predictions[0] == references).mean()
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(1 / (share * (1 - share) * (n - 1)))  # on the scale of log odds
    assert accuracy["low"] == pytest.approx(special.expit(special.logit(share) - half))
    assert intervals(references, predictions, np.arange(len(references)) % 5, 4)["uar"]["units"] == "speakers"


@pytest.mark.parametrize("speakers", [3, 8, 25])
def test_the_same_predictions_again_as_another_seed_change_nothing(speakers):
    references, predictions, owner = rows_of(speakers)
    once = intervals(references, predictions[0], owner, 4)
    twice = intervals(references, predictions[[0, 0]], owner, 4)
    assert all(twice[metric]["low"] == pytest.approx(once[metric]["low"]) for metric in SCALARS)


def test_speaker_names_and_the_order_of_rows_do_not_matter():
    references, predictions, owner = rows_of(8)
    names = np.array([f"IEMO/{'hbcadgfe'[number]}" for number in owner])
    order = np.random.default_rng(0).permutation(len(owner))
    found = intervals(references[order], predictions[:, order], names[order], 4)
    expected = intervals(references, predictions, owner, 4)
    assert all(found[metric]["high"] == pytest.approx(expected[metric]["high"]) for metric in SCALARS)


def test_where_nothing_varies():
    owner = np.repeat(np.arange(6), 4)
    references = np.tile([0, 1, 2, 3], 6)
    perfect = intervals(references, references, owner, 4)
    least = pytest.approx(0.025 ** (1 / 6))
    assert all((perfect[metric]["low"], perfect[metric]["high"]) == (least, 1.0) for metric in SCALARS)
    constant = intervals(references, np.zeros(24, int), owner, 4)["uar"]
    assert (constant["low"], constant["high"]) == (pytest.approx(0.25), pytest.approx(0.25))
    assert intervals([0], [1], ["a"], 4)["uar"]["low"] is None


@pytest.mark.parametrize(
    ("references", "predictions", "speakers", "message"),
    [
        ([], [], [], "no rows"),
        ([0, 1], [0], ["a", "b"], "need predictions"),
        ([0, 1], [0, 1], ["a"], "as many speakers"),
        ([0, 4], [0, 1], ["a", "b"], "references reach from 0 to 4"),
        ([0, 1], [0, -2], ["a", "b"], "predictions reach from -2"),
    ],
)
def test_intervals_refuse(references, predictions, speakers, message):
    with pytest.raises(ValueError, match=message):
        intervals(references, predictions, speakers, 4)


def predicted(speakers, seed, sets=1, certain=1.5):
    """References (sets, n), probabilities (sets, n, 4) and speakers (n,), of whom some are recognised better."""
    rng = np.random.default_rng([speakers, seed])
    owner = np.repeat(np.arange(speakers), rng.integers(15, 60, speakers))
    references = rng.choice(4, (sets, len(owner)), p=[0.4, 0.3, 0.2, 0.1])
    logits = rng.normal(0, 1, (sets, len(owner), 4))
    skill = certain + rng.normal(0, 0.5, (sets, speakers))[:, owner]
    logits[np.arange(sets)[:, None], np.arange(len(owner)), references] += skill
    values = np.exp(logits - logits.max(-1, keepdims=True))
    return references, values / values.sum(-1, keepdims=True), owner


def jackknife(score, owner, to, back, slope):
    """Bounds by leaving out a speaker in turn: estimate ± t · se on a scale, with Kish's effective number."""
    whole = score(np.ones(len(owner), bool))
    left = np.array([score(owner != out) for out in np.unique(owner)])
    counts = np.bincount(owner)
    error = np.sqrt((len(left) - 1) / len(left) * ((left - whole) ** 2).sum()) * slope(whole)
    half = stats.t.ppf(0.975, counts.sum() ** 2 / (counts**2).sum() - 1) * error
    return back(to(whole) - half), back(to(whole) + half)


def test_recall_of_each_class_by_hand():
    references, probabilities, owner = predicted(8, 0)
    references, guess = references[0], probabilities[0].argmax(-1)
    found = recall_intervals(references, guess, owner, ["a", "b", "c", "d"])
    scores = emotion_scores(references, guess, ["a", "b", "c", "d"])["recall_per_class"]
    for i, name in enumerate("abcd"):
        assert found[name]["pooled"] == pytest.approx(scores[name])
        inside = references == i
        low, high = jackknife(
            lambda chosen, i=i, inside=inside: (guess[chosen & inside] == i).mean(),
            owner, lambda x: np.log(x / (1 - x)), lambda x: 1 / (1 + np.exp(-x)), lambda x: 1 / (x * (1 - x)),
        )  # fmt: skip
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high))
    assert recall_intervals(np.zeros(40, int), np.zeros(40, int), np.arange(40) % 8, ["a", "b"])["b"] is None


def test_calibration_by_hand():
    references, probabilities, owner = predicted(7, 1)
    references, p = references[0], probabilities[0]
    found = calibration_intervals(references, probabilities, owner)
    same, one = (lambda x: x), (lambda x: 1.0)
    low, high = jackknife(lambda chosen: calibration_error(references[chosen], p[chosen]), owner, same, same, one)
    assert (found["ece"]["low"], found["ece"]["high"]) == pytest.approx((max(low, 0), high))
    low, high = jackknife(
        lambda chosen: brier_score(references[chosen], p[chosen]), owner, np.log, np.exp, lambda x: 1 / x
    )
    assert (found["brier"]["low"], found["brier"]["high"]) == pytest.approx((low, high))
    gaps = probabilities.repeat(2, axis=0)
    gaps[1, ::3] = np.nan  # a seed that has not tested every row
    both = calibration_intervals(references, gaps, owner)
    assert both["brier"]["low"] != found["brier"]["low"] and both["brier"]["units"] == "speakers"
    assert calibration_intervals(references, probabilities, owner % 4)["brier"]["units"] == "rows"


@pytest.mark.parametrize("speakers", [10, 25])
def test_intervals_of_brier_score_and_recall_cover(speakers):
    references, probabilities, _ = predicted(4000, 2)
    truth = brier_score(references[0], probabilities[0])
    recall = emotion_scores(references[0], probabilities[0].argmax(-1), list("abcd"))["recall_per_class"]
    brier, recalls = [], []
    for seed in range(3, 13):
        for one, p in zip(*predicted(speakers, seed, sets=30)[:2], strict=True):
            owner = predicted(speakers, seed)[2]
            found = calibration_intervals(one, p[None], owner)["brier"]
            brier.append(found["low"] <= truth <= found["high"])
            each = recall_intervals(one, p.argmax(-1), owner, list("abcd"))
            recalls += [each[name]["low"] <= recall[name] <= each[name]["high"] for name in "abc"]
    assert 0.92 < np.mean(brier) < 0.98 and 0.93 < np.mean(recalls) < 0.975, (np.mean(brier), np.mean(recalls))


def test_a_perfect_score_has_an_interval_too():
    """Ten speakers without an error: one in 1 - .025 ** (1 / 10) could still be misheard."""
    references, owner = np.tile([0, 1], 50), np.repeat(np.arange(10), 10)
    found = intervals(references, references, owner, 2)["uar"]
    assert found == {"low": pytest.approx(0.025**0.1), "high": 1.0, "method": "exact", "units": "speakers"}
    found = intervals(references, 1 - references, owner, 2)["uar"]
    assert (found["low"], found["high"]) == (0.0, pytest.approx(1 - 0.025**0.1))


# ---- valence, arousal and dominance


def rated(sets, speakers, seed):
    """Ratings (sets, n, 3), predictions (sets, 1, n, 3) and speakers (n,): of each a bias and a gain of their own."""
    rng = np.random.default_rng([speakers, seed])
    rows = rng.integers(10, 60, speakers)
    owner = np.repeat(np.arange(speakers), rows)
    ratings = rng.normal(3, 0.8, (sets, len(owner), 3)) + rng.normal(0, 0.3, (sets, speakers, 3))[:, owner]
    gain = rng.normal(0.6, 0.15, (sets, speakers, 3))[:, owner]
    guess = 3 + gain * (ratings - 3) + rng.normal(0, 0.25, (sets, speakers, 3))[:, owner]
    return ratings, (guess + rng.normal(0, 0.4, ratings.shape))[:, None], owner


def test_concordance_of_moments_is_that_of_the_rows():
    ratings, guess, owner = (each if each.ndim == 1 else each[0] for each in rated(1, 8, 0))
    ratings[::7, 1] = np.nan
    guess = np.concatenate([guess, guess[:, ::-1]])
    found = concordances(moments(ratings, guess, owner).sum(1))
    for seed in range(2):
        for i in range(3):
            there = ~np.isnan(ratings[:, i])
            assert found[seed, i] == pytest.approx(concordance(ratings[there, i], guess[seed, there, i]))


def test_the_interval_of_concordance_by_hand():
    ratings, guess, owner = (each if each.ndim == 1 else each[0] for each in rated(1, 8, 0))
    found = concordance_intervals(ratings, guess, owner)["arousal"]
    whole = concordance(ratings[:, 1], guess[0, :, 1])
    left = [concordance(ratings[owner != out, 1], guess[0, owner != out, 1]) for out in range(8)]
    counts = np.bincount(owner)
    error = np.sqrt(7 / 8 * np.sum((np.array(left) - whole) ** 2))
    half = stats.t.ppf(0.975, counts.sum() ** 2 / (counts**2).sum() - 1) * error / (1 - whole**2)
    assert found["pooled"] == pytest.approx(whole) and found["method"] == "jackknife"
    ends = np.tanh(np.arctanh(whole) + np.array([-half, half]))
    assert (found["low"], found["high"]) == pytest.approx(tuple(ends))
    few = concordance_intervals(ratings, guess, owner % 4)["arousal"]
    assert few["units"] == "rows" and few["high"] - few["low"] < found["high"] - found["low"]


@pytest.mark.parametrize("speakers", [5, 10, 25])
def test_intervals_of_concordance_cover(speakers):
    """The score over all such speakers: that of 20 000 of them."""
    ratings, guess, _ = rated(1, 20_000, 1)
    truth = [concordance(ratings[0, :, i], guess[0, 0, :, i]) for i in range(3)]
    inside = []
    for seed in range(2, 12):
        ratings, guess, owner = rated(30, speakers, seed)
        for one, other in zip(ratings, guess, strict=True):
            found = concordance_intervals(one, other, owner).values()
            inside += [each["low"] <= true <= each["high"] for each, true in zip(found, truth, strict=True)]
    assert 0.91 < np.mean(inside) < 0.985, np.mean(inside)
