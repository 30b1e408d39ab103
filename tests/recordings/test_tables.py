"""Tables of recordings as people save them, and whose row is whose: in any writing that is certain."""

import json
import re
import unicodedata

import numpy as np
import pytest
import soundfile

from emomm.errors import InputError
from emomm.recordings.recordings import read_input
from emomm.recordings.tables import read_table

RATE = 16000
ROWS = [{"file": "ä.wav", "label": "häppy", "text": "I don’t, no"}, {"file": "b.wav", "label": "sad", "text": None}]
TEXT = 'file,label,text\nä.wav,häppy,"I don’t, no"\nb.wav,sad,\n'


def recordings(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.full(2000, 0.1), RATE)
    return folder


def labels(folder):
    found = read_input(str(folder)).columns
    return found["label"].to_pylist()


# ---- how they are saved


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("x.csv", TEXT),
        ("X.CSV", TEXT.replace("\n", "\r\n")),
        ("x.csv", TEXT.replace("\n", "\r")),
        ("x.csv", 'file;label;text\nä.wav;häppy;"I don’t, no"\nb.wav;sad;\n'),
        ("x.csv", "file\tlabel\ttext\nä.wav\thäppy\tI don’t, no\nb.wav\tsad\t\n"),
        ("x.tsv", "file\tlabel\ttext\nä.wav\thäppy\tI don’t, no\nb.wav\tsad\t\n"),
        ("x.tsv", TEXT),
        ("x.csv", 'file, label , text\nä.wav, häppy ,"I don’t, no"\nb.wav, "sad", \n\n'),
        ("x.csv", 'file\u200b,\u00a0label,text\u00a0\nä.wav,häppy,"I don’t, no"\nb.wav,sad,\n'),
        ("x.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("x.jsonl", "\n".join(json.dumps({f" {key}": row[key] for key in row}) for row in ROWS)),
    ],
)
def test_encodings_separators_and_blanks(tmp_path, name, saved, encoding):
    (tmp_path / name).write_bytes(saved.encode(encoding))
    assert read_table(tmp_path / name).to_pylist() == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode("cp1252"), "cannot read .*x.csv: line 2 is not in UTF-8 .*Windows-1252"),
        (TEXT.encode("utf-16-le"), "cannot read .*x.csv: it holds zero bytes, as UTF-16 without its mark"),
        (b"\xff\xfea", "cannot read .*x.csv: "),
        (b"file,label\n", "x.csv has no rows"),
        (b'file,label\n"a.wav,happy\n', "cannot read .*x.csv: CSV parse error: Expected 2 columns, got 1"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "x.csv")


def test_words_that_other_readers_take_for_nothing(tmp_path):
    (tmp_path / "x.csv").write_text("file,speaker,label,text\na.wav,NA,null,nan\nb.wav,,None,N/A\n")
    found = read_input(str(tmp_path / "x.csv")).columns
    assert found["speaker"].to_pylist() == ["NA", None] and found["label"].to_pylist() == ["null", "None"]
    assert found["transcript"].to_pylist() == ["nan", "N/A"]


