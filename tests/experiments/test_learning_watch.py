"""Runs that are dead on purpose, from the training to every place where it is said; and healthy ones."""

import functools
import json
import logging
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_jobs import assert_same_run
from small_jobs import run_files
from tiny_encoders import tiny_encoder

from emomm.configuration_emomm import EmoMMConfig
from emomm.corpora.synthetic import Generator
from emomm.corpora.synthetic import generate
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.evaluation.learning_checks import RunRecord
from emomm.evaluation.learning_checks import run_line
from emomm.experiments import job
from emomm.experiments.learning_watch import LearningWatch
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.reporting.report_data import read_report
from emomm.reporting.score_tables import results_table
from emomm.reporting.words import caveats
from emomm.settings.recipe import load_recipe
from emomm.settings.settings import Settings

TRAINING = {
    "train_dataset": "made",
    "modality": "audio",
    "validation": "random",
    "validation_fraction": 0.3,
    "seeds": [1],
    "hidden_dim": 16,
    "num_epochs": 8,
    "curriculum_epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.01,
}


def write_corpus(path, change=None):
    """200 rows in 2 sessions of 4 speakers, clear enough for a few epochs; `change` (columns, rng) spoils it."""
    made = Generator(rows=200, speakers=8, sessions=2, audio_dim=8, frames=(1, 2), words=(2, 3), audio_accuracy=0.8)
    table = generate(made)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    if change is not None:
        columns = change(columns, np.random.default_rng(0)) or columns
    pq.write_table(pa.table({name: pa.array(values, table[name].type) for name, values in columns.items()}), path)


def shuffled(columns, rng):
    columns["label"] = rng.permutation(columns["label"]).tolist()


def constant(columns, rng):
    columns["audio_features"] = [[[1.0] * 8] for _ in columns["label"]]


def two_rows_of_sad(columns, rng):
    """One in each session."""
    keep = dict.fromkeys(zip(columns["session"], columns["label"], strict=True))
    first = {key: None for key in keep if key[1] == "sad"}
    kept = []
    for row, key in enumerate(zip(columns["session"], columns["label"], strict=True)):
        if key[1] != "sad" or first.get(key, row) is None:
            kept.append(row)
        if key in first:
            first[key] = row
    return {name: [values[row] for row in kept] for name, values in columns.items()}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    for change in (None, shuffled, constant, two_rows_of_sad):
        write_corpus(folder / f"{'clean' if change is None else change.__name__}.parquet", change)
    return folder


def recipe_of(corpora, folder, corpus="clean", **fields):
    recipe = {**TRAINING, "corpora": {"made": {"path": str(corpora / f"{corpus}.parquet")}}, **fields}
    if fields.get("modality") == "both":
        recipe |= {"text_model_name": tiny_encoder(folder / "encoder", hidden=16), "store_dir": str(folder / "store")}
    recipe = {"experiments": [{"name": "voice"}], "output_dir": str(folder / "out"), **recipe}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return load_recipe(folder / "recipe.json")


