"""Data sets as input: each file by what it says of itself, no name taken for a pattern, only what is used is read."""

import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emomm.errors import InputError
from emomm.recordings.recordings import read_input


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def shard(path, ids, names=None, label=None, **columns):
    """A parquet file of recordings as `datasets` writes it; of class numbers with `names`, else as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = [{"bytes": name.encode(), "path": f"{name}.wav"} for name in ids]
    table = pa.table({"audio": audio, **({} if label is None else {"label": label}), **columns})
    if names is not None:
        said = {"info": {"features": {"label": {"_type": "ClassLabel", "names": names}, "audio": {"_type": "Audio"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(table, path)
    return str(path)


def known(found, *names):
    """{id: its values}, by what lies in the recording too: the rows of table and recordings are the same."""
    heard = [bytes(found.source(row)["bytes"]).decode() for row in range(len(found))]
    assert heard == found.ids
    return dict(zip(heard, zip(*(found.columns[name].to_pylist() for name in names), strict=True), strict=True))


def test_each_file_has_class_names_of_its_own(tmp_path):
    shard(tmp_path / "d" / "train-0.parquet", "ab", ["calm", "angry"], [0, 1])
    shard(tmp_path / "d" / "train-1.parquet", "cd", ["angry", "calm"], [0, 1])
    shard(tmp_path / "d" / "train-2.parquet", "ef", ["sad", "calm", "angry"], [0, -1])
    shard(tmp_path / "d" / "train-3.parquet", "g", None, ["angry"])
    assert known(read_input(str(tmp_path / "d")), "label") == {
        "a": ("calm",),
        "b": ("angry",),
        "c": ("angry",),
        "d": ("calm",),
        "e": ("sad",),
        "f": (None,),
        "g": ("angry",),
    }


def test_numbers_beside_named_classes_are_refused(tmp_path):
    shard(tmp_path / "d" / "train-0.parquet", "ab", ["calm", "angry"], [0, 1])
    shard(tmp_path / "d" / "train-1.parquet", "cd", None, [0, 1])
    message = r"train-0.parquet says what the numbers in its column 'label' .* \(calm, angry\), and train-1.parquet"
    with pytest.raises(InputError, match=message):
        read_input(str(tmp_path / "d"))


def test_a_class_number_without_a_name(tmp_path):
    path = shard(tmp_path / "train.parquet", "ab", ["calm", "angry"], [0, 2])
    with pytest.raises(InputError, match="column 'label': class number 2 has no name; .* are calm, angry"):
        read_input(path)


def test_files_whose_columns_differ(tmp_path):
    """In type, in order, in how they hold recordings, and in which there are."""
    rate = {"sampling_rate": 16000, "array": [0.5] * 8}
    shard(tmp_path / "d" / "train-0.parquet", "ab", speaker=[7, 8], label=["x", "y"], valence=[1, 2])
    shard(tmp_path / "d" / "train-1.parquet", "cd", label=["y", "x"], speaker=["7", "zoe"], valence=[1.5, None])
    shard(tmp_path / "d" / "train-2.parquet", "e", speaker=[9.0])
    assert known(read_input(str(tmp_path / "d")), "speaker", "label", "valence") == {
        "a": ("7", "x", 1.0),
        "b": ("8", "y", 2.0),
        "c": ("7", "y", 1.5),
        "d": ("zoe", "x", None),
        "e": ("9", None, None),
    }
    pq.write_table(pa.table({"audio": [rate], "speaker": ["1"]}), tmp_path / "d" / "train-3.parquet")
    with pytest.raises(InputError, match="its files hold recordings in different ways"):
        read_input(str(tmp_path / "d"))
    pq.write_table(pa.table({"speaker": ["1"]}), tmp_path / "d" / "train-3.parquet")
    with pytest.raises(InputError, match="train-0.parquet has recordings .* and train-3.parquet has none; .* speaker"):
        read_input(str(tmp_path / "d"))


@pytest.mark.parametrize("name", ["set[12]", "p?q", "a*b", "f{1,2}", "{a}", "__x", "a%20b c#", "back\\slash", "[!a]"])
def test_a_path_is_no_pattern(tmp_path, name):
    """With the folders beside it that it would stand for."""
    for other in ("set1", "set2", "pxq", "p/q", "axxb", "f1", "f2", "b"):
        shard(tmp_path / other / "train.parquet", "x")
    path = shard(tmp_path / name / "[1].parquet", "ab")
    shard(tmp_path / name / "1.parquet", "cd")
    assert read_input(path).ids == ["a", "b"]
    assert read_input(str(tmp_path / name)).ids == ["c", "d", "a", "b"]
    with pytest.raises(InputError, match="there is no"):
        read_input(str(tmp_path / "set*"))
    (tmp_path / name / "audio").mkdir()
    (tmp_path / name / "audio" / "[x] a?.wav").touch()
    (tmp_path / name / "audio" / "metadata.csv").write_text("file,label\n[x] a?.wav,sad\n")
    assert read_input(str(tmp_path / name / "audio")).columns.to_pylist() == [
        {"utterance_id": "[x] a?", "label": "sad"}
    ]
    datasets.Dataset.from_dict({"audio": [{"bytes": b"a", "path": "a"}]}).save_to_disk(tmp_path / name / "saved")
    assert read_input(str(tmp_path / name / "saved")).ids == ["a"]


def test_columns_that_are_not_used_may_be_of_any_type(tmp_path):
    """Of types that a newer `datasets` wrote, and that Arrow has and it hasn't; images are no recordings."""
    told = {"_type": "Audio2", "x": 1}
    odd = {
        "map": pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int64())),
        "views": pa.array([[1], [2]], pa.list_view(pa.int64())),
        "time": pa.array([1, 2], pa.duration("s")),
        "face": [{"bytes": b"", "path": "x.png"}] * 2,
        "text": pa.array(["oh", "ah"], pa.string_view()),
    }
    table = pa.table({**odd, "speech": [{"bytes": b"a", "path": "a"}, {"bytes": b"b", "path": "b"}]})
    said = {"info": {"features": {"map": told, "face": {"_type": "Image"}, "speech": {"_type": "Audio"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(said)}), tmp_path / "x.parquet")
    found = read_input(str(tmp_path / "x.parquet"))
    assert known(found, "transcript") == {"a": ("oh",), "b": ("ah",)}
    assert "columns not taken along: map, views, time, face" in found.notes


def test_hidden_copies_of_files(tmp_path):
    shard(tmp_path / "d" / "train.parquet", "ab")
    for copy in (".ipynb_checkpoints/train.parquet", ".Trash-0/train.parquet", "__MACOSX/train.parquet"):
        shard(tmp_path / "d" / copy, "ab")
    (tmp_path / "d" / "._train.parquet").write_bytes(b"\0\5\x16\7")
    assert read_input(str(tmp_path / "d")).ids == ["a", "b"]


def test_a_damaged_saved_folder_is_refused(tmp_path):
    """Following its offsets would end the process."""
    told = {"audio": [{"bytes": b"x", "path": "x.wav"}] * 50, "label": [f"word {i}" for i in range(50)]}
    datasets.Dataset.from_dict(told).save_to_disk(tmp_path / "saved")
    assert len(read_input(str(tmp_path / "saved"))) == 50
    file = next((tmp_path / "saved").glob("*.arrow"))
    content = bytearray(file.read_bytes())
    offsets = np.cumsum([0] + [len(word) for word in told["label"]]).astype("<i4").tobytes()
    place = content.index(offsets)
    content[place + 80 : place + 84] = b"\xff\xff\xff\x7f"
    file.write_bytes(content)
    with pytest.raises(InputError, match="saved is damaged .*; copy or make it again"):
        read_input(str(tmp_path / "saved"))


def test_a_file_without_rows_and_one_that_is_torn(tmp_path):
    path = shard(tmp_path / "d" / "train-0.parquet", "ab", ["calm", "angry"], [0, 1])
    shard(tmp_path / "d" / "train-1.parquet", "", ["angry"], pa.array([], pa.int64()))
    assert known(read_input(str(tmp_path / "d")), "label") == {"a": ("calm",), "b": ("angry",)}
    content = np.frombuffer(open(path, "rb").read(), np.uint8)
    (tmp_path / "d" / "train-2.parquet").write_bytes(content[: len(content) // 2].tobytes())
    with pytest.raises(InputError, match="train-2.parquet: can't read"):
        read_input(str(tmp_path / "d"))
