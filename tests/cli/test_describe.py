"""`emomm describe`: from names and folders to numbers and a page."""

import base64
import io
import json
import wave
from itertools import product

import numpy as np
import pytest
import soundfile

from emomm.cli.main import main
from emomm.recordings import waveform_store


@pytest.fixture
def release(tmp_path, monkeypatch):
    """Twelve recordings named as EmoDB's: of two speakers, three emotions."""
    monkeypatch.setattr(waveform_store, "user_store", lambda name: tmp_path / "store")
    folder = tmp_path / "EmoDB"
    (folder / "wav").mkdir(parents=True)
    for number, (who, code, label) in enumerate(product(("03", "08"), "12", "WNL")):
        noise = np.random.default_rng(number).normal(size=3200 + 160 * number) / 10
        soundfile.write(folder / f"wav/{who}a0{code}{label}a.wav", noise, 16_000)
    return folder


def test_page_of_a_release_folder(release, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["describe", str(release), "--classes", "all", "--players", "1"]) == 0
    shown = capsys.readouterr().out
    assert "EmoDB: 12 rows, 0.00 hours, 2 speakers, 1 sessions, 7 classes: neutral 4, happy 0" in shown
    assert "note: not the whole release: 12 of 535 recordings; none of speaker 09, 10" in shown
    assert shown.endswith("described/emodb/report.html\n")
    page = (tmp_path / "described/emodb/report.html").read_text(encoding="utf-8")
    assert page.count("<audio controls") == 3 and "neutral, emodb/0" in page and "CC0-1.0" in page
    sound = page.partition("data:audio/wav;base64,")[2].partition('"')[0]
    with wave.open(io.BytesIO(base64.b64decode(sound))) as opened:
        assert opened.getframerate() == 16_000 and 3200 <= opened.getnframes() <= 3200 + 160 * 11
    assert (tmp_path / "described/emodb/tables/by_speaker.csv").read_text().startswith("speaker,rows,minutes,")


def test_json_of_a_named_corpus(release, capsys):
    assert main(["describe", "EmoDB", "--corpus", f"EmoDB={release}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["classes"] == {"neutral": 4, "happy": 0, "sad": 0, "anger": 4}
    assert told["transcripts"]["different"] == 2 and told["licence"] == "CC0-1.0"


def test_features_and_recipes(tmp_path, capsys):
    recipe = {"train_dataset": "mine", "corpora": {"mine": {"generator": {"rows": 80}}}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    arguments = ["describe", "mine", "--recipe", str(tmp_path / "recipe.json")]
    assert main([*arguments, "--output", str(tmp_path / "page")]) == 0
    assert "mine: 80 rows" in capsys.readouterr().out
    page = (tmp_path / "page/report.html").read_text(encoding="utf-8")
    assert "Valence, arousal, dominance" in page and "<audio controls" not in page


def test_splits_have_a_table(tmp_path, capsys):
    labels, parts = ["neutral", "happy", "sad", "anger"], ["train", "train", "dev", "test"]
    lines = ["utterance_id,speaker,emotion,text,partition"]
    lines += [f"u{i},{i % 5},{labels[i % 4]},word {i},{parts[i // 4 % 4]}" for i in range(32)]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    recipe = {"train_dataset": "mine", "corpora": {"mine": {"path": "mine.csv"}}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    arguments = ["describe", "mine", "--recipe", str(tmp_path / "recipe.json"), "--output", str(tmp_path / "page")]
    assert main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(shown) if line.startswith("split"))
    assert shown[start].split()[:3] == ["split", "rows", "speakers"]
    assert [line.split()[:3] for line in shown[start + 1 : start + 4]] == [
        ["dev", "8", "5"], ["test", "8", "5"], ["train", "16", "5"],
    ]  # fmt: skip
    assert (tmp_path / "page/tables/by_split.csv").read_text().splitlines()[1].startswith("dev,8,5")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["RAVDES"], "there is no corpus 'RAVDES'. Did you mean 'RAVDESS'?"),
        (["EmoDB"], "nothing says where"),
        (["synthetic", "--players", "-1"], "--players is -1, but must be at least 0"),
        (["synthetic", "--classes", "anger,glee"], "'glee' is no shared name"),
    ],
)
def test_wrong_arguments(arguments, said, capsys):
    assert main(["describe", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_is_no_release(tmp_path, capsys):
    assert main(["describe", str(tmp_path)]) == 2
    assert "is no release folder that is known" in capsys.readouterr().err
