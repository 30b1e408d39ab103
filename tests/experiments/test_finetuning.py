"""Runs that read recordings and tune encoders: every tuning trains, resumes to the last bit, and sees no test row."""

import json

import pytest
from made_recordings import encoders
from made_recordings import recorded_recipe

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
    results = json.loads((tmp_path / "made" / "results.json").read_text())
    (experiment,) = results["experiments"]
    assert [run["status"] for run in experiment["runs"]] == ["done", "done"]
