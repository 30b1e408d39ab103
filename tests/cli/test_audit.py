"""`emomm audit`: recipes, corpora and manifests, from the command line."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_manifests import emobox

from emomm.cli.main import main
from emomm.recordings import waveform_store

SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """EmoDB's ten speakers, four emotions and four sentences, as its release names them."""
    folder = tmp_path_factory.mktemp("release") / "EmoDB" / "wav"
    folder.mkdir(parents=True)
    for number, (who, code, label) in enumerate(product(SPEAKERS, ("a01", "a04", "b02", "b03"), "WNFT")):
        noise = np.random.default_rng(number).normal(size=1600 + 7 * number) / 10
        soundfile.write(folder / f"{who}{code}{label}a.wav", noise, 16_000)
    return folder.parent


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(waveform_store, "user_store", lambda name: tmp_path / "store")
    monkeypatch.chdir(tmp_path)


def folds(folder: Path, release: Path, disjoint: bool) -> Path:
    """Five folds in EmoBox's layout: by recording, or by speaker."""
    ids = sorted(path.stem for path in (release / "wav").iterdir())
    places = [SPEAKERS.index(name[:2]) // 2 if disjoint else number % 5 for number, name in enumerate(ids)]
    made = {
        fold + 1: {
            part: [name for name, place in zip(ids, places, strict=True) if (place == fold) == (part == "test")]
            for part in ("train", "test")
        }
        for fold in range(5)
    }
    return emobox(folder, made)


def test_shared_speakers_in_the_folds_of_emobox(release, tmp_path, capsys):
    place = folds(tmp_path, release, disjoint=False)
    assert main(["audit", str(place), "--corpus", f"EmoDB={release}", "--strict"]) == 1
    shown = capsys.readouterr().out
    assert "problem: speakers: 10 of 10 tested speakers have training or validation rows, in 5 of 5 folds" in shown
    file = Path(shown.split()[-1])
    page = file.read_text(encoding="utf-8")
    assert "10 of 10 tested speakers" in page and "What two parts share" in page
    figures = sorted(path.name for path in (file.parent / "figures").glob("*.png"))
    assert figures == ["classes.png", "durations.png", "speakers.png"]
    # 32 of the 160 recordings of each fold are tested, one of each four labels after the other.
    assert "; ".join(f"fold-{fold}: test 10 speakers, 10 trained on too" for fold in ("1", "2")) in page
    assert "test: neutral 25%, happy 25%, sad 25%, anger 25%." in page
    table = (file.parent / "tables/durations.csv").read_text().splitlines()
    assert table[0].startswith("class,unit,5 %,25 %,median") and table[1].startswith("neutral,seconds,0.1")


def test_disjoint_folds_pass(release, tmp_path, capsys):
    place = folds(tmp_path, release, disjoint=True)
    assert main(["audit", str(place), "--corpus", f"EmoDB={release}", "--strict", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["problems"] == 0 and told["rows"] == 160 and len(told["pairs"]) == 15
    tested = [pair for pair in told["pairs"] if pair["parts"][1] == "test"]
    assert all(pair["speakers"] == [] for pair in tested)
    assert {part["part"] for part in told["parts"]} == {"training", "validation", "test"}


def test_a_release_folder_and_a_recipe(release, tmp_path, capsys):
    assert main(["audit", str(release), "--brief"]) == 0
    said = capsys.readouterr().out
    assert "EmoDB: 160 rows: no problem found." in said
    assert "to know: folds: EmoDB has no split of its own: rows alone are looked at, no folds" in said
    generator = {"rows": 120, "speakers": 4, "sessions": 2, "audio_dim": 32}
    recipe = {"train_dataset": "mine", "corpora": {"mine": {"generator": generator}}, "validation": "random"}
    recipe["experiments"] = [{"name": "voice", "modality": "audio"}, {"name": "both"}]
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    assert main(["audit", "recipe.json", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["voice", "both"]
    assert main(["audit", "mine", "--recipe", "recipe.json", "--output", "page"]) == 0
    assert "mine: 120 rows" in capsys.readouterr().out and (tmp_path / "page/report.html").exists()
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"evaluation_mode": "published"}))
    assert main(["audit", "recipe.json"]) == 2  # as a job refuses it
    assert "mine has no split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["folds.csv"], "say whose utterances it names"),
        (["other.json", "--recipe", "synthetic"], "other.json is a recipe itself"),
        (["RAVDESS"], "nothing says where"),
        (["."], "is no release folder that is known"),
        (["nothing"], "nothing"),
    ],
)
def test_wrong_arguments(arguments, said, capsys):
    assert main(["audit", *arguments]) == 2
    assert said in capsys.readouterr().err
