"""Runs that read recordings and tune encoders: every tuning trains, resumes to the last bit, and sees no test row."""

import json

import numpy as np
import pytest
from made_recordings import encoders
from made_recordings import recorded_recipe
from made_recordings import recordings
from safetensors import safe_open
from small_jobs import assert_same_run
from small_jobs import finish
from small_jobs import kill_at
from small_jobs import run_files
from small_jobs import start

from emomm.curriculum_trainer import CurriculumTrainer
from emomm.experiments import job
from emomm.settings.recipe import load_recipe

TUNINGS = {
    "frozen": {},
    "weighted": {"speech_layers": "weighted"},
    "full": {"speech_tuning": "full"},
    "last_k": {"speech_tuning": "last_k", "speech_tuned_layers": 1},
    "lora": {"speech_tuning": "lora"},
    "lora in the last": {"speech_tuning": "lora", "speech_tuned_layers": 1},
    "windows": {"speech_tuning": "last_k", "speech_tuned_layers": 1, "max_seconds": 0.2},
}


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Tiny encoders."""
    return encoders(tmp_path_factory.mktemp("encoders"))


def run(recipe, **options):
    outcome = job.run(load_recipe(recipe), **options)
    assert outcome.failed == []
    return outcome


@pytest.mark.parametrize("modality", ["audio", "both"])
@pytest.mark.parametrize("kind", TUNINGS)
def test_every_tuning_trains(tmp_path, named, kind, modality):
    fields = {**named, **TUNINGS[kind], "modality": modality}
    if modality == "both":
        fields |= {name.replace("speech", "text"): value for name, value in TUNINGS[kind].items() if "max" not in name}
    recipe = recorded_recipe(tmp_path, "made", **fields)
    run(recipe)
    (experiment,) = json.loads((tmp_path / "made" / "results.json").read_text())["experiments"]
    assert [run["status"] for run in experiment["runs"]] == ["done", "done"]
    said = experiment["speech_encoder"]
    assert (said["tuning"], said["layers"]) == (
        TUNINGS[kind].get("speech_tuning", "frozen"),
        TUNINGS[kind].get("speech_layers", "last"),
    )
    for run_entry in experiment["runs"]:
        counts = run_entry["parameters"]
        assert 0 < counts["trained"] <= counts["all"]
        weights = run_entry.get("layer_weights", {})
        assert set(weights) == ({"speech", *(["text"] if modality == "both" else [])} if kind == "weighted" else set())
        assert all(abs(sum(shares) - 1) < 1e-3 for shares in weights.values())


def losses(folder):
    """The training loss of each epoch of the run that tests session 1."""
    (history,) = folder.glob("*/seed-1/session-1/history.json")
    return [entry["loss"] for entry in json.loads(history.read_text()) if "loss" in entry]


@pytest.mark.parametrize(
    ("speech", "dtype"),
    [("wavlm", "float32"), ("wavlm", "float16"), ("w2v-bert", "float32"), ("emotion2vec", "float32")],
)
def test_stored_states_below_give_the_losses_of_all_layers(tmp_path, speech, dtype):
    """Of both encoders, whole way and stored half way: the same order, the same draws, the same losses."""
    fields = {
        **encoders(tmp_path, speech),
        **{f"{of}_tuning": "lora" for of in ("speech", "text")},
        **{f"{of}_tuned_layers": 1 for of in ("speech", "text")},
        "evaluation_mode": "loso",
        "num_epochs": 2,
        "store_dtype": dtype,
        "fusion_type": "concat",
    }
    for name, store in (("stored", True), ("whole", False)):
        run(recorded_recipe(tmp_path, name, store_frozen_layers=store, **fields))
    tolerance = 1e-5 if dtype == "float32" else 1e-3
    assert losses(tmp_path / "stored") == pytest.approx(losses(tmp_path / "whole"), abs=tolerance)


def test_what_is_stored_is_said(tmp_path, named, caplog):
    def notes(**fields):
        (found,) = load_recipe(recorded_recipe(tmp_path, "said", **named, **fields)).experiments
        experiment, _ = job.plan_experiment(found, tmp_path / "said")
        return " ".join(experiment.notes)

    lora = {"modality": "audio", "speech_tuning": "lora", "speech_tuned_layers": 1}
    assert "voice: the states of layer 2 are stored: a step runs 1 of 3 layers" in notes(**lora)
    assert "what enters the first layer is stored: a step runs 3 of 3" in notes(modality="audio", speech_tuning="lora")
    assert "store_frozen_layers is false" in notes(**lora, store_frozen_layers=False)
    assert "longer than max_seconds (0.2 s) and read in random windows" in notes(**lora, max_seconds=0.2)
    assert "longer than max_eval_seconds (0.2 s)" in notes(**lora, max_seconds=None, max_eval_seconds=0.2)
    assert "recordings are augmented" in notes(**lora, augment_gain_db=[-6, 6])
    assert "spec_augment is 0.1" in notes(**lora, spec_augment=0.1)
    assert "speech_layers reads layer 0, below" in notes(**lora, speech_layers="weighted")
    assert "layers" not in notes(modality="audio")
    assert "words: the states of layer 1 are stored: a step runs 1 of 2" in notes(
        modality="text", text_tuning="last_k", text_tuned_layers=1
    )


# ---- guarantees -----------------------------------------------------------------------------------------------------

# Everything that draws is on: windows, LoRA's weights and dropout, layer drop, SpecAugment.
DRAWS = {
    "speech_tuning": "lora",
    "speech_tuned_layers": 2,
    "lora_dropout": 0.2,
    "layer_drop": 0.3,
    "spec_augment": 0.2,
    "max_seconds": 0.2,
    "text_tuning": "last_k",
    "text_tuned_layers": 1,
    "text_layers": "weighted",
    "class_weights": "balanced",
    "use_curriculum_learning": True,
    "curriculum_type": "model_confidence",
    "curriculum_epochs": 2,
    "num_epochs": 3,
    "fusion_type": "gated",
    "gradient_accumulation_steps": 2,
    "speech_layer_decay": 0.8,
}


def killed_before(recipe, step):
    """Trains until the step after so many begins, with a state to go on from at each."""
    kill_at(CurriculumTrainer, "training_step", lambda trainer, *_: trainer.state.global_step == step)
    job.run(load_recipe(recipe, {"save_seconds": "0"}))


@pytest.mark.parametrize("changes", [{}, {"spec_augment": 0.0, "max_seconds": None}], ids=["windows", "stored below"])
def test_a_killed_run_ends_in_the_same_bits(tmp_path, named, changes):
    fields = {**named, **DRAWS, **changes, "store_dir": str(tmp_path / "store")}
    whole = recorded_recipe(tmp_path, "whole", **fields)
    run(whole)
    recipe = recorded_recipe(tmp_path, "killed", **fields)
    for step in (1, 3):
        assert finish(start(killed_before, str(recipe), step)) == -9
        assert any((tmp_path / "killed").rglob("checkpoint-*"))
    (state,) = list((tmp_path / "killed").rglob("checkpoint-*/model.safetensors"))[:1]
    frozen = "speech_encoder.encoder.layers.0.attention.q_proj.weight"
    with safe_open(state, framework="np") as file:
        names = set(file.keys())
    assert frozen not in names and any("lora_A" in name for name in names)
    run(recipe)
    for session in ("session-1", "session-2"):
        assert_same_run(*(tmp_path / name / "small" / "seed-1" / session for name in ("whole", "killed")))


def test_test_rows_never_influence_training(tmp_path, named):
    """With noise in session 1, the run that tests on it ends in the same weights, that which trains on it doesn't."""
    fields = {**named, **DRAWS, "feature_normalization": "standardize", "store_dir": str(tmp_path / "store")}
    for name, noise in (("clean", None), ("noise", 1)):
        run(recorded_recipe(tmp_path, name, recordings(noise=noise), **fields))
    for session, same in (("session-1", True), ("session-2", False)):
        one, two = (run_files(tmp_path / name / "small" / "seed-1" / session) for name in ("clean", "noise"))
        equal = all(np.array_equal(one["weights"][key], two["weights"][key]) for key in one["weights"])
        assert equal == same
        assert (one["history"] == two["history"]) == same
