"""From a folder, table, data set or release to recordings: which they are, what is said of them, where they lie."""

import json
import math
import os

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from release_folders_made import iemocap

from emomm.errors import InputError
from emomm.recordings.decoding import all_seconds
from emomm.recordings.decoding import decoded
from emomm.recordings.decoding import read_recording
from emomm.recordings.decoding import recording_seconds
from emomm.recordings.recordings import read_input
from emomm.waveforms import AudioError

RATE = 16000


def tone(seconds=0.5, hertz=437.3, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def audio(tmp_path):
    """Six recordings of growing length in two folders, one of them FLAC."""
    for i, name in enumerate(("a/1.wav", "a/2.wav", "b/1.wav", "b/2.flac", "b/2.wav", "top.ogg")):
        (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "audio" / name, tone((i + 1) / 10), RATE)
    return tmp_path / "audio"


def rows(found):
    return found.columns.to_pylist()


def column(found, name):
    return found.columns[name].to_pylist()


def lengths(found):
    return [round(read_recording(found, row).seconds, 3) for row in range(len(found))]


# ---- folders


def test_a_folder_of_audio(audio):
    """Sorted by path; ids without endings where that is enough; hidden files aside; links followed, once."""
    (audio / ".hidden.wav").touch()
    (audio / "notes.txt").touch()
    (audio / "b" / "round").symlink_to(audio)
    (audio.parent / "elsewhere").mkdir()
    soundfile.write(audio.parent / "elsewhere" / "far.WAV", tone(0.7), RATE)
    (audio / "linked").symlink_to(audio.parent / "elsewhere")
    found = read_input(str(audio))
    assert found.places == ["a/1.wav", "a/2.wav", "b/1.wav", "b/2.flac", "b/2.wav", "linked/far.WAV", "top.ogg"]
    assert found.ids == ["a/1", "a/2", "b/1", "b/2.flac", "b/2.wav", "linked/far", "top"]
    assert found.columns.column_names == ["utterance_id"] and found.name == "audio"
    assert lengths(found) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.6]
    assert found.notes == ["no speaker and no label: the features are for prediction; training needs both"]


@pytest.mark.parametrize("name", ["metadata.csv", "manifest.jsonl"])
def test_a_table_beside_the_files(audio, name):
    """By path, name or stem, whichever is enough; who is missing on either side is said."""
    told = [
        {"file_name": "a/1.wav", "speakerID": "03", "label": "happy", "EmoVal": "2.5", "text": "oh, well"},
        {"file_name": "./b/1", "speakerID": "08", "label": "sad", "EmoVal": "", "text": ""},
        {"file_name": "top.ogg", "speakerID": "08", "label": "sad", "EmoVal": "1", "text": "no"},
        {"file_name": "gone.wav", "speakerID": "09", "label": "sad", "EmoVal": "1", "text": "no"},
        {"file_name": "2", "speakerID": "09", "label": "sad", "EmoVal": "1", "text": "one of three"},
    ]
    if name.endswith("csv"):
        lines = [",".join(told[0]), *(",".join(f'"{value}"' for value in row.values()) for row in told)]
    else:
        lines = [json.dumps(row) for row in told]
    (audio / name).write_text("\n".join(lines) + "\n\n")
    found = read_input(str(audio))
    assert found.places == ["a/1.wav", "b/1.wav", "top.ogg"]
    assert column(found, "speaker") == ["03", "08", "08"] and column(found, "label") == ["happy", "sad", "sad"]
    assert column(found, "transcript") == ["oh, well", None, "no"] and column(found, "valence") == [2.5, None, 1.0]
    assert found.columns.column_names == ["utterance_id", "speaker", "label", "transcript", "valence"]
    assert lengths(found) == [0.1, 0.3, 0.6]
    assert found.notes == [
        f"3 of 6 recordings are not in {name} (such as a/2.wav), and are left out; an empty label in {name} takes "
        "them in",
        f"2 rows of {name} have no recording (such as 'gone.wav')",
    ]


def test_a_table_without_labels_leaves_no_file_out(audio):
    """Nothing trains on these features: all of them are wanted."""
    (audio / "metadata.csv").write_text("file,text\na/1.wav,oh\n")
    found = read_input(str(audio))
    assert len(found) == 6 and column(found, "transcript") == ["oh", *[None] * 5]
    assert found.notes[0] == "5 of 6 recordings are not in metadata.csv (such as a/2.wav)"


