"""Scores against scikit-learn's own functions, and summaries against sums done by hand."""

import json
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from emomm.evaluation.metrics import brier_score
from emomm.evaluation.metrics import calibration_error
from emomm.evaluation.metrics import concordance
from emomm.evaluation.metrics import emotion_scores
from emomm.evaluation.metrics import mean_and_std
from emomm.evaluation.metrics import reliability
from emomm.evaluation.metrics import scalar_scores
from emomm.evaluation.metrics import scores_of_confusion
from emomm.evaluation.metrics import summarise
from emomm.evaluation.metrics import vad_scores

LABELS = ("neutral", "happy", "sad", "anger")


@pytest.mark.parametrize("seed", range(8))
def test_scores_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    true = rng.choice(4, 200, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.where(rng.random(200) < 0.5, true, rng.integers(0, 4, 200))
    if seed >= 4:  # a class that the references lack, and one that nobody predicts
        true[true == seed % 4] = (seed + 1) % 4
        predicted[predicted == (seed + 2) % 4] = (seed + 3) % 4
    if seed == 7:  # a class in neither
        true[true == 0] = 1
        predicted[predicted == 0] = 1
    scores = emotion_scores(true, predicted, LABELS)
    occurring = np.unique(true)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scores["uar"] == pytest.approx(reference.balanced_accuracy_score(true, predicted))
    assert scores["n"] == 200
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(true, predicted))
    assert scores["f1_macro"] == pytest.approx(reference.f1_score(true, predicted, average="macro"))
    assert scores["f1_weighted"] == pytest.approx(reference.f1_score(true, predicted, average="weighted"))
    recall = reference.recall_score(true, predicted, labels=occurring, average=None)
    assert [scores["recall_per_class"][LABELS[label]] for label in occurring] == pytest.approx(recall.tolist())
    absent = {LABELS[label] for label in range(4) if label not in occurring}
    assert {name for name, value in scores["recall_per_class"].items() if value is None} == absent
    assert scores["confusion_matrix"] == reference.confusion_matrix(true, predicted, labels=range(4)).tolist()


def test_scores_by_hand():
    scores = emotion_scores([0, 0, 0, 1], [0, 0, 2, 1], LABELS)
    assert scores == {
        "n": 4,
        "accuracy": 0.75,
        "uar": pytest.approx((2 / 3 + 1) / 2),  # over the two classes that occur
        "f1_macro": pytest.approx((0.8 + 1 + 0) / 3),  # sad was predicted: it counts
        "f1_weighted": pytest.approx((3 * 0.8 + 1) / 4),
        "recall_per_class": {"neutral": pytest.approx(2 / 3), "happy": 1.0, "sad": None, "anger": None},
        "confusion_matrix": [[2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    }
    json.dumps(scores)  # plain numbers


def test_scalar_scores():
    scores = scalar_scores(emotion_scores([0, 1], [0, 0], LABELS))
    assert list(scores) == ["accuracy", "uar", "f1_macro", "f1_weighted"]
    assert all(type(value) is float for value in scores.values())


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ([], [], "no rows"),
        ([0, 1], [0], "equally long"),
        ([0, 1], [0, 4], "predictions row 1 is 4"),
        ([0, -1], [0, 1], "references row 1 is -1"),
        ([0, 1], [0.2, 0.8], "class numbers"),
        ([[0, 1]], [[0, 1]], "equally long"),
    ],
)
def test_scores_refuse(references, predictions, message):
    with pytest.raises(ValueError, match=message):
        emotion_scores(references, predictions, LABELS)


# Summaries


def scores_with(right, rows):
    """Two classes: `right` of `rows` rows of class 0 are right, and all of ten of class 1."""
    return scores_of_confusion(np.array([[right, rows - right], [0, 10]]), ("no", "yes"))


def run(seed, fold, right, rows=10, corpus="IEMO"):
    return {"seed": seed, "fold": fold, "test": {corpus: scores_with(right, rows)}}


def test_summary_over_seeds_and_folds():
    right = {(1, "a"): 10, (1, "b"): 4, (2, "a"): 8, (2, "b"): 2, (1, "c"): 6, (2, "c"): 6}
    uar = summarise([run(seed, fold, hits) for (seed, fold), hits in right.items()])["IEMO"]["uar"]
    values = [(hits / 10 + 1) / 2 for hits in right.values()]
    assert uar["mean"] == pytest.approx(np.mean(values))
    assert uar["std"] == pytest.approx(np.std(values, ddof=1))
    folds = [(0.9 + 1) / 2, (0.3 + 1) / 2, (0.6 + 1) / 2]  # each fold averaged over its seeds
    assert uar["std_over_folds"] == pytest.approx(np.std(folds, ddof=1))
    seeds = [(20 / 30 + 1) / 2, (16 / 30 + 1) / 2]
    assert uar["pooled"] == pytest.approx(np.mean(seeds))
    assert uar["std_over_seeds"] == pytest.approx(np.std(seeds, ddof=1)) and uar["ci95"] is None


def test_pooled_weighs_folds_by_their_rows_and_averages_over_seeds():
    summary = summarise([run(1, "a", 10, rows=10), run(1, "b", 0, rows=90), run(2, "a", 0, rows=10)])["IEMO"]
    assert summary["uar"]["pooled"] == pytest.approx(((10 / 100 + 1) / 2 + (0 + 1) / 2) / 2)
    assert summary["accuracy"]["pooled"] == pytest.approx((30 / 120 + 10 / 20) / 2)
    assert summary["accuracy"]["mean"] == pytest.approx((1.0 + 0.1 + 0.5) / 3)


