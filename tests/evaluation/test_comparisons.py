"""Comparisons of experiments, against the functions that they rest on."""

import json

import pytest
from made_runs import corpus_of
from made_runs import loso

from emomm.evaluation.comparisons import compare_experiments
from emomm.evaluation.predictions import pool_runs
from emomm.evaluation.significance import IGNORES_DEPENDENCE
from emomm.evaluation.significance import holm
from emomm.evaluation.significance import mcnemar_test
from emomm.evaluation.summaries import experiment_statistics


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
