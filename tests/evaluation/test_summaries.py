"""Statistics of an experiment, against the functions that they rest on."""

import json

import numpy as np
import pytest
from made_runs import LABELS
from made_runs import corpus_of
from made_runs import loso
from made_runs import run

from emomm.evaluation.intervals import intervals
from emomm.evaluation.metrics import SCALARS
from emomm.evaluation.metrics import brier_score
from emomm.evaluation.metrics import calibration_error
from emomm.evaluation.metrics import concordance
from emomm.evaluation.metrics import emotion_scores
from emomm.evaluation.metrics import summarise
from emomm.evaluation.predictions import pool_runs
from emomm.evaluation.summaries import experiment_statistics


def test_statistics_are_those_of_the_arrays():
    corpus = corpus_of(10)
    runs = loso(corpus)
    pooled = pool_runs(runs)
    rows = pooled["IEMO"]
    found = experiment_statistics(pooled)["IEMO"]
    scores = [
        {"seed": seed, "fold": fold, "test": {"IEMO": emotion_scores(made.references, made.predictions, LABELS)}}
        for seed, fold, made in runs
    ]
    bounds = intervals(rows.references, rows.predictions, rows.speakers, 3)
    for metric in SCALARS:
        expected = summarise(scores)["IEMO"][metric]
        assert {key: found[metric][key] for key in ("mean", "std", "pooled")} == pytest.approx(
            {key: expected[key] for key in ("mean", "std", "pooled")}
        )
        assert found[metric]["ci95"] == [bounds[metric]["low"], bounds[metric]["high"]]
        assert (found[metric]["ci_method"], found[metric]["ci_units"]) == ("jackknife", "speakers")
        assert found[metric]["ci95"][0] < found[metric]["pooled"] < found[metric]["ci95"][1]
    for name, score in (("ece", calibration_error), ("brier", brier_score)):
        assert found[name] == pytest.approx(np.mean([score(rows.references, p) for p in rows.probabilities]))
    assert (found["rows"], found["seeds"], found["speakers"]) == (240, 2, 10)
    assert list(found["by_speaker"])[-2:] == ["IEMO/8", "IEMO/9"] and list(found["by_session"]) == list("12345")
    chosen = rows.sessions == "3"
    of_session = [emotion_scores(rows.references[chosen], each[chosen], LABELS)["uar"] for each in rows.predictions]
    assert found["by_session"]["3"]["uar"] == pytest.approx(np.mean(of_session))
    assert found["by_session"]["3"]["n"] == 48
    json.dumps(found, allow_nan=False)


def test_ratings_are_pooled_and_scored():
    corpus = corpus_of(6)
    rng = np.random.default_rng(0)
    ratings = rng.uniform(1, 5, (len(corpus["label"]), 3)).astype(np.float32)
    ratings[:, 2], ratings[::5, 0] = np.nan, np.nan
    guesses, runs = {}, []
    for seed in (1, 2):
        guesses[seed] = (0.5 * np.nan_to_num(ratings, nan=3) + rng.uniform(0, 2, ratings.shape)).astype(np.float32)
        runs += loso(corpus, seeds=(seed,), ratings=ratings, predicted_ratings=guesses[seed])
    found = experiment_statistics(pool_runs(runs))["IEMO"]["vad"]
    assert list(found) == ["valence", "arousal"] and found["valence"]["n"] == len(ratings) - len(ratings[::5])
    for i, name in enumerate(found):
        rated = ~np.isnan(ratings[:, i])
        of_seed = [concordance(ratings[rated, i], guess[rated, i]) for guess in guesses.values()]
        of_run = [
            concordance(ratings[chosen, i], guess[chosen, i])
            for guess in guesses.values()
            for session in "123"
            if (chosen := rated & (corpus["session"] == session)).any()
        ]
        ccc = found[name]["ccc"]
        assert ccc["pooled"] == pytest.approx(np.mean(of_seed)) and ccc["mean"] == pytest.approx(np.mean(of_run))
        assert ccc["std"] == pytest.approx(np.std(of_run, ddof=1)) and ccc["ci_units"] == "speakers"
        assert ccc["ci95"][0] < ccc["pooled"] < ccc["ci95"][1]
        errors = [np.sqrt(np.mean((ratings[rated, i] - guess[rated, i]) ** 2)) for guess in guesses.values()]
        assert found[name]["rmse"]["pooled"] == pytest.approx(np.mean(errors))
    assert "vad" not in experiment_statistics(pool_runs(loso(corpus)))["IEMO"]


def test_each_corpus_of_a_cross_corpus_run_is_its_own():
    first, second = corpus_of(6), corpus_of(3, name="MSPI")
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    runs = [run(both, seed, "cross-corpus") for seed in (1, 2, 3)]
    found = experiment_statistics(pool_runs(runs))
    assert list(found) == ["IEMO", "MSPI"]
    assert found["IEMO"]["uar"]["ci_units"] == "speakers" and found["MSPI"]["uar"]["ci_units"] == "rows"


def test_folds_that_lack_a_class_are_named_and_the_mean_mixes_them_in():
    corpus = corpus_of(6)
    assert experiment_statistics(pool_runs(loso(corpus)))["IEMO"]["folds_lacking_classes"] == {}
    corpus["label"][(corpus["session"] == "2") & (corpus["label"] == 2)] = 0
    pooled = pool_runs(loso(corpus))
    pooled["IEMO"].predictions[:] = 0  # always the same class
    found = experiment_statistics(pooled)["IEMO"]
    assert found["folds_lacking_classes"] == {"session-2": ["sad"]} and found["decisions"] == {}
    assert found["uar"]["pooled"] == pytest.approx(1 / 3)
    assert found["uar"]["mean"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 3) / 3)  # which is what is to be said of it
    of_one_fold = experiment_statistics(pool_runs([run(corpus, 1, "cross-corpus", sessions=["2"])]))["IEMO"]
    assert of_one_fold["folds_lacking_classes"] == {}  # it is the corpus that lacks the class: two decisions
    assert of_one_fold["decisions"]["shared"]["classes"] == ["neutral", "happy"]
