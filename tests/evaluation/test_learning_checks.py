"""What is said of a run that learned nothing: each check by itself, against what can be worked out another way."""

from dataclasses import replace

import numpy as np
import pytest

from emomm.evaluation.chance import uar_at_chance
from emomm.evaluation.learning_checks import FREQUENCIES_LOSS
from emomm.evaluation.learning_checks import KINDS
from emomm.evaluation.learning_checks import RunRecord
from emomm.evaluation.learning_checks import epoch_losses
from emomm.evaluation.learning_checks import experiment_line
from emomm.evaluation.learning_checks import experiment_warnings
from emomm.evaluation.learning_checks import learning_warnings
from emomm.evaluation.learning_checks import run_line
from emomm.evaluation.metrics import emotion_scores
from emomm.settings.settings import FIELDS
from emomm.settings.settings import Settings

LABELS = ["neutral", "happy", "sad", "anger"]
ROWS = np.array([30, 20, 10, 8])


def test_losses_are_those_of_the_epochs_however_often_they_are_logged():
    history = [
        {"loss": 4.0, "epoch": 0.5, "step": 2},
        {"eval_uar": 0.3, "epoch": 1.0, "step": 4},
        {"loss": 2.0, "epoch": 0.75, "step": 3},
        {"loss": 1.0, "epoch": 1.0, "step": 4},
        {"loss": 0.5, "epoch": 2.0, "step": 8},
        {"train_loss": 9.0, "epoch": 2.0, "step": 8},
    ]
    assert epoch_losses(history) == {1: pytest.approx((2 * 4 + 2 + 1) / 4), 2: 0.5}
    assert epoch_losses([]) == {}


# ---- warnings -------------------------------------------------------------------------------------------------------


def history_of(losses, uar, frequencies=1.3, **more):
    """The history of a run: training losses and validation scores by epoch."""
    found = []
    for i, loss in enumerate(losses):
        found.append({FREQUENCIES_LOSS: frequencies, "epoch": float(i), "step": 5 * i})
        found.append({"loss": loss, "grad_norm": 1.0, "epoch": i + 1.0, "step": 5 * (i + 1)})
        scores = {"eval_uar": uar[i]} | {f"eval_{name}": values[i] for name, values in more.items()}
        found.append({**scores, "epoch": i + 1.0, "step": 5 * (i + 1)})
    return found


def record(losses=(1.2, 0.9, 0.6), uar=(0.4, 0.6, 0.7), more=None, **fields):
    settings = {name: fields.pop(name) for name in list(fields) if name in FIELDS}
    history = history_of(losses, uar, **(more or {}))
    counts = {"train_rows": 3 * ROWS, "validation_rows": ROWS, "weights_change": 0.5, "best_epoch": len(losses)}
    return RunRecord(
        Settings(curriculum_epochs=0, **settings), LABELS, fields.pop("history", history), **{**counts, **fields}
    )


def kinds(found):
    return [each["kind"] for each in found]


def test_a_run_that_learned_has_no_warning():
    assert learning_warnings(record()) == []
    # A loss above that of the frequencies, of a model that is too sure, but right: nothing to say.
    assert learning_warnings(record(losses=(5.0, 4.0, 3.0))) == []
    # Nothing was logged but the scores.
    scores = [entry for entry in record().history if "eval_uar" in entry]
    assert learning_warnings(record(history=scores)) == []


