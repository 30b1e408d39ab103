"""Runs that read recordings and tune encoders: every tuning trains, resumes to the last bit, and sees no test row."""

import json

import numpy as np
import pytest
import torch
from forked import finish
from forked import start
from made_recordings import as_wav
from made_recordings import encoders
from made_recordings import recorded_recipe
from made_recordings import recordings
from made_recordings import still_copy
from safetensors import safe_open
from small_jobs import assert_same_run
from small_jobs import kill_at
from small_jobs import run_files
from tiny_speech_encoders import UNKNOWN
from transformers import AutoModel

from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.experiments import job
from emomm.experiments.final_model import train_final_model
from emomm.settings.recipe import load_recipe
from emomm.speech_encoders import SpeechEncoder

TUNINGS = {
    "frozen": {},
    "weighted": {"speech_layers": "weighted"},
    "full": {"speech_tuning": "full"},
    "last_k": {"speech_tuning": "last_k", "speech_tuned_layers": 1},
    "lora": {"speech_tuning": "lora"},
    "lora in the last": {"speech_tuning": "lora", "speech_tuned_layers": 1},
    "checkpointed": {"speech_tuning": "full", "activation_checkpointing": True},
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
        fields |= {
            name.replace("speech", "text"): value for name, value in TUNINGS[kind].items() if name.startswith("sp")
        }
    recipe = recorded_recipe(tmp_path, "made", recordings(16), **fields, num_epochs=1, validation_fraction=0.5)
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
    history = json.loads((tmp_path / "made" / "small" / "seed-1" / "session-1" / "history.json").read_text())
    logged = [entry for entry in history if "learning_rate" in entry]
    for encoder in ("speech", "text"):
        tuned = "speech_tuning" in TUNINGS[kind] and (encoder == "speech" or modality == "both")
        assert all((f"{encoder}_learning_rate" in entry) == tuned for entry in logged)
        assert all((entry.get(f"{encoder}_grad_norm", 0) > 0) == tuned for entry in logged)


def test_an_encoder_of_an_unknown_family_trains_by_its_own_code(tmp_path):
    """Whole, or with LoRA where its user names the modules."""
    named, trained = encoders(tmp_path, UNKNOWN), []
    for tuning in ("frozen", "lora", "full"):
        targets = {"lora_targets": ["q_proj", "v_proj"]} if tuning == "lora" else {}
        run(recorded_recipe(tmp_path, tuning, **named, **targets, modality="audio", speech_tuning=tuning))
        metrics = json.loads((tmp_path / tuning / "small" / "seed-1" / "session-1" / "metrics.json").read_text())
        trained.append(metrics["parameters"]["trained"])
    assert trained[0] < trained[1] < trained[2]


def losses(folder):
    """The training loss of each epoch of the run that tests session 1."""
    (history,) = folder.glob("*/seed-1/session-1/history.json")
    return [entry["loss"] for entry in json.loads(history.read_text()) if "loss" in entry]


@pytest.mark.parametrize(
    ("speech", "dtype"),
    [
        ("wavlm", "float32"),
        ("wavlm", "float16"),
        ("w2v-bert", "float32"),
        ("emotion2vec", "float32"),
        ("emotion2vec", "float16"),
    ],
)
def test_stored_states_below_give_the_losses_of_all_layers(tmp_path, speech, dtype):
    """Of both encoders, whole way and stored half way: the same order, the same draws, the same losses."""
    fields = {
        **encoders(tmp_path, speech),
        **{f"{of}_tuning": "lora" for of in ("speech", "text")},
        **{f"{of}_tuned_layers": 1 for of in ("speech", "text")},
        "evaluation_mode": "loso",
        "num_epochs": 2,
        "validation_fraction": 0.5,
        "store_dtype": dtype,
        "fusion_type": "concat",
    }
    if dtype == "float16":  # at the rates of a tiny model, Adam makes of a last digit another course within an epoch
        fields |= {"learning_rate": 1e-4, "speech_learning_rate": 1e-4, "text_learning_rate": 1e-4}
    for name, store in (("stored", True), ("whole", False)):
        run(recorded_recipe(tmp_path, name, recordings(16), store_frozen_layers=store, **fields))
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


# ---- what goes with it ----------------------------------------------------------------------------------------------


def test_floors_read_the_mean_states_of_the_frozen_encoder(tmp_path, named):
    """Beside a tuned encoder and a frozen one the same floor: of the last layer, as it was loaded."""
    experiments = [{"name": "tuned", "speech_tuning": "lora"}, {"name": "frozen", "speech_layers": "mean"}]
    fields = {**named, "floors": True, "modality": "audio", "num_epochs": 1}
    run(recorded_recipe(tmp_path, "made", experiments=experiments, **fields))
    results = json.loads((tmp_path / "made" / "results.json").read_text())
    tuned, frozen = (entry["floors"]["corpora"]["sounds"]["voice"] for entry in results["experiments"])
    assert tuned == frozen and 0 < tuned["uar"]["pooled"] <= 1


def test_the_final_model_reads_recordings(tmp_path, named):
    recipe = recorded_recipe(tmp_path, "made", **named, speech_tuning="lora", modality="audio", max_seconds=0.2)
    run(recipe)
    (settings,) = load_recipe(recipe).experiments
    folder = train_final_model(*job.plan_experiment(settings, tmp_path / "made"))
    model = AutoModel.from_pretrained(folder / "model")
    assert not any("lora" in name for name in model.state_dict())
    with torch.no_grad():
        logits = model(input_values=torch.zeros(1, 4000), attention_mask=torch.ones(1, 4000)).logits
    assert logits.shape == (1, 4) and logits.isfinite().all()


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"speech_tuning": "last_k", "speech_tuned_layers": 4}, ["speech_tuned_layers is 4", "has 3 layers"]),
        ({"speech_tuning": "lora", "speech_tuned_layers": 9}, ["speech_tuned_layers is 9", "has 3 layers"]),
        ({"speech_tuning": "lora", "lora_targets": ["q_prj"]}, ["lora_targets", "'q_prj'", "q_proj"]),
        ({"speech_tuning": "last_k", "speech_tuned_layers": 1, "speech_layers": [1]}, ["[1]", "all that is read"]),
        ({"speech_layers": [5]}, ["speech_layers holds 5", "layers 0-3"]),
        ({"audio_dim": 768}, ["audio_dim is 768", "16 wide"]),
        ({"max_seconds": 0.02}, ["max_seconds is 0.02", "makes no frame"]),
        ({"speech_model_name": "nowhere/wavlm"}, ["speech_model_name", "nowhere/wavlm"]),
        (
            {"modality": "text", "text_tuning": "last_k", "text_tuned_layers": 3},
            ["text_tuned_layers is 3", "2 layers"],
        ),
        ({"modality": "text", "text_layers": [0, 7]}, ["text_layers holds 7", "layers 0-2"]),
        ({"modality": "text", "text_tuning": "lora", "lora_targets": ["q_proj"]}, ["lora_targets", "query"]),
    ],
)
def test_what_an_encoder_does_not_have_is_named_before_training(tmp_path, named, fields, parts):
    recipe = recorded_recipe(tmp_path, "wrong", **{**named, "modality": "audio", "speech_tuning": "full", **fields})
    for dry_run in (True, False):
        if dry_run and "speech_model_name" in fields:
            continue  # a plan goes on without, and says so
        with pytest.raises(InputError) as caught:
            job.run(load_recipe(recipe), dry_run=dry_run)
        for part in parts:
            assert part in str(caught.value)
    assert not (tmp_path / "wrong").exists()