def test_one_fold_has_a_spread_over_seeds_alone():
    found = summarise([run(seed, "cross-corpus", right) for seed, right in ((1, 2), (2, 6), (3, 7))])["IEMO"]
    expected = np.std([12 / 20, 16 / 20, 17 / 20], ddof=1)
    assert found["accuracy"]["std"] == found["accuracy"]["std_over_seeds"] == pytest.approx(expected)
    assert found["accuracy"]["std_over_folds"] is None


def test_a_single_run_has_no_spread():
    accuracy = summarise([run(1, "a", 6)])["IEMO"]["accuracy"]
    spread = dict.fromkeys(("std", "std_over_folds", "std_over_seeds", "ci95"))
    assert accuracy == {"mean": 0.8, "pooled": 0.8, **spread}
    assert mean_and_std(accuracy) == "0.800" and mean_and_std({"mean": 0.8, "std": 0.1}) == "0.800 ± 0.100"


def test_each_corpus_is_summarised_over_the_runs_that_tested_it():
    runs = [run(1, "session-1", 10), run(1, "session-2", 0), run(1, "cross-corpus", 5, corpus="MSPI")]
    summary = summarise(runs)
    assert list(summary) == ["IEMO", "MSPI"]
    assert set(summary["IEMO"]) == {"accuracy", "uar", "f1_macro", "f1_weighted"}
    assert summary["IEMO"]["accuracy"]["mean"] == 0.75
    assert summary["MSPI"]["accuracy"]["mean"] == 0.75 and summary["MSPI"]["accuracy"]["ci95"] is None
    json.dumps(summary)
    assert summarise([]) == {}


def test_the_same_run_twice_is_refused():
    with pytest.raises(ValueError, match="seed 1, fold a"):
        summarise([run(1, "a", 10), run(1, "a", 10)])


# Probabilities


def some_probabilities(n=500, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.6), n)
    return rng.integers(0, classes, n), probabilities


def test_brier_score_equals_scikit_learn():
    true, probabilities = some_probabilities()
    expected = reference.brier_score_loss(true, probabilities, labels=range(4), scale_by_half=False)
    assert brier_score(true, probabilities) == pytest.approx(expected)
    assert brier_score([0, 1], np.eye(4)[[0, 1]]) == 0 and brier_score([0, 1], np.eye(4)[[1, 0]]) == 2


def test_calibration_error_bin_by_bin():
    true, probabilities = some_probabilities()
    total = 0.0
    for i in range(15):
        inside = [row for row in range(500) if i / 15 < probabilities[row].max() <= (i + 1) / 15]
        if inside:
            right = np.mean([probabilities[row].argmax() == true[row] for row in inside])
            total += len(inside) / 500 * abs(right - np.mean([probabilities[row].max() for row in inside]))
    assert calibration_error(true, probabilities) == pytest.approx(total)
    assert calibration_error([0, 0, 1, 1], [[0.75, 0.25]] * 4) == pytest.approx(0.25)
    assert calibration_error([0, 0, 0, 1], [[0.75, 0.25]] * 4) == 0


def test_reliability_counts_every_row_once():
    true, probabilities = some_probabilities()
    curve = reliability(true, np.vstack([probabilities[:-1], [[1, 0, 0, 0]]]), bins=10)
    assert curve["count"].sum() == 500 and curve["count"][:2].sum() == 0  # the top class has 1 / 4 at least
    filled = curve["count"] > 0
    edges = np.arange(11) / 10
    assert (curve["confidence"][filled] > edges[:-1][filled]).all()
    assert (curve["confidence"][filled] <= edges[1:][filled]).all()


@pytest.mark.parametrize(
    ("references", "probabilities", "message"),
    [
        ([], np.empty((0, 2)), "n > 0"),
        ([0, 1], [[0.5, 0.5]], "n > 0"),
        ([0], [[0.5, 0.6]], "row 0 is"),
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], "row 1 is"),
        ([2], [[0.5, 0.5]], "reach from 2 to 2"),
    ],
)
def test_probabilities_refuse(references, probabilities, message):
    with pytest.raises(ValueError, match=message):
        brier_score(references, probabilities)


# ---- valence, arousal and dominance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_concordance_is_correlation_times_bias_correction(seed):
    """Lin 1989, equation 3: the coefficient is Pearson's times C_b."""
    rng = np.random.default_rng(seed)
    true = rng.normal(3, 1, 50)
    guess = 0.4 * true + rng.normal(seed, 0.5, 50)
    v, u = true.std() / guess.std(), (true.mean() - guess.mean()) / np.sqrt(true.std() * guess.std())
    expected = stats.pearsonr(true, guess).statistic * 2 / (v + 1 / v + u**2)
    assert concordance(true, guess) == pytest.approx(expected)
    mirrored = 2 * true.mean() - true
    assert concordance(true, true) == pytest.approx(1) and concordance(true, mirrored) == pytest.approx(-1)
    assert concordance(true, np.full(50, 3.0)) == 0 and concordance(np.ones(3), np.ones(3)) == 0


def test_ratings_are_scored_where_they_are():
    ratings = np.array([[1.0, np.nan, np.nan], [5.0, 2.0, np.nan], [3.0, 4.0, np.nan]])
    predicted = np.array([[2.0, 1.0, 1.0], [4.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    found = vad_scores(ratings, predicted)
    assert found["valence"] == {"n": 3, "ccc": pytest.approx(0.8), "rmse": pytest.approx(np.sqrt(2 / 3))}
    assert found["arousal"] == {"n": 2, "ccc": 0.0, "rmse": pytest.approx(np.sqrt(2))}
    assert found["dominance"] == {"n": 0, "ccc": None, "rmse": None}
