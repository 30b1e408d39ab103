"""Places and files as corpora: shards that differ, copies that are none, columns nobody needs, damaged files."""

import json
import os
import unicodedata

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raw_corpora import own_columns
from raw_corpora import put
from raw_corpora import write_table

from emomm.corpora.loading import load_corpus
from emomm.corpora.reading import read_genders
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError

NAMES = ["anger", "happy", "neutral", "sad"]


def load(path, **changes):
    return load_corpus(CorpusSpec.from_dict("own", {"path": str(path), **changes}))


def labelled(corpus):
    return [corpus.labels[i] for i in corpus.label_ids]


def shard(folder, name, first, labels, classes=None, **changes):
    """A parquet file of 4 rows, u4... from `first` on; class numbers where `classes` are given."""
    folder.mkdir(exist_ok=True)
    columns = own_columns(utterance_id=[f"u{first + i}" for i in range(4)], label=labels, **changes)
    data = datasets.Dataset.from_dict(columns)
    if classes:
        data = data.cast_column("label", datasets.ClassLabel(names=classes))
    data.to_parquet(str(folder / name))


# ---- shards ---------------------------------------------------------------------------------------------------------


def test_each_shard_is_read_by_its_own_class_names(tmp_path):
    shard(tmp_path / "c", "0.parquet", 0, [0, 1, 2, 3], NAMES)
    shard(tmp_path / "c", "1.parquet", 4, [0, 1, 2, 3], NAMES[::-1])
    shard(tmp_path / "c", "2.parquet", 8, ["sad", "anger", "happy", "neutral"])
    assert labelled(load(tmp_path / "c")) == [*NAMES, *NAMES[::-1], "sad", "anger", "happy", "neutral"]


def test_numbers_beside_class_names_are_refused(tmp_path):
    shard(tmp_path / "c", "0.parquet", 0, [0, 1, 2, 3], NAMES)
    shard(tmp_path / "c", "1.parquet", 4, [0, 1, 2, 3])
    with pytest.raises(InputError, match=r"label: .*0.parquet says the names .*1.parquet has numbers alone"):
        load(tmp_path / "c")


def test_speakers_by_number_are_their_names_too(tmp_path):
    (tmp_path / "c").mkdir()
    for name, people in (("0", ["ann", "bob"]), ("1", ["bob", "ann"])):
        columns = own_columns(utterance_id=[f"{name}{i}" for i in range(4)], speaker=[0, 1, 0, 1])
        data = datasets.Dataset.from_dict(columns).cast_column("speaker", datasets.ClassLabel(names=people))
        data.to_parquet(str(tmp_path / "c" / f"{name}.parquet"))
    corpus = load(tmp_path / "c")
    assert corpus.speakers.tolist() == [f"own/{who}" for who in ("ann", "bob") * 2 + ("bob", "ann") * 2]


def test_a_class_number_without_a_name(tmp_path):
    shard(tmp_path / "c", "0.parquet", 0, [0, 1, 2, 3], NAMES)
    table = pq.read_table(tmp_path / "c" / "0.parquet")
    place = table.column_names.index("label")
    for number, told in (
        (7, "class number 7 has no name; the names there are anger, happy"),
        (-1, "row 'u3' .*no label"),
    ):
        changed = table.set_column(place, table.field("label"), pa.array([0, 1, 2, number]))
        pq.write_table(changed, tmp_path / "c" / "0.parquet")
        with pytest.raises(InputError, match=told):
            load(tmp_path / "c")


def test_shards_of_other_types_and_columns(tmp_path):
    """One speaker, whether a shard holds it as a number, a number with gaps or text; one width of features."""
    vectors = [[0.5, 1.0], [1.5, 2.0], [0.0, 0.0], [2.0, 2.0]]
    labels = ["sad", "happy", "anger", "neutral"]
    shard(tmp_path / "c", "0.parquet", 0, labels, speaker=[7, 8, 7, 8], valence=[1, 2, 3, 4], audio_features=vectors)
    half = [np.array(each, np.float16) for each in vectors]
    shard(tmp_path / "c", "1.parquet", 4, labels, speaker=[7.0, 8.0, 7.0, 8.0], audio_features=half)
    people = {"speaker": None, "SpkrID": ["7", "8.0", " 7\u200b", "8\u00a0"]}
    shard(
        tmp_path / "c",
        "2.parquet",
        8,
        labels,
        valence=[1.5, None, 3.0, 4.0],
        audio_features=[[v] for v in vectors],
        **people,
    )
    corpus = load(tmp_path / "c")
    assert corpus.speakers.tolist() == ["own/7", "own/8"] * 6
    assert corpus.vad[:, 0].tolist() == pytest.approx([1, 2, 3, 4, *[np.nan] * 4, 1.5, np.nan, 3, 4], nan_ok=True)
    np.testing.assert_array_equal(np.concatenate([corpus.audio[i] for i in range(12)]), np.array(vectors * 3))