def test_brackets_without_end(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"file": ' + "[" * 50000 + "\n")
    with pytest.raises(InputError, match="line 1: no JSON"):
        read_table(tmp_path / "x.jsonl")


@pytest.mark.parametrize("name", ["METADATA.CSV", "Metadata.tsv", "manifest.TSV"])
def test_tables_beside_recordings_whatever_their_name(tmp_path, name):
    recordings(tmp_path, "a.wav")
    separator = "\t" if name.lower().endswith("tsv") else ","
    (tmp_path / name).write_text(f"file{separator}label\na.wav{separator}sad\n")
    assert labels(tmp_path) == ["sad"]


def test_tables_that_are_not_read_are_said(tmp_path):
    recordings(tmp_path, "a.wav")
    (tmp_path / "labels.csv").write_text("file,label\na.wav,sad\n")
    assert "not read: labels.csv; a table of the files is metadata.csv" in read_input(str(tmp_path)).notes
    (tmp_path / "metadata.csv").write_text("file,label\na.wav,happy\n")
    (tmp_path / "manifest.csv").write_text("file,label\na.wav,sad\n")
    assert labels(tmp_path) == ["happy"]
    assert "not read: labels.csv, manifest.csv" in read_input(str(tmp_path)).notes


@pytest.mark.parametrize(
    "column", ["label", "emotion", "Emotion", "EMOTION", " emotion ", "emotion_label", "EmoClass"]
)
def test_columns_of_labels(tmp_path, column):
    (tmp_path / "x.csv").write_text(f"file,speaker,{column}\na.wav,1,sad\n")
    found = read_input(str(tmp_path / "x.csv"))
    assert found.columns.column_names == ["utterance_id", "speaker", "label"] and found.notes == []


def test_a_label_comes_before_an_emotion(tmp_path):
    (tmp_path / "x.csv").write_text("file,speaker,emotion,label\na.wav,1,joy,happy\n")
    (row,) = read_input(str(tmp_path / "x.csv")).columns.to_pylist()
    assert row == {"utterance_id": "a", "speaker": "1", "label": "happy", "emotion": "joy"}


def test_names_are_spelled_in_one_way(tmp_path):
    (tmp_path / "x.csv").write_text(
        "file,speaker,label\na,Zoe\u0308,sad\u00a0\nb,Zo\u00eb\u200b,sad\nc,7.0,x\nd,7,x\n"
    )
    found = read_input(str(tmp_path / "x.csv")).columns
    assert found["speaker"].to_pylist() == ["Zoë", "Zoë", "7", "7"] and found["label"].to_pylist()[:2] == ["sad"] * 2


# ---- whose row is whose


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["Actor_01/a.wav", "Actor_02/a.wav"], ["Actor_01\\a.wav", "Actor_02\\a.wav"]),
        (["a.wav", "x/b.wav"], ["wavs/a.wav", "wavs/x/b.wav"]),
        (["a.wav", "x/b.wav"], ["wavs\\a", "wavs\\x\\b"]),
        (["a.wav", "x/b.wav"], ["/home/alice/wavs/a.wav", "D:\\wavs\\x\\b.wav"]),
        (["mädchen.wav", "é/b.wav"], [unicodedata.normalize("NFD", name) for name in ("mädchen.wav", "é/b.wav")]),
        ([unicodedata.normalize("NFD", name) for name in ("mädchen.wav", "é/b.wav")], ["mädchen.wav", "é/b.wav"]),
        (["audio/1/a.wav", "audio/2/a.wav"], ["1/a.wav", "./2/a"]),
        (["a b.wav", "c.wav"], ["a\u00a0b.wav", "c.wav\u200b"]),
    ],
)
def test_the_same_name_in_other_writing(tmp_path, files, told):
    folder = recordings(tmp_path / "wavs", *files)
    (folder / "metadata.csv").write_text("file_name,label\n" + "".join(f"{name},{i}\n" for i, name in enumerate(told)))
    found = read_input(str(folder))
    by_file = dict(zip(found.places, found.columns["label"].to_pylist(), strict=True))
    assert by_file == {file: str(i) for i, file in enumerate(files)}


@pytest.mark.parametrize(
    ("files", "told", "message"),
    [
        (["A.wav"], ["a.wav"], "'file_name' has 'a.wav', and the folder has 'A.wav', in other capitals. Write the na"),
        (["a.wav", "b.wav"], ["other/a.wav"], "names none of the 2 recordings: .* has 'other/a.wav', .* has 'a.wav'"),
        (["1/a.wav", "2/a.wav"], ["a.wav"], "names none of the 2 recordings"),  # whose it is nobody knows
        (["a.wav"], ["../wavs/a.wav", "../x/wavs/a.wav"], "names none of the 1 recordings"),
        (["a.wav"], ["utt1"], "has 'utt1', and the folder has 'a.wav'"),
    ],
)
def test_a_table_that_names_no_file(tmp_path, files, told, message):
    """Before any encoding: else hours later there are features that belong to nobody."""
    folder = recordings(tmp_path / "wavs", *files)
    (folder / "metadata.csv").write_text("file_name,label\n" + "".join(f"{name},sad\n" for name in told))
    with pytest.raises(InputError, match=message):
        read_input(str(folder))