@pytest.fixture
def said(caplog, monkeypatch):
    """What was logged as a warning; the command line, in other tests, takes the package's logger from the root."""
    monkeypatch.setattr(logging.getLogger("emomm"), "propagate", True)
    return lambda: [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


def train(corpora, folder, **fields):
    """The runs of a job, as results.json has them; and what is shown at its end."""
    outcome = job.run(recipe_of(corpora, folder, **fields))
    runs = strict_json(folder / "out" / "results.json")["experiments"][0]["runs"]
    for run in runs:
        place = folder / "out" / "voice" / "seed-1" / run["fold"]
        if run["status"] == "done":
            assert strict_json(place / "metrics.json")["warnings"] == run["warnings"]
            strict_json(place / "history.json")
    return SimpleNamespace(runs=runs, text=outcome.text, failed=outcome.failed, folder=folder / "out")


def kinds(run):
    return {each["kind"] for each in run["warnings"]}


# ---- healthy and dead runs ------------------------------------------------------------------------------------------


def test_healthy_runs_have_no_warning(corpora, tmp_path, said):
    done = train(corpora, tmp_path)
    assert [run["warnings"] for run in done.runs] == [[], []] and said() == []
    assert min(run["validation"]["uar"] for run in done.runs) > 0.6
    assert "!" not in done.text
    assert [line for line in caveats(read_report([done.folder])) if "below its floor" not in line] == []


DEAD = {
    "shuffled labels": ({"corpus": "shuffled"}, {"at_chance"}),
    "a constant feature": ({"corpus": "constant"}, {"loss_stays", "at_chance", "class_never_predicted"}),
    "a learning rate of 10": (
        {
            "learning_rate": 10.0,
            "lr_width_limit": None,
            "modality": "both",
            "fusion_hidden_dim": 16,
            "num_attention_heads": 2,
        }
        | {"text_max_length": 16},
        {"loss_stays", "at_chance", "class_never_predicted"},
    ),
    "no learning rate to speak of": ({"learning_rate": 1e-12}, {"weights_still", "loss_stays", "at_chance"}),
}


@pytest.mark.parametrize(("fields", "expected"), DEAD.values(), ids=DEAD)
def test_dead_runs_say_so(corpora, tmp_path, said, fields, expected):
    done = train(corpora, tmp_path, **fields)
    assert not done.failed and all(expected <= kinds(run) for run in done.runs), [kinds(run) for run in done.runs]
    for run in done.runs:
        name, last = f"voice · seed 1 · {run['fold']}: ", run_line(run["warnings"])
        during, ended = (line.removeprefix(name) for line in said() if line.startswith(name))
        assert during.startswith("so far, after epoch ") and ended == last
        assert len(during.split("; ")) >= len(expected - {"class_never_predicted"})
    assert done.text.splitlines()[2].startswith("voice !  ")
    (line,) = [line for line in done.text.splitlines() if line.startswith("! voice: ")]
    assert "in 2 of 2 runs" in line and " Try " in line and "  " not in line


def test_a_class_of_two_rows_that_is_never_predicted(corpora, tmp_path):
    done = train(corpora, tmp_path, corpus="two_rows_of_sad")
    for run in done.runs:
        assert kinds(run) == {"class_never_predicted"}
        (each,) = run["warnings"]
        assert "sad is never predicted, the label of 1 of the " in each["said"] and "(1 of " in each["said"]
        assert "class_weights balanced" in each["try"] and "more rows of sad" in each["try"]
    assert "! voice: a class that is never predicted in 2 of 2 runs. Try " in done.text


def test_report_and_table_name_what_learned_nothing(corpora, tmp_path):
    done = train(corpora, tmp_path, corpus="constant")
    data = read_report([done.folder])
    first = caveats(data)[0]
    assert first.startswith("voice: a training loss that stayed at chance in 2 of 2 runs, validation at chance in 2 ")
    assert "a lower learning_rate than 0.01" in first
    table = results_table(data)
    assert table.rows[0][0] == "a  voice !" and "!: some or all of its runs learned nothing" in table.note
    columns, (row,) = table.plain
    assert dict(zip(columns, row, strict=True))["warnings"] == (
        "loss_stays 2/2; at_chance 2/2; class_never_predicted 2/2"
    )
    assert dict(zip(columns, row, strict=True))["experiment"] == "voice"


# ---- what is not finite ---------------------------------------------------------------------------------------------


def poison(monkeypatch, at_step):
    """The training loss, and all that follows from it, is NaN from a step on."""
    step = CurriculumTrainer.training_step

    def training_step(self, model, inputs, *rest):
        if self.state.global_step >= at_step:
            for weight in model.parameters():
                weight.data.fill_(float("nan"))
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(CurriculumTrainer, "training_step", training_step)


def test_a_run_that_diverges_stops_there_and_keeps_what_it_had(corpora, tmp_path, said, monkeypatch):
    whole = train(corpora, (tmp_path / "whole").mkdir() or tmp_path / "whole", num_epochs=2)
    steps = whole.runs[0]["steps"] // 2
    poison(monkeypatch, 3 * steps + 1)  # in the fourth epoch
    torn = train(corpora, (tmp_path / "torn").mkdir() or tmp_path / "torn")
    assert torn.failed == []
    for run in torn.runs:
        assert kinds(run) == {"loss_not_finite"} and run["status"] == "done"
        assert run["steps"] == 4 * steps and run["best_epoch"] <= 3
        assert (
            "at the end of epoch 4 of 8, where training stopped; the weights kept are those of epoch "
            in (run["warnings"][0]["said"])
        )
        history = strict_json(torn.folder / "voice" / "seed-1" / run["fold"] / "history.json")
        scores = {round(entry["epoch"]): entry["eval_uar"] for entry in history if "eval_uar" in entry}
        assert list(scores) == [1, 2, 3]
        assert run["validation"]["uar"] == scores[run["best_epoch"]] == max(scores.values())
        losses = [entry["loss"] for entry in history if "loss" in entry]
        assert losses[3] is None and all(loss > 0 for loss in losses[:3])
    assert sum("so far, after epoch 4: the weights were no longer finite" in line for line in said()) == 2
    assert any("loss or weights not finite in 2 of 2 runs" in line for line in caveats(read_report([torn.folder])))


def test_a_run_without_a_finite_epoch_fails_at_once(corpora, tmp_path):
    done = train(corpora, tmp_path, learning_rate=1e20, lr_width_limit=None)
    assert len(done.failed) == 2
    for run in done.runs:
        assert run["status"].startswith("failed: training diverged: the weights were no longer finite at the end of ")
        assert "epoch 1 of 8" in run["status"] and "lower learning_rate than 1e+20" in run["status"]
        assert kinds(run) == {"loss_not_finite"}
        history = done.folder / "voice" / "seed-1" / run["fold"]
        assert not (history / "metrics.json").exists() and not list(history.glob("checkpoint-*"))
    assert "! voice: loss or weights not finite in 2 of 2 runs. Try a lower learning_rate" in done.text


def test_outputs_that_are_not_finite_are_no_score(corpora, tmp_path, monkeypatch):
    """They would be counted as the first class; such an epoch is not chosen, and said."""
    forward = EmoMMForEmotionClassification.forward

    @functools.wraps(forward)
    def overflow(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        if not self.training and self.evaluations < 1:
            output.logits = output.logits * float("inf")
        return output

    evaluate = CurriculumTrainer.evaluate

    def counted(self, *args, **kwargs):
        try:
            return evaluate(self, *args, **kwargs)
        finally:
            EmoMMForEmotionClassification.evaluations += 1

    monkeypatch.setattr(EmoMMForEmotionClassification, "evaluations", 0, raising=False)
    monkeypatch.setattr(EmoMMForEmotionClassification, "forward", overflow)
    monkeypatch.setattr(CurriculumTrainer, "evaluate", counted)
    first, second = train(corpora, tmp_path, num_epochs=4, feature_noise=0.0).runs
    assert kinds(first) == {"loss_not_finite"} and kinds(second) == set()
    assert (
        "validation loss was not finite in 1 of 4 epochs, first in epoch 1, while the weights"
        in (first["warnings"][0]["said"])
    )
    assert first["best_epoch"] > 1


# ---- interrupted runs -----------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    pass


def interrupt(monkeypatch, at_steps):
    """Interrupts the first training step at each of these steps, once."""
    left, step = list(at_steps), CurriculumTrainer.training_step

    def training_step(self, *rest):
        if left and self.state.global_step == left[0]:
            raise Interrupted(left.pop(0))
        return step(self, *rest)

    monkeypatch.setattr(CurriculumTrainer, "training_step", training_step)


@pytest.mark.parametrize("diverges", [False, True])
def test_an_interrupted_run_has_the_warnings_of_one_that_was_not(corpora, tmp_path, monkeypatch, diverges):
    fields = {"corpus": "constant", "num_epochs": 4, "batch_size": 32, "use_speaker_disentanglement": False}
    places = {}
    for name in ("whole", "torn"):
        places[name] = tmp_path / name
        places[name].mkdir()
    if diverges:
        poison(monkeypatch, 8)
    whole = train(corpora, places["whole"], **fields)
    steps = whole.runs[0]["steps"]
    interrupt(monkeypatch, [2, steps // 2, steps - 1])
    for _ in range(3):
        with pytest.raises(Interrupted):
            train(corpora, places["torn"], save_seconds=0, **fields)
    torn = train(corpora, places["torn"], save_seconds=0, **fields)
    found = kinds(whole.runs[0])
    assert {"at_chance", "loss_stays"} <= found and diverges == ("loss_not_finite" in found)
    for one, two in zip(whole.runs, torn.runs, strict=True):
        assert one["warnings"] == two["warnings"]
        place = f"voice/seed-1/{one['fold']}"
        assert_same_run(whole.folder / place, torn.folder / place)
    assert run_files(whole.folder / place)["metrics"]["warnings"]


# ---- the look at the weights ----------------------------------------------------------------------------------------


@pytest.fixture
def watched():
    torch.manual_seed(0)
    config = EmoMMConfig(modality="audio", audio_dim=6, hidden_dim=80, num_labels=3)
    model = EmoMMForEmotionClassification(config)
    rows = np.ones(3, int)
    settings = Settings(curriculum_epochs=0)
    return model, LearningWatch(model, "a run", RunRecord(settings, ["a", "b", "c"], (), rows, rows))


def test_how_far_weights_have_moved(watched):
    model, watch = watched
    watch.look(model, 1.0)
    assert watch.record.weights_change == 0 and watch.record.diverged_epoch is None
    before = model.classifier[0].weight.detach().clone()
    with torch.no_grad():
        model.classifier[0].weight.mul_(1.25)
        model.classifier[0].bias.mul_(1.1)
    watch.look(model, 2.0)
    assert watch.record.weights_change == pytest.approx(0.25, rel=1e-5)
    with torch.no_grad():
        model.classifier[0].weight.copy_(before)
        model.classifier[1].bias.fill_(0.001)  # it was 0
    watch.look(model, 3.0)
    assert watch.record.weights_change == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_value_that_is_not_finite_is_seen(watched, value):
    model, watch = watched
    with torch.no_grad():
        model.classifier[0].weight[-1, -1] = value
    watch.look(model, 2.0)
    assert watch.record.diverged_epoch == 2


def test_weights_that_are_spread_over_devices_are_not_compared(watched):
    model, watch = watched
    for weight in model.parameters():
        weight.data = weight.data.flatten()[:2].clone()
    watch.look(model, 1.0)
    assert watch.record.weights_change is None and watch.record.diverged_epoch is None