def test_at_chance_says_the_numbers_and_what_to_try():
    chance, error = uar_at_chance(ROWS)
    dead = record(losses=(1.31, 1.30, 1.31), uar=(0.25, 0.26, 0.25), learning_rate=0.02, num_epochs=3)
    stays, at_chance = learning_warnings(dead)
    assert (stays["kind"], at_chance["kind"]) == ("loss_stays", "at_chance")
    assert (
        f"at best 0.260 in 3 epochs; chance is {chance:.3f}, its standard error on 68 rows {error:.3f}"
        in (at_chance["said"])
    )
    assert "a lower learning_rate than 0.02" in at_chance["try"] and "labels" in at_chance["try"]
    assert "1.300 against 1.300 (epoch 2 of 3)" in stays["said"]
    assert "the words may say nothing" not in at_chance["try"] and "feature_normalization" not in at_chance["try"]
    raw = replace(dead, settings=replace(dead.settings, feature_normalization="none"))
    assert "than 0.02 or feature_normalization standardize" in learning_warnings(raw)[1]["try"]
    silent = learning_warnings(replace(dead, settings=replace(dead.settings, modality="text")))
    assert all("the words may say nothing of the emotion here, and chance" in each["try"] for each in silent)
    (words,) = learning_warnings(record(uar=(0.25, 0.26, 0.25), modality="text"))
    assert words["kind"] == "at_chance"
    assert "the words may say nothing of the emotion here, and chance is the finding" in words["try"]
    assert "the training rows are learned, and nothing of it carries over" in words["try"]
    assert ". Check that transcripts and labels belong to their rows: " in run_line([words])
    assert ". Check that " in experiment_line([{"warnings": [words]}])
    assert ". Try a lower learning_rate" in run_line([at_chance]) and ". Try a " in experiment_line(
        [{"warnings": [at_chance]}]
    )


def test_the_loss_stays_only_where_validation_does_not_say_otherwise():
    losses = (1.29, 1.28, 1.27)
    assert kinds(learning_warnings(record(losses=losses))) == []
    stays, at_chance = learning_warnings(record(losses=losses, uar=(0.25,) * 3))
    assert (stays["kind"], at_chance["kind"]) == ("loss_stays", "at_chance")
    assert "never fell by 3% below" in stays["said"] and "1.270 against 1.300" in stays["said"]  # which it is below
    assert kinds(learning_warnings(record(losses=(1.29, 1.2, 1.29), uar=(0.25,) * 3))) == ["at_chance"]
    none = np.zeros(4, int)
    alone = record(losses=losses, validation_rows=none, best_epoch=None, history=history_of(losses, (0.0,) * 3)[:2])
    assert kinds(learning_warnings(alone)) == ["loss_stays"]
    assert kinds(learning_warnings(replace(alone, history=history_of((0.5,), (0.0,))[:2]))) == []


def test_accuracy_has_its_own_chance():
    """At chance is what is no better than its own chance in accuracy *and* in UAR."""
    usual = 30 / 68
    below = {"accuracy": (usual, usual, usual)}
    chosen = {"metric_for_best_model": "accuracy"}
    assert kinds(learning_warnings(record(uar=(0.5, 0.5, 0.5), more=below, **chosen))) == []
    assert kinds(learning_warnings(record(uar=(0.25,) * 3, more={"accuracy": (0.6,) * 3}, **chosen))) == []
    (found,) = learning_warnings(record(uar=(0.25,) * 3, more=below, **chosen))
    assert "validation UAR was never" in found["said"] and "and validation accuracy was never" in found["said"]
    assert "chance is 0.441" in found["said"]


def test_the_epoch_that_another_score_chose_can_be_at_chance():
    by_loss = {"metric_for_best_model": "loss"}
    (found,) = learning_warnings(record(uar=(0.25, 0.5, 0.7), best_epoch=1, **by_loss))
    assert found["kind"] == "at_chance" and "loss chose, 1," in found["said"] and "epoch 3 had 0.700" in found["said"]
    assert "metric_for_best_model uar" in found["try"]
    assert learning_warnings(record(uar=(0.25, 0.5, 0.7), best_epoch=3, **by_loss)) == []
    assert learning_warnings(record(uar=(0.25, 0.5, 0.7), best_epoch=None, **by_loss)) == []  # under way


