"""Two decisions on a test corpus that lacks classes: against scikit-learn, and against what chance gives."""

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.metrics import recall_score

from emomm.evaluation.decisions import decisions
from emomm.evaluation.intervals import intervals
from emomm.evaluation.metrics import SCALARS

LABELS = ["neutral", "happy", "sad", "anger"]


def rows(seeds=2, speakers=8, each=30, skill=1.0, classes=(1, 3)):
    """Rows of two of four classes, by speaker; the second half of them is tested by another fold."""
    rng = np.random.default_rng(seeds)
    n = speakers * each
    references = rng.choice(classes, n)
    logits = rng.normal(0, 1, (seeds, n, 4))
    logits[:, np.arange(n), references] += skill
    probabilities = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    folds = np.where(np.arange(n) < n // 2, "one", "other").astype(object)
    names = np.repeat([f"s{i}" for i in range(speakers)], each)
    return references, probabilities.argmax(-1), probabilities, names, range(seeds), np.tile(folds, (seeds, 1))


def test_nothing_where_all_classes_occur():
    assert decisions(LABELS, *rows(classes=(0, 1, 2, 3))) == {}


def test_both_are_scored_over_the_classes_that_occur():
    references, predictions, probabilities, *others = given = rows()
    found = decisions(LABELS, *given)
    assert found["all"]["classes"] == LABELS and found["all"]["chance"] == 0.25
    assert found["shared"]["classes"] == ["happy", "anger"] and found["shared"]["chance"] == 0.5
    among = np.array([1, 3])[probabilities[..., [1, 3]].argmax(-1)]
    for name, decided in (("all", predictions), ("shared", among)):
        for metric, score in (("uar", recall_score), ("f1_macro", f1_score)):
            by_seed = [score(references, p, labels=[1, 3], average="macro") for p in decided]
            assert found[name][metric]["pooled"] == pytest.approx(np.mean(by_seed))
            assert found[name][metric]["std_over_seeds"] == pytest.approx(np.std(by_seed, ddof=1))
            folds = others[2][0]
            runs = [
                score(references[folds == fold], p[folds == fold], labels=[1, 3], average="macro")
                for p in decided
                for fold in ("one", "other")
            ]
            assert found[name][metric]["mean"] == pytest.approx(np.mean(runs))
            assert found[name][metric]["std"] == pytest.approx(np.std(runs, ddof=1))
        low, high = found[name]["uar"]["ci95"]
        assert low < found[name]["uar"]["pooled"] < high and found[name]["uar"]["ci_units"] == "speakers"
        assert found[name]["recall"].keys() == {"happy", "anger"}
    # A row that was taken for a class that is not there is now decided between the two that are.
    assert found["shared"]["uar"]["pooled"] > found["all"]["uar"]["pooled"] + 0.1
    # The present keys keep what they mean: only macro F1 differs, which has the classes that are only predicted too.
    as_before = intervals(references, predictions, others[0], 4)
    assert found["all"]["uar"]["ci95"] == [as_before["uar"]["low"], as_before["uar"]["high"]]
    assert found["all"]["f1_macro"]["pooled"] > f1_score(references, predictions[0], average="macro") + 0.1


def test_a_guess_scores_what_its_chance_says():
    found = decisions(LABELS, *rows(seeds=1, each=2000, skill=0))
    for decision in found.values():
        assert decision["uar"]["pooled"] == pytest.approx(decision["chance"], abs=0.02)
        assert decision["accuracy"]["pooled"] == pytest.approx(decision["chance"], abs=0.02)


def test_rows_that_a_seed_has_not_tested_do_not_count():
    references, predictions, probabilities, speakers, seeds, folds = rows(seeds=2)
    alone = decisions(LABELS, references, predictions[:1], probabilities[:1], speakers, [0], folds[:1])
    half = folds[1] == "other"
    predictions[1, half], probabilities[1, half], folds[1, half] = -1, np.nan, ""
    both = decisions(LABELS, references, predictions, probabilities, speakers, seeds, folds)
    first = decisions(
        LABELS,
        references[~half],
        predictions[1:, ~half],
        probabilities[1:, ~half],
        speakers[~half],
        [1],
        folds[1:, ~half],
    )
    for metric in SCALARS:
        expected = (alone["shared"][metric]["pooled"] + first["shared"][metric]["pooled"]) / 2
        assert both["shared"][metric]["pooled"] == pytest.approx(expected)