def test_a_table_beside_the_files_by_utterance_id(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone(), RATE)
    (tmp_path / "metadata.csv").write_text("utterance_id,label\nx,sad\n")
    assert rows(read_input(str(tmp_path))) == [{"utterance_id": "x", "label": "sad"}]
    (tmp_path / "metadata.csv").write_text("label\nsad\n")
    with pytest.raises(InputError, match="metadata.csv needs a column path, file"):
        read_input(str(tmp_path))
    (tmp_path / "metadata.csv").write_text("file,label\nx.wav,sad\nx.wav,happy\n")
    with pytest.raises(InputError, match="file 'x.wav' is given twice"):
        read_input(str(tmp_path))


def test_a_release_folder(tmp_path):
    """IEMOCAP as the lab ships it: the reader's rows, and its notes."""
    from emomm.corpora.releases.release_folders import read_release

    folder = iemocap(tmp_path / "IEMOCAP_full_release")
    release, found = read_release(folder), read_input(str(folder))
    assert found.ids == [row["utterance_id"] for row in release.rows]
    for name in ("speaker", "session", "label", "transcript", "gender", "style"):
        assert column(found, name) == [row[name] or None for row in release.rows], name
    np.testing.assert_array_equal(column(found, "valence"), [row["valence"] for row in release.rows])
    assert [folder / place for place in found.places] == [row["path"] for row in release.rows]
    assert found.notes[0].startswith("a release folder of IEMO") and set(release.notes) <= set(found.notes)
    assert found.name == folder.name and "path" not in found.columns.column_names


# ---- tables


def test_a_csv_with_paths(audio):
    """Relative to the table's folder, or absolute; text stays text; other columns come along."""
    lines = [
        "Path,Speaker,session,EMOTION,age,VALENCE,domination,gender,split,emotion2vec_features",
        "audio/a/1.wav,03,1,joy,31,4.5,,f,train,0.5 0.5",
        f"{audio}/b/2.flac,003,1,rage,32,,2,m,test,",
        "audio/none.wav,3.0,2,,,,,,,",
    ]
    table = audio.parent / "list.csv"
    table.write_text("\ufeff" + "\n".join(lines))
    found = read_input(str(table))
    assert found.places == ["audio/a/1.wav", "audio/b/2.flac", "audio/none.wav"]
    assert found.ids == ["audio/a/1", "audio/b/2", "audio/none"]
    assert column(found, "speaker") == ["03", "003", "3"] and column(found, "label") == ["joy", "rage", None]
    assert column(found, "valence") == [4.5, None, None] and column(found, "dominance") == [None, 2.0, None]
    assert column(found, "age") == ["31", "32", None] and column(found, "split") == ["train", "test", None]
    assert found.notes == [
        "columns not taken along: emotion2vec_features",
        "1 of 3 recordings have no label",
    ]
    with pytest.raises(AudioError, match="^audio/none.wav: there is no such file"):
        read_recording(found, 2)


def test_no_way_of_this_machine_gets_into_an_id(audio, tmp_path):
    table = tmp_path / "far" / "list.csv"
    table.parent.mkdir()
    table.write_text(f"wav\n{audio}/a/1.wav\n../audio/b/1.wav\n../audio/b/2.wav\n")
    found = read_input(str(table))
    assert found.ids == ["1.wav#0", "1.wav#1", "2"]
    assert found.places == [f"{audio}/a/1.wav", "../audio/b/1.wav", "../audio/b/2.wav"]
    assert lengths(found) == [0.1, 0.3, 0.5]


def test_jsonl_of_mixed_types_and_segments(audio):
    """Parts of a recording: those seconds alone; a part outside of it is refused when it is read."""
    told = [
        {"audio": {"path": "audio/top.ogg"}, "speaker": 3, "start": 0.1, "end": 0.4, "more": [1, 2]},
        {"audio": {"path": "audio/b/2.flac"}, "speaker": 3.0, "start": 0.15, "end": None},
        {"audio": {"path": "audio/b/2.flac"}, "speaker": "x", "end": 0.25},
        {"audio": {"path": "audio/b/2.flac"}, "start": 0.5},
        {"audio": {"path": "audio/b/2.flac"}, "start": 0.2, "end": 99},
    ]
    table = audio.parent / "list.jsonl"
    table.write_text("\n".join(map(json.dumps, told)))
    found = read_input(str(table))
    assert column(found, "speaker") == ["3", "3", "x", None, None]
    assert found.ids[0] == "audio/top" and len(set(found.ids)) == 5
    assert [read_recording(found, row).seconds for row in (0, 1, 2, 4)] == pytest.approx([0.3, 0.25, 0.25, 0.2])
    np.testing.assert_allclose(read_recording(found, 1).samples, tone(0.4)[2400:], atol=1e-4)
    assert all_seconds(found, range(5), 2) == pytest.approx([0.3, 0.25, 0.25, 0.0, 0.2])
    with pytest.raises(AudioError, match="there is nothing from 0.5 s to its end: it has 0.4 s"):
        read_recording(found, 3)
    assert "columns not taken along: more" in found.notes
    assert "5 recordings are parts of their files: the seconds from start to end" in found.notes


