"""Runs trained as one model against the same runs trained one by one, with the same draws, and what they leave."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_jobs import write_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_encoders import tiny_encoder

from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.experiments.job import plan_experiment
from emomm.experiments.job import run as run_job
from emomm.experiments.run_folder import begin_run
from emomm.experiments.run_folder import outcome_of
from emomm.experiments.training import Experiment
from emomm.settings.recipe import load_recipe
from emomm.stacking.checkpoints import StackFolder
from emomm.stacking.stack import Stack
from emomm.stacking.stacked_run import StackedRun
from emomm.stacking.training import train_stacked

PLAIN = {
    "use_curriculum_learning": False,
    "use_difficulty_scaling": False,
    "use_speaker_disentanglement": False,
    "floors": False,
}
CASES = {
    # A short last batch, other weights of classes in each run, ratings.
    "voice": {
        **PLAIN,
        "modality": "audio",
        "short_last_batch": True,
        "class_weights": "balanced",
        "vad_loss_weight": 0.5,
    },
    # Frames and tokens of any length, a curriculum by difficulty, weights of rows, one speaker a batch, noise.
    "everything": {"floors": False, "post_curriculum_dropout": 0.1},
    # Accumulated batches, stops at epochs of its own, a schedule that follows each run's scores.
    "ends": {
        **PLAIN,
        "fusion_type": "adaptive",
        "gradient_accumulation_steps": 2,
        "early_stopping_patience": 1,
        "curriculum_epochs": 0,
        "num_epochs": 4,
        "lr_scheduler": "plateau",
        "lr_scheduler_kwargs": {"patience": 0},
    },
    # What comes first is what the model is sure of; another optimiser, its momentum against the rate.
    "confidence": {
        "floors": False,
        "fusion_type": "gated",
        "use_curriculum_learning": True,
        "curriculum_type": "model_confidence",
        "curriculum_epochs": 2,
        "use_difficulty_scaling": False,
        "optim": "sgd",
        "optim_args": "momentum=0.9",
        "lr_scheduler": "cyclic",
        "lr_scheduler_kwargs": {"cycle_momentum": True},
        "num_epochs": 3,
    },
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def in_float64(monkeypatch):
    """Models, losses and all in float64; the loss of evaluated rows as it is."""
    model, single, of_all = Experiment._model, torch.Tensor.float, CurriculumTrainer.loss_of_all
    monkeypatch.setattr(Experiment, "_model", lambda self, rows: model(self, rows).double())
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)

    def loss_of_all(self, logits, labels):
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "float", single)
            return of_all(self, logits.astype(np.float32), labels)

    monkeypatch.setattr(CurriculumTrainer, "loss_of_all", loss_of_all)


def planned(folder: Path, name: str, encoder: str, **fields):
    path = write_recipe(folder, name, text_model_name=encoder, **fields)
    settings = load_recipe(str(path)).experiments[0]
    experiment, runs = plan_experiment(settings, folder / name)
    for run in runs:
        begin_run(run)
    return experiment, runs


def weights(run) -> dict[str, torch.Tensor]:
    files = sorted(run.files.model.glob("*.safetensors"))
    found = {name: value for path in files for name, value in load_file(path).items()}
    return {name: value for name, value in found.items() if not name.startswith("text_encoder.")}


def history(run) -> list[dict]:
    return [
        {key: value for key, value in entry.items() if not key.endswith(("runtime", "per_second"))}
        for entry in json.loads(run.files.history.read_text())
    ]


def assert_alike(one, two, tolerance: float) -> None:
    """Two runs ended with the same weights, history, scores and predictions, but for rounding."""
    before, after = weights(one), weights(two)
    assert before.keys() == after.keys()
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=tolerance, msg=name)
    for old, new in zip(history(one), history(two), strict=True):
        assert list(old) == list(new)
        assert new == pytest.approx(old, abs=10 * tolerance, nan_ok=True)
    old, new = (json.loads(run.files.metrics.read_text()) for run in (one, two))
    assert new.pop("stacked") == 2
    assert {key for key in old if key not in new} == set() == {key for key in new if key not in old}
    for key in ("steps", "best_epoch", "best_epoch_ties", "warnings", "parts", "parameters", "fold"):
        assert new[key] == old[key], key
    assert new["validation"]["confusion_matrix"] == old["validation"]["confusion_matrix"]
    assert new["test"].keys() == old["test"].keys()
    assert outcome_of(two) is not None  # all its files can be relied on


@pytest.mark.parametrize("case", CASES)
def test_a_stack_is_the_runs_one_by_one(case, tmp_path, encoder, in_float64):
    """With the same draws: dropout, hidden modalities and noise are on."""
    fields = {"seeds": [1], **CASES[case]}
    alone, runs = planned(tmp_path, "alone", encoder, **fields)
    for run in runs:
        alone.train(run)
    stacked, others = planned(tmp_path, "stacked", encoder, stack=True, **fields)
    outcomes = [(run, end()) for run, end in train_stacked(stacked, others)]
    assert [run for run, _ in outcomes] == others and {found["status"] for _, found in outcomes} == {"done"}
    for one, two in zip(runs, others, strict=True):
        assert one.identity != two.identity
        assert_alike(one, two, 1e-5)
    if case == "ends":
        assert len({found["steps"] for _, found in outcomes}) > 1  # else it shows nothing
    assert not (two.folder.parent.parent / "stacks").exists()


REFUSED = {
    "adafactor": ({"optim": "adafactor"}, "optim is .adafactor"),
    "field": ({"torch_compile": True}, "torch_compile is true"),
    "mixup": ({"augment_mixup": 0.2, "modality": "audio"}, "augment_mixup is 0.2"),
    "tuned": ({"freeze_text_encoder": False}, "runs an encoder"),
    "short": (
        {"short_last_batch": True, "gradient_accumulation_steps": 2, **PLAIN},
        "gradient_accumulation_steps is 2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_exact_is_refused(case, tmp_path, encoder):
    fields, said = REFUSED[case]
    with pytest.raises(InputError, match=f"stack is true.*{said}|{said}.*stack"):
        planned(tmp_path, "refused", encoder, stack=True, **fields)


class Killed(BaseException):
    """As if the process had been killed."""


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_stack_that_was_killed_goes_on(epoch, tmp_path, encoder, monkeypatch):
    """In the middle of its training, or when it was trained and one run was written: to the same bits."""
    fields = {**PLAIN, "modality": "audio", "num_epochs": 3, "save_seconds": 0, "stack": True, "seeds": [1, 2]}
    whole, runs = planned(tmp_path, "whole", encoder, **fields)
    for _, end in train_stacked(whole, runs):
        end()
    killed, others = planned(tmp_path, "killed", encoder, **fields)
    save, opened = StackFolder.save, []

    def save_and_die(self, number, saved):
        save(self, number, saved)
        if number == epoch < 3:
            raise Killed

    monkeypatch.setattr(StackFolder, "save", save_and_die)
    with pytest.raises(Killed):
        for _, end in train_stacked(killed, others):
            end()
            raise Killed
    left = [run for run in others if outcome_of(run) is None]
    assert len(left) == (4 if epoch == 2 else 3)
    monkeypatch.setattr(StackFolder, "save", save)
    open_epoch = StackedRun.open_epoch
    monkeypatch.setattr(
        StackedRun, "open_epoch", lambda self, number: (opened.append(number), open_epoch(self, number))
    )
    for _, end in train_stacked(killed, left):
        end()
    assert set(opened) == ({2} if epoch == 2 else set())  # no epoch that was done is trained again
    for one, two in zip(runs, others, strict=True):
        before, after = weights(one), weights(two)
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert [each for each in history(one) if "train_loss" not in each] == [
            each for each in history(two) if "train_loss" not in each
        ]
    assert not (two.folder.parent.parent / "stacks").exists()


def test_what_is_too_large_for_the_device_is_halved(tmp_path, encoder, monkeypatch):
    fields = {**PLAIN, "modality": "audio", "num_epochs": 1, "stack": True, "seeds": [1, 2]}
    experiment, runs = planned(tmp_path, "large", encoder, **fields)
    train = Stack.train

    def little_memory(self, after_epoch):
        if len(self.runs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        train(self, after_epoch)

    monkeypatch.setattr(Stack, "train", little_memory)
    outcomes = [(run, end()) for run, end in train_stacked(experiment, runs)]
    assert [run for run, _ in outcomes] == runs and {found["stacked"] for _, found in outcomes} == {1}


def test_a_job_of_stacks_is_a_job(tmp_path, encoder):
    """results.json, the same command again, and what a tracker is sent."""
    path = write_recipe(
        tmp_path, "job", text_model_name=encoder, stack=True, stack_size=1, report_to=["tensorboard"], **PLAIN
    )
    recipe = load_recipe(str(path))
    assert not run_job(recipe).failed
    results = json.loads((tmp_path / "job" / "results.json").read_text())
    assert [run["status"] for run in results["experiments"][0]["runs"]] == ["done", "done"]
    assert not run_job(recipe).failed
    again = json.loads((tmp_path / "job" / "results.json").read_text())
    assert again["experiments"][0]["runs"] == results["experiments"][0]["runs"]  # nothing was trained again
    events = EventAccumulator(str(next((tmp_path / "job").rglob("tensorboard")))).Reload()
    steps = [event.step for event in events.Scalars("train/step_loss")]
    assert steps == list(range(1, len(steps) + 1)) and len(events.Scalars("eval/uar")) == 2
