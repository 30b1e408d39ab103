"""Databases in audformat: with the library, where it is installed, and what is said where it isn't."""

import sys

import pytest
import soundfile

from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError
from emomm.recordings.recorded_corpus import load_recorded_corpus
from emomm.recordings.recordings import read_input


@pytest.fixture
def database(tmp_path):
    """Three recordings: two tables with a split each hold the emotion, a third one speakers and words."""
    audformat = pytest.importorskip("audformat", reason="audformat isn't installed")
    import numpy as np
    import pandas as pd

    made = audformat.Database("mini", license="CC-BY-4.0")
    made.schemes["emotion"] = audformat.Scheme(labels=["anger", "joy"])
    made.schemes["gender"] = audformat.Scheme(labels=["female", "male"])
    people = made["speakers"] = audformat.MiscTable(pd.Index(["a", "b"], name="speaker", dtype="string"))
    people["gender"] = audformat.Column(scheme_id="gender")
    people["gender"].set(["female", "male"])
    made.schemes["speaker"] = audformat.Scheme("str", labels="speakers")
    made.schemes["transcription"] = audformat.Scheme("str", labels={"s1": "Hallo Welt", "s2": "Nein"})
    files = [f"wav/{number}.wav" for number in (1, 2, 3)]
    for split, some, labels in (("train", files[:2], ["anger", "joy"]), ("test", files[2:], ["joy"])):
        made.splits[split] = audformat.Split(split)
        table = made[f"emotion.{split}"] = audformat.Table(audformat.filewise_index(some), split_id=split)
        table["emotion"] = audformat.Column(scheme_id="emotion")
        table["emotion"].set(labels)
    table = made["files"] = audformat.Table(audformat.filewise_index(files))
    for name, values in (("speaker", ["a", "b", "a"]), ("transcription", ["s1", "s2", "s1"])):
        table[name] = audformat.Column(scheme_id=name)
        table[name].set(values)
    made.save(str(tmp_path / "mini"))
    (tmp_path / "mini/wav").mkdir()
    for number, file in enumerate(files):
        noise = np.random.default_rng(number).normal(size=3200) / 10
        soundfile.write(tmp_path / "mini" / file, noise, 16_000)
    return tmp_path / "mini"


def test_rows(database):
    found = read_input(str(database))
    rows = {row["utterance_id"]: row for row in found.columns.to_pylist()}
    keys = ("label", "speaker", "gender", "transcript", "split")
    told = {name: tuple(row[key] for key in keys) for name, row in rows.items()}
    assert told == {
        "wav/1": ("anger", "a", "female", "Hallo Welt", "train"),
        "wav/2": ("joy", "b", "male", "Nein", "train"),
        "wav/3": ("joy", "a", "female", "Hallo Welt", "test"),
    }
    assert any(note.startswith("its licence: CC-BY-4.0") for note in found.notes) and found.name == "mini"
    assert read_input(str(database), "test").ids == ["wav/3"]
    with pytest.raises(InputError, match="has no split 'dev'; its splits: test, train"):
        read_input(str(database), "dev")


def test_as_a_corpus(database, tmp_path):
    spec = CorpusSpec.from_dict("mini", {"path": str(database), "classes": ["happy", "anger"]})
    corpus = load_recorded_corpus(spec, store_dir=tmp_path / "store")
    assert sorted(corpus.labels[label] for label in corpus.label_ids) == ["anger", "happy", "happy"]
    assert sorted(set(corpus.speakers)) == ["mini/a", "mini/b"] and corpus.audio.length.tolist() == [3200] * 3


def test_without_the_library(tmp_path, monkeypatch):
    (tmp_path / "db.yaml").write_text("name: mini\n")
    monkeypatch.setitem(sys.modules, "audformat", None)
    with pytest.raises(InputError, match="is a database in audformat: install its library .* pip install audformat"):
        read_input(str(tmp_path))


def test_a_broken_header(tmp_path):
    pytest.importorskip("audformat", reason="audformat isn't installed")
    (tmp_path / "db.yaml").write_text("name: [\n")
    with pytest.raises(InputError, match="cannot read .*db.yaml"):
        read_input(str(tmp_path))
