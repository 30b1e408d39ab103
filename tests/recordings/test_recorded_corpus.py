"""A corpus of recordings in the one schema: from whatever extraction reads, with the checks of any corpus."""

import csv
import json
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from release_folders_made import iemocap

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.places import NotThere
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError
from emomm.recordings.recorded_corpus import EXTRACTOR
from emomm.recordings.recorded_corpus import load_recorded_corpus

RATE = 16000
LABELS = ["neutral", "happy", "sad", "anger"]


def sound(i, seconds=None):
    return (np.random.default_rng(i).normal(size=round((seconds or 0.2 + i / 50) * RATE)) * 3000).astype(np.int16)


@pytest.fixture
def folder(tmp_path):
    """Eight recordings of two speakers, and a table of them."""
    place = tmp_path / "corpus"
    place.mkdir()
    with open(place / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "speaker", "session", "label", "transcript", "valence"])
        for i in range(8):
            soundfile.write(place / f"{i}.wav", sound(i), RATE)
            writer.writerow([f"{i}.wav", i % 2, 1 + i // 4, LABELS[i % 4], f"words {i}", 1 + i % 5])
    return place


def load(folder, path, **fields):
    return load_recorded_corpus(CorpusSpec("own", path=str(path), **fields), store_dir=folder / "store")


def test_an_audio_folder(folder, tmp_path):
    corpus = load(tmp_path, folder)
    assert corpus.labels == LABELS and corpus.label_ids.tolist() == [0, 1, 2, 3] * 2
    assert corpus.speakers.tolist() == ["own/0", "own/1"] * 4
    assert corpus.sessions.tolist() == ["1"] * 4 + ["2"] * 4
    assert corpus.utterance_ids.tolist() == [str(i) for i in range(8)]
    assert corpus.transcripts[3] == "words 3" and corpus.vad[3, 0] == 4
    for i in range(8):
        np.testing.assert_array_equal(corpus.audio[i][:, 0], sound(i))
    assert corpus.recordings.shape == (8, 16) and len(np.unique(corpus.recordings, axis=0)) == 8
    assert corpus.spec.extractor == EXTRACTOR and corpus.spec.speech_encoder is None
    assert "audio_features" not in corpus.dataset.column_names
    assert corpus.card()["hours"] == round(sum(len(sound(i)) for i in range(8)) / RATE / 3600, 3)
    some = corpus.select(np.array([5, 2]))
    np.testing.assert_array_equal(some.audio[1][:, 0], sound(2))
    np.testing.assert_array_equal(some.recordings, corpus.recordings[[5, 2]])


def as_parquet(folder, audio, **columns):
    table = pa.table({"audio": audio, "label": LABELS * 2, "speaker": ["a", "b"] * 4, **columns})
    pq.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"


def test_the_same_recordings_from_anywhere(folder, tmp_path):
    """Audio columns with bytes, of saved data sets, tables with paths: the same samples, the same keys."""
    given = load(tmp_path, folder)
    contents = [{"bytes": (folder / f"{i}.wav").read_bytes(), "path": None} for i in range(8)]
    parquet = load(tmp_path, as_parquet(tmp_path, contents))
    saved = datasets.Dataset.from_dict({"audio": contents, "emotion": LABELS * 2, "speaker": ["a", "b"] * 4})
    saved.save_to_disk(tmp_path / "saved")
    rows = [{"path": f"corpus/{i}.wav", "label": LABELS[i % 4], "speaker": "a"} for i in range(8)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for corpus in (parquet, load(tmp_path, tmp_path / "saved"), load(tmp_path, tmp_path / "rows.jsonl")):
        np.testing.assert_array_equal(corpus.recordings, given.recordings)
        np.testing.assert_array_equal(corpus.label_ids, given.label_ids)
        for i in range(8):
            np.testing.assert_array_equal(corpus.audio[i], given.audio[i])


def test_names_maps_and_rules_are_those_of_the_spec(folder, tmp_path):
    """Also of columns that the schema has names for, and would be called otherwise."""
    text = (folder / "metadata.csv").read_text().splitlines()
    lines = [f"{text[0]},EmoClass", *(f"{line},{'xyz'[i % 3]}" for i, line in enumerate(text[1:]))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    corpus = load(
        tmp_path,
        folder,
        columns={"label": "EmoClass"},
        label_map={"x": "one", "y": "two"},
        dropped_labels=["z"],
        leave_out={"transcript": ["words 0"]},
        session_rule={"first": 0, "size": 1},
    )
    assert corpus.utterance_ids.tolist() == ["1", "3", "4", "6", "7"]
    assert corpus.label_ids.tolist() == [1, 0, 1, 0, 1] and corpus.sessions.tolist() == ["2", "2", "1", "1", "2"]
    np.testing.assert_array_equal(corpus.audio[3][:, 0], sound(6))


def test_a_release_folder_under_its_name(tmp_path):
    root = iemocap(tmp_path / "release")
    for i, file in enumerate(sorted(each for each in root.rglob("*") if each.suffix.lower() == ".wav")):
        soundfile.write(file, sound(i), RATE, format="WAV")
    corpus = load_recorded_corpus(replace(BUILTIN["IEMO"], path=str(root)), store_dir=tmp_path / "store")
    assert len(corpus) and set(corpus.labels) == set(LABELS) and corpus.audio.length.all()
    assert "features" not in corpus.spec.required and corpus.spec.audio_dim is None


def test_what_it_is_known_by(folder, tmp_path):
    """The fingerprint follows the recordings' content and what is said of them, and not where they lie."""
    first = load(tmp_path, folder).fingerprint
    folder.rename(tmp_path / "moved")
    assert load(tmp_path / "other", tmp_path / "moved").fingerprint == first
    soundfile.write(tmp_path / "moved" / "3.wav", sound(33), RATE)
    assert load(tmp_path, tmp_path / "moved").fingerprint != first
    soundfile.write(tmp_path / "moved" / "3.wav", sound(3), RATE)
    assert load(tmp_path, tmp_path / "moved").fingerprint == first
    floats = load_recorded_corpus(CorpusSpec("own", path=str(tmp_path / "moved")), (), tmp_path, "float32")
    assert floats.fingerprint != first and floats.audio.parts[0].dtype == np.float32


# ---- what is missing or can't be read


def test_recordings_that_cannot_be_read(folder, tmp_path):
    """By row, place and reason, with what to write; and that does it. Rows that don't stay are not read."""
    (folder / "1.wav").write_bytes(b"no audio")
    (folder / "2.wav").write_bytes((folder / "2.wav").read_bytes()[:60])
    soundfile.write(folder / "5.wav", sound(5, 0.05), RATE)
    with pytest.raises(InputError) as caught:
        load(tmp_path, folder)
    said = str(caught.value)
    assert said.startswith("corpus own: 3 of 8 recordings can't be read: row '1' (1.wav): ")
    assert "row '2' (2.wav)" in said and "too short: 0.050 s" in said and str(tmp_path) not in said
    assert said.endswith('mend them, or leave such rows out: "leave_out": {"features": [null]} in the corpus')
    corpus = load(tmp_path, folder, leave_out={"features": [None]})
    assert corpus.utterance_ids.tolist() == ["0", "3", "4", "6", "7"] and corpus.audio.length.all()
    assert any(note.startswith("3 of 8 rows left out by leave_out: without a recording") for note in corpus.notes)
    corpus = load(tmp_path, folder, leave_out={"utterance_id": ["1", "2", "5"]})
    assert len(corpus) == 5


def test_rows_without_a_recording_have_no_voice(folder, tmp_path):
    """Which a fusion may deal with; else they are refused by name, as rows without features are."""
    contents = [{"bytes": (folder / f"{i}.wav").read_bytes(), "path": None} if i % 3 else None for i in range(8)]
    corpus = load(tmp_path, as_parquet(tmp_path, contents))
    assert (corpus.audio.length > 0).tolist() == [bool(i % 3) for i in range(8)]
    assert not corpus.recordings[[0, 3, 6]].any() and "3 of 8 rows have no recording" in corpus.notes
    rows = [{"path": f"corpus/{i}.wav" if i % 3 else "", "label": LABELS[i % 4], "speaker": "a"} for i in range(8)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    other = load(tmp_path, tmp_path / "rows.jsonl")
    np.testing.assert_array_equal(other.recordings, corpus.recordings)
    assert len(load(tmp_path, tmp_path / "rows.jsonl", leave_out={"features": [None]})) == 5


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("emodb", {}, "corpus emodb: .* has no column of recordings; its columns: "),
        ("synthetic", {}, "corpus synthetic: it is generated without recordings: set voice_input to features"),
        ("IEMO", {"path": "nowhere"}, "corpus IEMO: there is no nowhere; give a folder or a file with recordings"),
        ("emodb", {"path": None}, r"corpus emodb: nothing says where its recordings lie; give a path, or --corpus"),
    ],
)
def test_a_corpus_without_recordings(tmp_path, name, fields, said):
    with pytest.raises(InputError, match=said) as caught:
        load_recorded_corpus(replace(BUILTIN[name], **fields), store_dir=tmp_path)
    assert isinstance(caught.value, NotThere) == (name == "IEMO")


def test_the_variant_with_recordings_on_the_hub(folder, tmp_path, monkeypatch):
    """`hub_id_audio`, at the revision of the spec; and a Hub that doesn't answer is said as for features."""
    asked = []

    def load_dataset(name, split, revision):
        asked.append((name, split, revision))
        if name == "cairocode/samsemo_audio":
            raise ConnectionError("no network")
        contents = [{"bytes": (folder / f"{i}.wav").read_bytes(), "path": None} for i in range(8)]
        return datasets.Dataset.from_dict({"audio": contents, "label": [0, 1, 2, 3] * 2, "speaker": [1, 2, 3, 4] * 2})

    monkeypatch.setattr("emomm.recordings.data_sets.datasets.load_dataset", load_dataset)
    monkeypatch.setattr("emomm.recordings.data_sets.reach_hub", lambda name: None)
    corpus = load_recorded_corpus(replace(BUILTIN["IEMO"], revision="v2"), store_dir=tmp_path)
    assert asked == [("cairocode/IEMO_Audio_Text_Merged", "train", "v2")]
    assert corpus.label_ids.tolist() == [0, 1, 2, 3] * 2 and corpus.sessions.tolist() == ["1", "1", "2", "2"] * 2
    np.testing.assert_array_equal(corpus.audio[4][:, 0], sound(4))
    with pytest.raises(NotThere, match="corpus SAMSEMO: .*no network.*--corpus SAMSEMO=PATH"):
        load_recorded_corpus(BUILTIN["SAMSEMO"], store_dir=tmp_path)
