"""Runs trained as one model against the same runs trained one by one, with the same draws, and what they leave."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder

from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.experiments.job import plan_experiment
from emomm.experiments.run_folder import begin_run
from emomm.experiments.run_folder import outcome_of
from emomm.experiments.training import Experiment
from emomm.settings.recipe import load_recipe
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