def test_a_shard_of_something_else_is_named(tmp_path):
    shard(tmp_path / "c", "0.parquet", 0, NAMES)
    pq.write_table(pa.table({"loss": [1.0]}), tmp_path / "c" / "history.parquet")
    with pytest.raises(InputError, match="history.parquet has no column of the corpus; columns there: loss"):
        load(tmp_path / "c")


# ---- which files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy", [".ipynb_checkpoints/0-checkpoint", ".Trash-0/files/0", "._0", "__MACOSX/0", "$RECYCLE.BIN/0"]
)
def test_copies_that_the_system_keeps_are_passed_over(tmp_path, copy):
    put(tmp_path, own_columns(utterance_id=None), "0.parquet")
    file = tmp_path / f"{copy}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    put(file.parent, own_columns(utterance_id=None), file.name)
    assert len(load(tmp_path)) == 4


def test_links_and_caches_are_no_further_rows(tmp_path):
    put(tmp_path, own_columns(utterance_id=None), "0.parquet")
    (tmp_path / "1.parquet").symlink_to(tmp_path / "0.parquet")
    corpus = load(tmp_path)
    assert len(corpus) == 4 and "1 files are links to others of the corpus: read once" in corpus.notes
    folder = tmp_path / "arrow"
    for name in ("data", "cache-0123abcd"):
        write_table(pa.table(own_columns(utterance_id=None)), folder / name, "arrow")
    assert len(load(folder)) == 4


@pytest.mark.parametrize("layout", ["disk", "parquet", "arrow", "jsonl"])
def test_a_path_is_no_pattern(tmp_path, layout):
    for name, rows in (("set1", 4), ("set[12]", 6), ("p?q", 7), ("pxq", 8), ("s*", 9)):
        path = write_table(pa.table(own_columns(rows)), tmp_path / name, layout)
        assert len(load(path)) == rows, path


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "x" * 300 + "/y", "x" * 5000])
def test_paths_that_no_file_can_have(path):
    with pytest.raises(InputError, match="corpus own: there is no "):
        load(path)


def test_a_column_called_emotion_is_the_label_and_null_passes_a_column_over(tmp_path):
    columns = own_columns() | {"emotion": ["sad", "anger", "happy", "neutral"], "valence": ["high"] * 4}
    file = put(tmp_path, {name: values for name, values in columns.items() if name != "label"})
    with pytest.raises(InputError, match='"columns": {"valence": null} in the corpus passes it over'):
        load(file)
    assert labelled(load(file, columns={"valence": None})) == ["sad", "anger", "happy", "neutral"]
    assert labelled(load(put(tmp_path, columns), columns={"valence": None})) == ["neutral", "happy", "sad", "anger"]


# ---- columns nobody needs -------------------------------------------------------------------------------------------


def strange(kind):
    values = pa.array([1, 2, 3, 4])
    if kind == "map":
        return pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int64()))
    if kind == "list_view":
        return pa.array([[1]] * 4, pa.list_view(pa.int64()))
    if kind == "interval":
        return pa.array([pa.MonthDayNano([1, 2, 3])] * 4)
    if kind == "union":
        return pa.UnionArray.from_sparse(pa.array([0] * 4, pa.int8()), [values])
    if kind == "run_end_encoded":
        return pa.RunEndEncodedArray.from_arrays([4], pa.array([1]))
    return values


@pytest.mark.parametrize("kind", ["map", "list_view", "interval", "union", "run_end_encoded", "not yet invented"])
@pytest.mark.parametrize("place", ["arrow", "parquet", "disk"])
def test_columns_of_any_type_that_nobody_needs(tmp_path, kind, place):
    table = pa.table({**own_columns(), "extra": strange(kind)})
    told = {"info": {"features": {"extra": {"_type": "NotYetInvented"}}}}
    table = table.replace_schema_metadata({b"huggingface": json.dumps(told).encode()})
    if place == "arrow":
        path = write_table(table, tmp_path / "own", "arrow")
    elif place == "parquet" and kind in ("map", "not yet invented"):  # what parquet can hold
        path = put(tmp_path, table)
    elif place == "disk":
        path = tmp_path / "saved"
        path.mkdir()
        write_table(table, path / "data-0", "arrow")
        (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
        (path / "dataset_info.json").write_text(json.dumps(told["info"]))
    else:
        return
    assert len(load(path)) == 4


def test_json_lines_of_mixed_types_and_dates(tmp_path):
    file = tmp_path / "own.jsonl"
    rows = [{"speaker": 7, "session": "2024-05-01"}, {"speaker": "7", "session": "2024-05-02"}, {"speaker": "x"}]
    rows = [{"utterance_id": f"u{i}", "label": "sad", "session": "2024-05-01", **row} for i, row in enumerate(rows)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = load(file)
    assert corpus.speakers.tolist() == ["own/7", "own/7", "own/x"]
    assert corpus.sessions.tolist() == ["2024-05-01", "2024-05-02", "2024-05-01"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:1]))
    assert load(file).sessions.tolist() == ["2024-05-01"]