def test_what_is_not_certain_is_not_taken(tmp_path):
    """One of two files of a name; what lies elsewhere on this machine; files that differ in their ending alone."""
    folder = recordings(tmp_path / "wavs", "1/a.wav", "2/a.wav", "b.wav", "c.wav", "c.flac", "d.wav")
    elsewhere = recordings(tmp_path / "old" / "wavs", "b.wav") / "b.wav"
    told = ["a.wav", elsewhere, "c", folder / "d.wav"]
    (folder / "metadata.csv").write_text("file,text\n" + "".join(f"{name},{i}\n" for i, name in enumerate(told)))
    found = read_input(str(folder))
    assert found.columns["transcript"].to_pylist() == [None] * 5 + ["3"] and len(found) == 6
    assert "3 rows of metadata.csv have no recording (such as 'a.wav')" in found.notes


def test_a_file_that_two_rows_name(tmp_path):
    folder = recordings(tmp_path / "wavs", "a.wav")
    (folder / "metadata.csv").write_text("file,label\na.wav,sad\nwavs/a.wav,happy\n")
    with pytest.raises(InputError, match="file 'wavs/a.wav' is given twice as 'a.wav'"):
        read_input(str(folder))


def test_paths_in_a_table_in_other_writing(tmp_path):
    recordings(tmp_path, "x/a.wav", unicodedata.normalize("NFD", "é.wav"), "back\\slash.wav")
    (tmp_path / "x.csv").write_text("path,label\nx\\a.wav,1\né.wav,2\nback\\slash.wav,3\nnone\\é.wav,4\n")
    found = read_input(str(tmp_path / "x.csv"))
    assert [file.is_file() for file in found.files] == [True, True, True, False]


# ---- what is no part of the data


def test_hidden_copies(tmp_path):
    hidden = (".ipynb_checkpoints/a.wav", ".Trash-0/b.wav", "__MACOSX/a.wav", "lost+found/a.wav")
    folder = recordings(tmp_path, "a.wav", *hidden)
    (folder / "._a.wav").write_bytes(b"\0\5\x16\7" + bytes(90))
    (folder / "__MACOSX" / "._a.wav").write_bytes(b"\0\5\x16\7" + bytes(90))
    (folder / "._metadata.csv").write_bytes(b"\0\5\x16\7" + bytes(90))
    assert read_input(str(folder)).places == ["a.wav"]


def test_videos_beside_recordings(tmp_path):
    """Mostly the same clips; alone, their sound is what there is."""
    recordings(tmp_path, "a.wav")
    for name in ("a.mp4", "b.MOV"):
        (tmp_path / name).write_bytes(b"")
    found = read_input(str(tmp_path))
    assert found.places == ["a.wav"]
    assert "2 videos (such as a.mp4) are not taken, beside recordings" in found.notes
    (tmp_path / "a.wav").unlink()
    assert read_input(str(tmp_path)).places == ["a.mp4", "b.MOV"]


def test_ids_stay_as_they_are(tmp_path):
    recordings(tmp_path, "a.wav")
    (tmp_path / "metadata.csv").write_text("file,utterance_id,label,speaker\na.wav,1.0,x,1\nb.wav,2,x,1\n")
    found = read_input(str(tmp_path))
    assert found.ids == ["1.0"] and re.match("1 rows of metadata.csv have no", found.notes[0])