def test_times_of_files_that_are_named_once_are_asked_about(audio):
    table = audio.parent / "list.csv"
    table.write_text(",filename,start\n0,audio/top.ogg,0.1\n1,audio/b/2.flac,\n")
    found = read_input(str(table))
    (note,) = (note for note in found.notes if "parts" in note)
    assert note.startswith("1 recordings are parts of their files: the seconds from start; each file is named once")
    assert "" not in found.columns.column_names  # pandas' row numbers
    assert found.segment(0)[0] == 0.1 and found.segment(1) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.csv",
            "label\nsad\n",
            "needs a column path, file, file_name, filename, audio, wav with the paths; columns: label",
        ),
        ("x.csv", "path\n", "x.csv has no rows"),
        ("x.csv", "path,label\na.wav\n", "cannot read .*x.csv: .*Expected 2 columns, got 1: a.wav"),
        ("x.csv", "path,label\na.wav,b,c\n", "Expected 2 columns, got 3: a.wav,b,c"),
        ("x.csv", "path,valence\na.wav,high\n", "column valence must hold numbers"),
        ("x.csv", "path,utterance_id\na.wav,1\nb.wav,1\n", "utterance_id '1' is given 2 times"),
        ("x.csv", "path,utterance_id\na.wav,1\nb.wav,\n", "row 1 has no utterance_id"),
        ("x.csv", "path,label,label\na.wav,b,c\n", "two columns are called label"),
        ("x.csv", "path;label\na.wav;b;c\n", "Expected 2 columns, got 3: a.wav;b;c"),
        ("x.csv", "path;label;valence\na.wav;b;2,5\n", "column valence must hold numbers.*; write 2.5 for 2,5"),
        ("x.jsonl", '{"path": "a.wav"}\n{"path"\n', "line 2: no JSON"),
        ("x.jsonl", '["a.wav"]\n', "line 1: no object"),
        ("x.parquet", "text", "can't read"),
        ("x.wav", "", "is none of .csv, .tsv, .jsonl and .parquet; of single recordings, give the folder"),
    ],
)
def test_wrong_tables(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_input(str(tmp_path / name))


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="holds no recordings"):
        read_input(str(tmp_path))
    with pytest.raises(InputError, match="there is no .*nowhere; give a folder"):
        read_input(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no such folder or file, and the Hub gives no such data set"):
        read_input("nobody/nothing")


def test_the_digest_is_of_the_list(audio):
    first = read_input(str(audio)).digest()
    assert read_input(str(audio)).digest() == first
    (audio / "metadata.csv").write_text("file,label\na/1.wav,sad\n")
    labelled = read_input(str(audio)).digest()
    (audio / "metadata.csv").write_text("file,label\na/1.wav,happy\n")
    assert len({first, labelled, read_input(str(audio)).digest()}) == 3


# ---- data sets


@pytest.fixture
def data_set(audio):
    """Recordings inside of a data set, with class numbers, old features and a nested column."""
    names = ["a/1.wav", "b/2.flac", "top.ogg"]
    told = {
        "audio": [{"bytes": (audio / name).read_bytes(), "path": name} for name in names],
        "label": [1, 0, 1],
        "SpkrID": [7, 8, 9],
        "audio_features": [[0.5] * 4] * 3,
        "words": [["a"], ["b"], []],
    }
    features = datasets.Features(
        {
            "audio": datasets.Audio(),
            "label": datasets.ClassLabel(names=["calm", "angry"]),
            "SpkrID": datasets.Value("int64"),
            "audio_features": datasets.List(datasets.Value("float32")),
            "words": datasets.List(datasets.Value("string")),
        }
    )
    table = pa.table({name: pa.array(values, features.arrow_schema.field(name).type) for name, values in told.items()})
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features))  # encoding would need torchcodec


def check_data_set(found):
    assert found.ids == ["1", "2", "top"] and found.places == ["1.wav", "2.flac", "top.ogg"]
    assert column(found, "label") == ["angry", "calm", "angry"] and column(found, "speaker") == ["7", "8", "9"]
    assert found.columns.column_names == ["utterance_id", "speaker", "label"]
    assert lengths(found) == all_seconds(found, range(3), 2) == [0.1, 0.4, 0.6]
    np.testing.assert_allclose(read_recording(found, 1).samples, tone(0.4), atol=1e-4)


