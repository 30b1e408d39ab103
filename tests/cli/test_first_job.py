"""The whole path of a new user: an empty folder, a release folder, three lines of a recipe, a report."""

import json
from itertools import product

import numpy as np
import pytest
import soundfile

from emomm.cli.main import main
from emomm.corpora.releases import sentences
from emomm.features import speech_states
from emomm.recordings import waveform_store

PITCH = {"W": 900, "N": 300, "F": 600, "T": 150, "L": 200}


@pytest.fixture
def release(tmp_path, monkeypatch):
    """Recordings named as EmoDB's, whose emotion is a pitch: of each actor, two sentences in five emotions."""
    for module in (waveform_store, speech_states):
        monkeypatch.setattr(module, "user_store", lambda name: tmp_path / "stores" / name)
    generator = np.random.default_rng(0)
    people = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    (tmp_path / "EmoDB" / "wav").mkdir(parents=True)
    for who, code, label in product(people, list(sentences.EMODB)[:2], PITCH):
        time = np.arange(4800) / 16_000
        samples = 0.2 * np.sin(2 * np.pi * PITCH[label] * time) + 0.02 * generator.normal(size=len(time))
        soundfile.write(tmp_path / f"EmoDB/wav/{who}{code}{label}a.wav", samples, 16_000)
    return tmp_path / "EmoDB"


def test_from_a_release_folder_to_a_report(release, tmp_path, monkeypatch, capsys):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    recipe = {"train_dataset": "EmoDB", "voice_input": "recording", "modality": "audio"}
    (tmp_path / "work/emodb.json").write_text(json.dumps(recipe))
    arguments = ["run", "emodb.json", "--corpus", f"EmoDB={release}", "--speech_model_name", "random:tiny-wavlm"]
    assert main([*arguments, "--seeds", "1", "--num_epochs", "4"]) == 0
    shown = capsys.readouterr()
    assert shown.out.endswith("runs/emodb/report/report.html\n")
    page = (tmp_path / "work/runs/emodb/report/report.html").read_text(encoding="utf-8")
    assert "not the whole release: 100 of 535 recordings" in page and "CC0-1.0" in page
    results = json.loads((tmp_path / "work/runs/emodb/results.json").read_text())
    (experiment,) = results["experiments"]
    assert [run["fold"] for run in experiment["runs"]] == [f"session-{number}" for number in range(1, 6)]
    assert experiment["summary"]["EmoDB"]["uar"]["pooled"] > 0.5  # four classes; the pitch tells