def test_recordings_that_do_not_do_are_named_before_training(tmp_path, named):
    table = recordings(8)
    short = table.set_column(1, "audio", [[as_wav(300), *table["audio"].to_pylist()[1:]]])
    lacking = table.set_column(1, "audio", [[*table["audio"].to_pylist()[:3], None, *table["audio"].to_pylist()[4:]]])
    features = table.drop_columns(["audio"]).append_column("audio_features", [[[0.1] * 16] * 8])
    for name, given, parts in (
        ("short", short, ["'row-0'", "0.019 s", "at least 0.1 s"]),
        ("lacking", lacking, ["row-3", "no voice"]),
        ("features", features, ["sounds"]),
    ):
        recipe = recorded_recipe(tmp_path, name, given, **{**named, "modality": "audio", "speech_tuning": "full"})
        with pytest.raises(InputError) as caught:
            job.run(load_recipe(recipe), dry_run=True)
        for part in parts:
            assert part in str(caught.value), str(caught.value)


def test_an_encoder_that_makes_no_frames_of_a_recording_is_named(tmp_path, named, monkeypatch):
    monkeypatch.setattr(SpeechEncoder, "frames_of", lambda _, samples: samples // 4000)
    recipe = recorded_recipe(tmp_path, "coarse", **{**named, "modality": "audio"})
    with pytest.raises(InputError, match=r"row 'sounds row-\d+' has a recording of 0.1\d\d s, of which .* no frame"):
        job.run(load_recipe(recipe), dry_run=True)


@pytest.mark.parametrize("kind", ["lora", "states"])
def test_accumulated_batches_are_one_large_batch(tmp_path, named, kind):
    """With class weights and padding, in steps of all 12 rows: the weights of tuned encoders to 1e-6."""
    fields = {**named, "class_weights": "balanced", "fusion_type": "concat", "dropout": 0.0, "feature_noise": 0.0}
    fields |= {"modality_dropout": 0.0, "store_dtype": "float32", "num_epochs": 2, "save_seconds": 0.0}
    fields |= {"speech_tuning": "lora", "text_tuning": "last_k", "text_tuned_layers": 1, "max_grad_norm": 0.0}
    fields |= {"optim": "sgd", "speech_learning_rate": 0.1, "text_learning_rate": 0.1, "lr_scheduler": "constant"}
    fields |= {"store_frozen_layers": kind == "states"}
    still = {name: still_copy(path, tmp_path / name) for name, path in named.items()}
    for name, size, steps in (("large", 12, 1), ("parts", 3, 4)):
        more = {"batch_size": size, "gradient_accumulation_steps": steps, "validation": "random"}
        run(recorded_recipe(tmp_path, name, **{**fields, **still, **more}))
    one, two = (
        run_files(tmp_path / name / "small" / "seed-1" / "session-1")["weights"] for name in ("large", "parts")
    )
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, atol=1e-6, err_msg=key)
