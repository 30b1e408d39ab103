"""Statistics of experiments from tables like predictions.parquet, against the functions that they rest on."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest

from emomm.evaluation.experiment_statistics import RunPredictions
from emomm.evaluation.experiment_statistics import compare_experiments
from emomm.evaluation.experiment_statistics import experiment_statistics
from emomm.evaluation.experiment_statistics import pool_runs
from emomm.evaluation.metrics import RATINGS
from emomm.evaluation.metrics import SCALARS
from emomm.evaluation.metrics import brier_score
from emomm.evaluation.metrics import calibration_error
from emomm.evaluation.metrics import concordance
from emomm.evaluation.metrics import emotion_scores
from emomm.evaluation.metrics import summarise
from emomm.evaluation.significance import IGNORES_DEPENDENCE
from emomm.evaluation.significance import holm
from emomm.evaluation.significance import intervals
from emomm.evaluation.significance import mcnemar_test

LABELS = ["neutral", "happy", "sad"]


def corpus_of(speakers, rows=24, name="IEMO"):
    """Speakers in pairs: a session each."""
    rng = np.random.default_rng(speakers)
    owner = np.repeat(np.arange(speakers), rows)
    return {
        "utterance_id": np.array([f"u{i}" for i in range(len(owner))]),
        "corpus": np.array([name] * len(owner)),
        "speaker": np.array([f"{name}/{number}" for number in owner]),
        "session": np.array([str(number // 2 + 1) for number in owner]),
        "label": rng.integers(0, 3, len(owner)),
    }


def run(corpus, seed, fold, skill=1.0, sessions=None):
    """One run on some sessions; `skill` is how much the true class is favoured."""
    chosen = np.flatnonzero(np.isin(corpus["session"], sessions or np.unique(corpus["session"])))
    rng = np.random.default_rng([seed, int(10 * skill), len(fold), chosen[0]])
    chosen = rng.permutation(chosen)  # no order is promised
    logits = rng.normal(0, 1, (len(chosen), 3))
    logits[np.arange(len(chosen)), corpus["label"][chosen]] += skill
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    names = np.array(LABELS)
    columns = {name: corpus[name][chosen] for name in ("utterance_id", "corpus", "speaker", "session")}
    columns["label"] = names[corpus["label"][chosen]]
    columns["prediction"] = names[probabilities.argmax(1)]
    columns["probabilities"] = pa.FixedSizeListArray.from_arrays(pa.array(probabilities.reshape(-1)), 3)
    table = pa.table(columns).replace_schema_metadata({"labels": json.dumps(LABELS)})
    return RunPredictions(seed, fold, table)


def loso(corpus, skill=1.0, seeds=(1, 2)):
    return [
        run(corpus, seed, f"session-{session}", skill, [session])
        for seed, session in itertools.product(seeds, np.unique(corpus["session"]))
    ]


def test_folds_are_pooled_by_seed_and_rows_put_in_order():
    corpus = corpus_of(6)
    pooled = pool_runs(loso(corpus))["IEMO"]
    order = np.argsort(corpus["utterance_id"])
    assert pooled.utterance_ids.tolist() == corpus["utterance_id"][order].tolist()
    assert pooled.references.tolist() == corpus["label"][order].tolist()
    assert pooled.speakers.tolist() == corpus["speaker"][order].tolist()
    assert pooled.seeds == (1, 2) and pooled.complete.all()
    assert (pooled.probabilities.argmax(-1) == pooled.predictions).all()
    assert pooled.folds[1].tolist() == [f"session-{name}" for name in pooled.sessions]


def test_statistics_are_those_of_the_arrays():
    corpus = corpus_of(10)
    runs = loso(corpus)
    pooled = pool_runs(runs)
    rows = pooled["IEMO"]
    found = experiment_statistics(pooled)["IEMO"]
    names = {name: i for i, name in enumerate(LABELS)}
    scores = [
        {
            "seed": each.seed,
            "fold": each.fold,
            "test": {
                "IEMO": emotion_scores(
                    *(np.array([names[name] for name in each.table[c].to_pylist()]) for c in ("label", "prediction")),
                    LABELS,
                )
            },
        }
        for each in runs
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
    place = {name: i for i, name in enumerate(corpus["utterance_id"])}
    runs, guesses = [], {1: np.empty_like(ratings), 2: np.empty_like(ratings)}
    for each in loso(corpus):
        rows = np.array([place[name] for name in each.table["utterance_id"].to_pylist()])
        guess = (0.5 * np.nan_to_num(ratings[rows], nan=3) + rng.uniform(0, 2, (len(rows), 3))).astype(np.float32)
        guesses[each.seed][rows] = guess
        table = each.table
        for i, name in enumerate(RATINGS):
            table = table.append_column(name, pa.array(ratings[rows, i]))
            table = table.append_column(f"predicted_{name}", pa.array(guess[:, i]))
        runs.append(RunPredictions(each.seed, each.fold, table.replace_schema_metadata(each.table.schema.metadata)))
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


def test_a_job_under_way_has_statistics_but_compares_complete_seeds_alone():
    corpus = corpus_of(6)
    under_way = pool_runs(loso(corpus)[:4])  # of the second seed's three folds, one
    found = experiment_statistics(under_way)["IEMO"]
    assert found["seeds"] == 2 and found["by_speaker"]["IEMO/5"]["n"] == 24
    [pair] = compare_experiments({"a": under_way, "b": pool_runs(loso(corpus, 0.5))})["IEMO"]
    assert pair["seeds"] == [1, 2]
    [same] = compare_experiments({"a": pool_runs(loso(corpus)[:3]), "b": pool_runs(loso(corpus, 0.5))})["IEMO"]
    assert pair["uar"] == same["uar"]
    assert compare_experiments({"a": pool_runs(loso(corpus)[:2]), "b": under_way}) == {"IEMO": []}


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


def test_pairs_of_experiments():
    corpus = corpus_of(8)
    skills = {"good": 1.6, "fair": 1.2, "poor": 0.2}
    pooled = {name: pool_runs(loso(corpus, skill)) for name, skill in skills.items()}
    elsewhere = pool_runs(loso(corpus_of(7)))
    pairs = compare_experiments({**pooled, "other rows": elsewhere})["IEMO"]
    assert [(pair["first"], pair["second"]) for pair in pairs] == [
        ("good", "fair"),
        ("good", "poor"),
        ("fair", "poor"),
    ]
    of = {name: experiment_statistics(each)["IEMO"] for name, each in pooled.items()}
    for metric in ("accuracy", "uar"):
        assert [pair[metric]["p_holm"] for pair in pairs] == holm([pair[metric]["p"] for pair in pairs])
        for pair in pairs:
            pooled_scores = [of[pair[which]][metric]["pooled"] for which in ("first", "second")]
            assert pair[metric]["difference"] == pytest.approx(pooled_scores[0] - pooled_scores[1])
            assert pair[metric]["ci95"][0] < pair[metric]["difference"] < pair[metric]["ci95"][1]
            assert (pair[metric]["test"], pair[metric]["note"]) == ("swapped speakers", "")
            assert "row_p" not in pair[metric]
    assert pairs[1]["uar"]["p"] == 2 / 2**8  # better on every speaker
    rows = pooled["good"]["IEMO"]
    ones = [pooled[name]["IEMO"].predictions[0] for name in ("good", "fair")]
    assert pairs[0]["mcnemar"] == {
        "p": mcnemar_test(rows.references, *ones),
        "note": f"{IGNORES_DEPENDENCE}; the first seed of each",
    }
    json.dumps(pairs, allow_nan=False)


@pytest.mark.parametrize(
    ("speakers", "test", "note", "units"),
    [(4, "swapped rows", IGNORES_DEPENDENCE, "rows"), (5, "t over speakers", "", "speakers")],
)
def test_few_speakers(speakers, test, note, units):
    corpus = corpus_of(speakers)
    [pair] = compare_experiments({"a": pool_runs(loso(corpus, 2.0)), "b": pool_runs(loso(corpus, 0.2))})["IEMO"]
    uar = pair["uar"]
    assert (uar["test"], uar["note"], uar["ci_units"]) == (test, note, units)
    assert uar["row_note"] == IGNORES_DEPENDENCE and uar["row_p"] < 0.05
    assert (uar["p"] == uar["row_p"]) == (speakers == 4)
    assert (uar["p"] < 0.05) == (uar["ci95"][0] > 0)


def test_pooling_refuses():
    corpus = corpus_of(4)
    with pytest.raises(ValueError, match="seed 1 tested rows of fold again twice"):
        pool_runs([run(corpus, 1, "once"), run(corpus, 1, "again")])
    relabelled = {**corpus, "label": (corpus["label"] + 1) % 3}
    with pytest.raises(ValueError, match="label of row u0 differs|label of row u[0-9]+ differs"):
        pool_runs([run(corpus, 1, "fold"), run(relabelled, 2, "fold")])
    other = run(corpus, 2, "fold")
    table = other.table.replace_schema_metadata({"labels": json.dumps([*LABELS, "anger"])})
    with pytest.raises(ValueError, match="different labels"):
        pool_runs([run(corpus, 1, "fold"), RunPredictions(2, "fold", table)])
    assert pool_runs([]) == {} and experiment_statistics({}) == {} and compare_experiments({}) == {}
