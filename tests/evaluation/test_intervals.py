"""Intervals of recall, calibration and concordance, against their own definitions and in simulations."""

import numpy as np
import pytest
from scipy import stats

from emomm.evaluation.intervals import calibration_intervals
from emomm.evaluation.intervals import concordance_intervals
from emomm.evaluation.intervals import concordances
from emomm.evaluation.intervals import moments
from emomm.evaluation.intervals import recall_intervals
from emomm.evaluation.metrics import brier_score
from emomm.evaluation.metrics import calibration_error
from emomm.evaluation.metrics import concordance
from emomm.evaluation.metrics import emotion_scores
from emomm.evaluation.significance import intervals


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