def test_a_saved_data_set(data_set, tmp_path):
    data_set.save_to_disk(tmp_path / "saved")
    check_data_set(read_input(str(tmp_path / "saved")))
    datasets.DatasetDict({"train": data_set, "test": data_set.select([2])}).save_to_disk(tmp_path / "both")
    check_data_set(read_input(str(tmp_path / "both")))
    assert read_input(str(tmp_path / "both"), "test").ids == ["top"]
    with pytest.raises(InputError, match="has no split 'dev'; its splits: train, test"):
        read_input(str(tmp_path / "both"), "dev")


def test_parquet_with_recordings(data_set, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    data_set.to_parquet(tmp_path / "hub" / "data" / "train-00000.parquet")
    data_set.select([0]).to_parquet(tmp_path / "hub" / "data" / "test-00000.parquet")
    check_data_set(read_input(str(tmp_path / "hub")))
    check_data_set(read_input(str(tmp_path / "hub" / "data" / "train-00000.parquet")))
    assert read_input(str(tmp_path / "hub"), "test").ids == ["1"]


def test_plain_structs_paths_and_missing_recordings(audio, tmp_path, monkeypatch):
    """Parquet that no `datasets` wrote: bytes, a path beside the file, samples, or nothing."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    content = (audio / "a" / "1.wav").read_bytes()
    told = [{"bytes": content, "path": None}, {"bytes": None, "path": "audio/b/1.wav"}, None]
    table = pa.table({"utterance_id": ["x", "y", "z"], "recording": told})
    pq.write_table(table, tmp_path / "plain.parquet")
    found = read_input(str(tmp_path / "plain.parquet"))
    assert lengths_of(found, [0, 1]) == [0.1, 0.3] and found.places == ["row 0", "1.wav", "row 2"]
    with pytest.raises(AudioError, match="needs array, raw, bytes or path"):
        read_recording(found, 2)
    assert recording_seconds(found, 2) == 0.0
    samples = [{"array": tone(0.2).tolist(), "sampling_rate": RATE}, {"array": [0.0] * 8000, "sampling_rate": 8000}]
    pq.write_table(pa.table({"audio": samples}), tmp_path / "samples.parquet")
    found = read_input(str(tmp_path / "samples.parquet"))
    assert lengths(found) == all_seconds(found, [0, 1], 1) == [0.2, 1.0] and found.ids == ["row 0", "row 1"]
    pq.write_table(pa.table({"file": ["audio/b/1.wav"], "label": ["sad"]}), tmp_path / "paths.parquet")
    found = read_input(str(tmp_path / "paths.parquet"))
    assert lengths(found) == [0.3] and rows(found) == [{"utterance_id": "audio/b/1", "label": "sad"}]


def lengths_of(found, chosen):
    return [round(read_recording(found, row).seconds, 3) for row in chosen]


# ---- reading ahead


def test_lengths_come_from_headers_alone(audio, monkeypatch):
    (audio / "a" / "2.wav").write_text("no audio")
    (audio / "a" / "3.wav").touch()
    found = read_input(str(audio))
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    assert all_seconds(found, range(len(found)), 3) == pytest.approx([0.1, 0.0, 0.0, 0.3, 0.4, 0.5, 0.6])


def test_batches_are_read_in_order_and_ahead(audio):
    (audio / "a" / "2.wav").write_text("no audio")
    found = read_input(str(audio))
    got = list(decoded(found, [[5, 0], [1, 2], [3], [4]], workers=2))
    assert [batch for batch, _ in got] == [[5, 0], [1, 2], [3], [4]]
    assert [waveform.seconds for waveform in got[0][1]] == pytest.approx([0.6, 0.1])
    assert isinstance(got[1][1][0], AudioError) and "a/2.wav is no audio" in str(got[1][1][0])
    assert str(audio) not in str(got[1][1][0])
    reading = decoded(found, [[0]] * 50, workers=2)
    next(reading)
    reading.close()  # what nobody waits for any more is not read


# ---- what is odd


def jsonl(folder, *told):
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, told)))
    return read_input(str(folder / "list.jsonl"))


def test_a_folder_that_cannot_be_read(audio, monkeypatch):
    original = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="cannot read the folder .*audio/b: Permission denied"):
        read_input(str(audio))


def test_another_split(data_set, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for folder, name in (("a", "train-0.parquet"), ("b", "test.parquet"), ("c", "part-0.parquet")):
        (tmp_path / folder).mkdir()
        data_set.to_parquet(tmp_path / folder / name)
    with pytest.raises(InputError, match="no split 'dev'; its splits: train "):
        read_input(str(tmp_path / "a"), "dev")
    with pytest.raises(InputError, match="no split 'dev'; its splits: train "):
        read_input(str(tmp_path / "a" / "train-0.parquet"), "dev")
    with pytest.raises(InputError, match="no split 'train'; its splits: test "):
        read_input(str(tmp_path / "b"))
    assert len(read_input(str(tmp_path / "b" / "test.parquet"))) == len(read_input(str(tmp_path / "c"))) == 3


def test_numbers_that_are_not_finite(audio):
    path = "audio/top.ogg"
    nan, inf = math.nan, math.inf
    parts = [(nan, nan), (nan, 0.2), (0.1, inf), (inf, nan), (0.1, -inf), (1e308, nan)]
    told = [{"path": path, "start": start, "end": end, "speaker": nan} for start, end in parts]
    told[0]["speaker"], told[1]["speaker"] = 1.0, inf
    found = jsonl(audio.parent, *told)
    assert column(found, "speaker") == ["1", *[None] * 5]
    assert lengths_of(found, [0, 1, 2]) == [0.6, 0.2, 0.5]
    assert all_seconds(found, range(6), 1) == pytest.approx([0.6, 0.2, 0.5, 0, 0, 0])
    for row in (3, 4, 5):
        with pytest.raises(AudioError, match="there is nothing from "):
            read_recording(found, row)
    assert column(jsonl(audio.parent, {"path": path, "speaker": "x"}, {"path": path, "speaker": nan}), "speaker") == [
        "x",
        None,
    ]


def test_recordings_beside_a_release(tmp_path):
    folder = iemocap(tmp_path / "corp" / "IEMOCAP_full_release").parent
    (folder / "mine").mkdir()
    soundfile.write(folder / "mine" / "1.wav", tone(), RATE)
    notes = read_input(str(folder)).notes
    assert "1 recordings lie outside of the release (IEMOCAP_full_release) and are not taken" in notes


def test_names_and_values_that_arrow_cannot_hold(audio):
    found = jsonl(audio.parent, {"path": "audio/top.ogg", "label": "\ud83d", "id": 2**63}, {"path": "\ud83d.wav"})
    assert column(found, "label") == ["\\ud83d", None] and lengths_of(found, [0]) == [0.6]
    with pytest.raises(AudioError, match="no such file"):
        read_recording(found, 1)
    (audio / "a" / os.fsdecode(b"caf\xe9.wav")).touch()
    with pytest.raises(InputError, match="caf.*xe9.wav.* is not in UTF-8; rename"):
        read_input(str(audio))


def test_samples_without_a_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    pq.write_table(pa.table({"audio": [{"array": [0.0] * 8000}]}), tmp_path / "x.parquet")
    found = read_input(str(tmp_path / "x.parquet"))
    assert recording_seconds(found, 0) == 0.0
    with pytest.raises(AudioError, match="needs its sampling rate"):
        read_recording(found, 0)


def test_too_long_a_path(audio):
    with pytest.raises(InputError, match="there is no xxx"):
        read_input("x" * 300)
    found = jsonl(audio.parent, {"path": "x" * 300, "start": 0.1}, {"path": "audio/top.ogg"})
    assert all_seconds(found, range(2), 1) == pytest.approx([0.0, 0.6])
    assert isinstance(next(decoded(found, [[0]], 1))[1][0], AudioError)


def test_no_way_of_this_machine_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    gone = "/home/alice/secret/gone.wav"
    pq.write_table(pa.table({"audio": [{"path": gone}]}), tmp_path / "x.parquet")
    for found in (jsonl(tmp_path, {"path": gone}), read_input(str(tmp_path / "x.parquet"))):
        assert found.shown(0) == "gone.wav"
        with pytest.raises(AudioError, match="^gone.wav: there is no such file"):
            read_recording(found, 0)
    assert jsonl(tmp_path, {"path": "C:\\alice\\x.wav"}).shown(0) == "x.wav"


@pytest.mark.parametrize("value", ["/home/alice/x/0.wav", "C:\\alice\\0.wav", "/my files/0.wav", "file:///a/0.wav"])
def test_columns_of_paths_stay_behind(tmp_path, value):
    found = jsonl(tmp_path, {"path": "0.wav", "where": value, "text": "/a/b", "ipa": "/haus/"})
    assert rows(found) == [{"utterance_id": "0", "transcript": "/a/b", "ipa": "/haus/"}]
    assert "columns not taken along: where" in found.notes