def test_what_is_not_finite():
    nan = float("nan")
    (found,) = learning_warnings(record(diverged_epoch=3, best_epoch=2, learning_rate=0.5, num_epochs=9))
    assert found["kind"] == "loss_not_finite"
    assert "at the end of epoch 3 of 9, where training stopped; the weights kept are those of epoch 2" in found["said"]
    assert "lower learning_rate than 0.5" in found["try"]
    (found,) = learning_warnings(record(losses=(1.0, nan, 0.5)))
    assert (
        "the training loss was not finite in 1 of 3 epochs, first in epoch 2, while the weights were" in found["said"]
    )
    (found,) = learning_warnings(record(uar=(0.6, nan, 0.7), more={"loss": (1.0, float("inf"), 1.0)}))
    assert "the validation loss was not finite in 1 of 3" in found["said"]


def test_weights_that_stand_still():
    (found,) = learning_warnings(record(weights_change=1e-9, learning_rate=1e-12))
    assert found["kind"] == "weights_still" and "at most by 1.0e-09" in found["said"]
    assert "a higher learning_rate than 1e-12" in found["try"]
    assert learning_warnings(record(weights_change=None)) == []
    dead = record(uar=(0.25,) * 3, losses=(1.3,) * 3, weights_change=1e-9, learning_rate=1e-12)
    assert not any("lower learning_rate" in each["try"] for each in learning_warnings(dead))
    history = [{**entry, "grad_norm": 0.0} if "grad_norm" in entry else entry for entry in record().history]
    (found,) = learning_warnings(record(history=history))
    assert found["kind"] == "weights_still" and found["said"] == "every gradient is zero"


def scores(true, predicted):
    return emotion_scores(np.array(true), np.array(predicted), LABELS)


def test_a_class_that_is_never_predicted():
    true = [0] * 6 + [1] * 6 + [2] * 6 + [3] * 2
    without_sad = [0] * 6 + [1] * 6 + [0] * 6 + [3] * 2
    without_anger = [0] * 6 + [1] * 6 + [2] * 6 + [0] * 2

    def found(**parts):
        return learning_warnings(record(scores={name: scores(true, guess) for name, guess in parts.items()}))

    assert found(validation=true, test=true) == []
    (each,) = found(validation=true, test=without_sad)
    assert each["kind"] == "class_never_predicted"
    assert each["said"] == "sad is never predicted, the label of 6 of the 20 test (30 of 204 training rows)"
    assert "class_weights balanced" in each["try"] and "more rows of" not in each["try"]
    assert found(validation=true, test=without_anger) == []  # two rows can be missed by chance
    (each,) = found(validation=without_anger, test=without_anger)
    assert "anger is never predicted, the label of 2 of the 20 validation and of 2 of the 20 test" in each["said"]
    assert "more rows of anger" in each["try"]
    (each,) = found(validation=[0] * 20, test=[0] * 20)
    assert each["said"] == "neutral is predicted for every one of the 20 validation and of the 20 test"
    balanced = record(scores={"test": scores(true, without_sad)}, class_weights="balanced")
    assert "class_weights" not in learning_warnings(balanced)[0]["try"]
    # What does not occur need not be predicted.
    some = {"test": scores([0] * 6 + [1] * 6, [0] * 6 + [1] * 6)}
    assert learning_warnings(record(scores=some)) == []


def test_what_is_said_of_an_experiment():
    dead = [
        {"kind": "at_chance", "said": "A", "try": "this"},
        {"kind": "class_never_predicted", "said": "B", "try": "x"},
    ]
    runs = [{"warnings": []}, {"warnings": dead}, {"warnings": [{**dead[0], "said": "C"}]}, {}]
    first, second = experiment_warnings(runs)
    assert (first["kind"], first["runs"], first["of"], first["said"], first["try"]) == ("at_chance", 2, 4, "A", "this")
    assert (second["kind"], second["runs"]) == ("class_never_predicted", 1)
    assert experiment_line(runs) == (
        "validation at chance in 2 of 4 runs, a class that is never predicted in 1 of 4 runs. Try this."
    )
    assert experiment_line([{"warnings": []}, {}]) is None
    assert all(experiment_line([{"warnings": [{"kind": kind, "said": "", "try": ""}]}]) for kind in KINDS)