def test_genders_by_the_names_of_the_schema(tmp_path):
    people = ["Zoë", "Zoe\u0308 ", "Bob", "Bob"]
    file = put(tmp_path, own_columns(speaker=people) | {"Gender": ["f", " f", "m", "f"]})
    assert read_genders(CorpusSpec("own", path=str(file))) == {"own/Zoë": "f"}
    assert unicodedata.is_normalized("NFC", load(file).speakers[1])


# ---- damage ---------------------------------------------------------------------------------------------------------


def saved(tmp_path):
    datasets.Dataset.from_dict(own_columns(12)).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_a_damaged_arrow_file_is_a_message(tmp_path):
    """Offsets that point past their buffers were followed until the process ended (SIGSEGV)."""
    path = saved(tmp_path)
    (file,) = path.glob("*.arrow")
    table = pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
    offsets = table["audio_features"].chunk(0).buffers()[1]
    at = file.read_bytes().index(offsets.to_pybytes()[:40])
    damaged = bytearray(file.read_bytes())
    damaged[at + 16 : at + 20] = b"\xff\xff\xff\x7f"
    file.write_bytes(damaged)
    with pytest.raises(InputError, match="cannot read .*data-00000.*: it is damaged .*copy or make it again"):
        load(path)
    assert len(load(path, columns={"features": None})) == 12  # of a column that nobody reads nothing is said


def test_random_damage_never_ends_the_process(tmp_path):
    path = saved(tmp_path)
    (file,) = path.glob("*.arrow")
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    child = os.fork()
    if child == 0:  # of its own, so that this test fails and not the whole run
        refused = 0
        try:
            for _ in range(30):
                damaged = bytearray(whole)
                for place in rng.integers(len(damaged), size=4):
                    damaged[place] = rng.choice([0, 127, 128, 255])
                file.write_bytes(damaged)
                try:
                    load(path)
                except InputError:
                    refused += 1
        finally:
            os._exit(0 if refused > 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("state.json", "[1]", 'state.json is not as save_to_disk writes it: no list "_data_files" in it'),
        ("state.json", "{}", 'no list "_data_files" in it'),
        ("state.json", '{"_data_files": [3]}', "state.json names the data file None, which isn't there"),
        ("state.json", '{"_data_files": [{"filename": "gone.arrow"}]}', "'gone.arrow', which isn't there"),
        ("state.json", "[" * 50_000, "cannot read .*state.json: "),
        ("state.json", "[" * 50_000 + "]" * 50_000, "state.json: it is nested too deeply"),
        ("dataset_info.json", '{"features": [1]}', 'dataset_info.json is not as .*no dict "features"'),
        ("dataset_info.json", "3", 'no dict "features" in it'),
        (
            "dataset_info.json",
            '{"features": {"label": {"_type": "ClassLabel", "names": {"a": 1}}}}',
            "no list of names",
        ),
        ("dataset_dict.json", '{"splits": 3}', 'dataset_dict.json is not as .*no list "splits"'),
        ("dataset_dict.json", '{"splits": ["test"]}', "no split 'train'; splits there: test"),
    ],
)
def test_files_of_another_shape(tmp_path, name, content, told):
    path = saved(tmp_path)
    (path / name).write_text(content)
    with pytest.raises(InputError, match=told):
        load(path)


def test_nested_brackets_and_other_json(tmp_path):
    deep = "[" * 50_000 + "]" * 50_000
    file = tmp_path / "own.jsonl"
    for line in (f'{{"label": {deep}}}', '{"label":' * 50_000 + "1" + "}" * 50_000):
        file.write_text(f'{{"label": "sad"}}\n{line}\n')
        with pytest.raises(InputError, match="own.jsonl: line 2: it is nested too deeply"):
            load(file)
    file.write_text(json.dumps({"utterance_id": "u0", "speaker": "A", "label": "sad", "transcript": "[" * 500}) + "\n")
    assert load(file).transcripts == ["[" * 500]
    put(tmp_path, own_columns())
    file.unlink()
    for sidecar in (deep, "[]", '{"encoder": [1], "model_type": 3, "width": [], "num_layers": {}}'):
        (tmp_path / "speech_encoder.json").write_text(sidecar)
        with pytest.raises(InputError, match="cannot read .*speech_encoder.json: "):
            load(tmp_path)
    (tmp_path / "speech_encoder.json").unlink()
    assert len(load(tmp_path)) == 4


def test_damaged_words_of_datasets_are_not_passed_over(tmp_path):
    """Without them, class numbers would be read as if nobody had said what they mean."""
    for told in (b"{", b'{"info": 3}', b'{"info": {"features": []}}', b"[" * 50_000):
        file = put(tmp_path, pa.table(own_columns()).replace_schema_metadata({b"huggingface": told}))
        if told == b'{"info": {"features": []}}':
            assert len(load(file)) == 4
            continue
        with pytest.raises(InputError, match="what `datasets` wrote into it of its columns is damaged"):
            load(file)
