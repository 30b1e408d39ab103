"""Whole jobs on recordings: killed anywhere they end with the same bits, and the test rows shape none of them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from forked import finish
from forked import start
from made_recordings import encoders
from made_recordings import recorded_recipe
from made_recordings import recordings
from small_jobs import assert_same_run
from small_jobs import kill_at
from small_jobs import run_files

from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.experiments import job
from emomm.experiments.run import RunFailed
from emomm.experiments.training import Experiment
from emomm.features import mapped_store
from emomm.features import speech_states
from emomm.recordings import waveform_store
from emomm.settings.recipe import load_recipe

# Everything that draws: windows, augmentation, SpecAugment, layer drop, dropout, adapters, pools.
DRAWS = {
    "modality": "audio",
    "speech_tuning": "lora",
    "lora_dropout": 0.2,
    "max_seconds": 0.2,
    "max_eval_seconds": 0.3,
    "augment_noise_snr": [5, 20],
    "augment_speed": [0.9, 1.1],
    "spec_augment": 0.2,
    "layer_drop": 0.3,
    "dropout": 0.2,
    "use_curriculum_learning": True,
    "curriculum_type": "model_confidence",
    "curriculum_epochs": 2,
    "num_epochs": 3,
    "save_seconds": 0.0,
}
# On stored states, what is drawn for features and states.
DRAWS_ON_STATES = {
    "modality": "audio",
    "speech_tuning": "last_k",
    "speech_tuned_layers": 1,
    "augment_mixup": 0.4,
    "augment_time_mask": 0.2,
    "dropout": 0.2,
    "num_epochs": 3,
    "save_seconds": 0.0,
}
STEPS = 3  # an epoch's


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return encoders(tmp_path_factory.mktemp("encoders"))


def killed(recipe, when):
    """In a process of its own: the job, killed at a step, or while the recordings are decoded."""
    if when == "decoding":
        waveform_store._FLUSH_BYTES = 0
        seen = []
        kill_at(waveform_store, "stored_samples", lambda *_: len(seen) == 10 or seen.append(1))
    else:
        kill_at(CurriculumTrainer, "training_step", lambda trainer, *_: trainer.state.global_step == when)
    job.run(load_recipe(recipe))


@pytest.mark.parametrize(
    ("draws", "kills"), [(DRAWS, ("decoding", STEPS + 1)), (DRAWS_ON_STATES, (STEPS + 1,))], ids=["samples", "states"]
)
def test_a_job_killed_again_and_again_ends_bit_for_bit_the_same(tmp_path, named, draws, kills):
    """While it decodes, and within an epoch."""
    # The same folder of states: what was decoded before the kill is gone on from.
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    recipe = recorded_recipe(tmp_path / "killed", "out", **named, **draws)
    for when in kills:
        assert finish(start(killed, str(recipe), when)) == -9
    assert job.run(load_recipe(recipe)).failed == []
    whole = recorded_recipe(tmp_path / "whole", "out", **named, **draws)
    assert job.run(load_recipe(whole)).failed == []
    for run in sorted((tmp_path / "whole" / "out").glob("*/seed-1/*")):
        assert_same_run(run, Path(str(run).replace("/whole/", "/killed/")))
    (entry,) = json.loads((tmp_path / "whole" / "out" / "results.json").read_text())["experiments"]
    in_windows = any("longer than max_eval_seconds (0.3 s): they are validated" in note for note in entry["notes"])
    assert in_windows == (draws is DRAWS)
    history = json.loads((next((tmp_path / "whole").glob("out/*/seed-1/*")) / "history.json").read_text())
    assert all(0 <= entry["padding"] < 0.5 for entry in history if "padding" in entry)


FOUR = [
    {"name": "last"},
    {"name": "weighted", "speech_layers": "weighted"},
    {"name": "last-k", "speech_tuning": "last_k", "speech_tuned_layers": 2},
    {"name": "lora", "speech_tuning": "lora", "speech_tuned_layers": 2},
]


def killed_encoding(recipe, number):
    mapped_store._FLUSH_BYTES = 0
    seen = []
    kill_at(speech_states, "encoded", lambda *_: len(seen) == number or seen.append(1))
    job.run(load_recipe(recipe))


def read_only(experiment, run):
    """In place of training: what a run reads."""
    _ = experiment.inputs.lower_states, experiment.inputs.vectors("audio")
    raise RunFailed("not trained")


def stored(folder):
    """What a folder of states holds: by store and key, the bytes."""
    found = {}
    for path in folder.glob("speech-*/*.arrow"):
        keys, lengths, values = mapped_store.read_part(path)
        parts = np.split(values, np.cumsum(lengths)[:-1])
        found |= {(path.parent.name, key): part.tobytes() for key, part in zip(keys, parts, strict=True)}
    return found


def test_a_job_encodes_each_recording_once_for_all_its_experiments(tmp_path, named, monkeypatch):
    """And their floors; killed on the way it goes on; what is stored is what each experiment alone would have."""
    runs, original = [], speech_states.encoded
    monkeypatch.setattr(speech_states, "encoded", lambda *args: runs.append(1) or original(*args))
    fields = {**named, "modality": "audio", "num_epochs": 1, "floors": True}
    (tmp_path / "four").mkdir()
    recipe = recorded_recipe(tmp_path / "four", "out", **fields, experiments=FOUR)
    assert finish(start(killed_encoding, str(recipe), 10)) == -9
    monkeypatch.setattr(Experiment, "train", read_only)
    for _ in range(2):
        assert len(job.run(load_recipe(recipe)).failed) == 2 * len(FOUR)
        assert len(runs) == 32 - 10
    alone = {}
    for each in FOUR[:3]:
        (tmp_path / each["name"]).mkdir()
        alone_recipe = recorded_recipe(tmp_path / each["name"], "out", **fields, experiments=[each])
        (settings,) = load_recipe(alone_recipe).experiments
        experiment, _ = job.plan_experiment(settings, tmp_path / each["name"] / "out")
        experiment.inputs.mean_states()
        _ = experiment.inputs.lower_states, experiment.inputs.vectors("audio")
        alone |= stored(tmp_path / each["name"] / "store")
    found = stored(tmp_path / "four" / "store")
    assert found == alone
    assert len(found) == 3 * 32  # the mean states of the last layer are what the floors read, too


@pytest.mark.parametrize("tuning", ["lora", "last_k"])
def test_test_rows_change_no_bit_of_what_is_trained(tmp_path, named, tuning):
    """With noise and other words in their place; with states that are stored for both, and with windows."""
    fields = {**named, "num_epochs": 1, "speech_tuning": tuning, "speech_tuned_layers": 1}
    fields |= {**DRAWS, "speech_tuning": "lora", "num_epochs": 1} if tuning == "lora" else {}
    for name, noise in (("given", None), ("noise", 1)):
        (tmp_path / name).mkdir()
        recipe = recorded_recipe(tmp_path / name, "out", recordings(noise=noise), **{**fields, "modality": "both"})
        assert job.run(load_recipe(recipe)).failed == []
    weights = [
        run_files(next((tmp_path / name).glob("out/*/seed-1/session-1")))["weights"] for name in ("given", "noise")
    ]
    assert weights[0].keys() == weights[1].keys() and len(weights[0]) > 20
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


# ---- what can't be trained, before anything is ----------------------------------------------------------------------


def changed(change) -> pa.Table:
    table = recordings()
    audio = table["audio"].to_pylist()
    change(audio)
    return table.set_column(table.column_names.index("audio"), "audio", pa.array(audio, table["audio"].type))


def unreadable(audio):
    audio[3]["bytes"] = b"no sound"


def missing(audio):
    audio[3] = audio[5] = None


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("change", "fields", "said"),
    [
        (unreadable, {}, r"corpus sounds: 1 of 32 recordings can't be read: row 'row-3' \(row-3.wav\): .*leave_out"),
        (missing, {"modality": "audio"}, "sounds row 'row-3' has no voice, and modality is audio"),
        (
            missing,
            {"fusion_type": "cross_attention"},
            r"sounds row 'row-3' has no voice \(2 such rows\), and fusion_t",
        ),
    ],
)
def test_recordings_missing_for_some_rows_are_named_before_training(tmp_path, named, change, fields, said, dry_run):
    recipe = recorded_recipe(tmp_path, "out", changed(change), **{**named, **fields})
    with pytest.raises(InputError, match=said):
        job.run(load_recipe(recipe), dry_run=dry_run)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tuning", [{}, {"speech_tuning": "last_k", "speech_tuned_layers": 1}, DRAWS])
def test_adaptive_fusion_takes_rows_without_a_recording(tmp_path, named, tuning):
    fields = {**named, **tuning, "modality": "both", "fusion_type": "adaptive", "num_epochs": 1}
    recipe = recorded_recipe(tmp_path, "out", changed(missing), **fields)
    assert job.run(load_recipe(recipe)).failed == []
    card = json.loads((tmp_path / "out" / "results.json").read_text())["experiments"][0]["corpora"][0]
    assert "2 of 32 rows have no recording" in card["notes"] and card["hours"] > 0


def test_equal_recordings_in_training_and_test_are_said(tmp_path, named):
    """By their samples, whatever file they come in."""

    def copied(audio):
        audio[1]["bytes"], audio[3]["bytes"] = audio[0]["bytes"], audio[2]["bytes"]

    recipe = recorded_recipe(tmp_path, "out", changed(copied), **named, num_epochs=1, modality="audio")
    assert job.run(load_recipe(recipe)).failed == []
    (entry,) = json.loads((tmp_path / "out" / "results.json").read_text())["experiments"]
    assert "of 32 test rows 4 (12.5%) share their recording (the same samples)" in entry["shared_rows"][0]
