"""Large corpora: turned into mapped copies once, and the very same corpus at each start."""

import errno
import json
import logging
import os
import shutil
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked import finish
from forked import start

from emomm.corpora import copies
from emomm.corpora import kept_corpora
from emomm.corpora import mapped_features
from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError
from emomm.text_columns import Names
from emomm.text_columns import Texts

LABELS = ["neutral", "happy", "sad", "anger"]
ARRAYS = ("label_ids", "speakers", "sessions", "utterance_ids", "transcripts", "vad", "splits", "scripts")


def table(rows=40, dim=6, dtype=np.float16, frames=(0, 4), first=0):
    rng = np.random.default_rng(first)
    lengths = rng.integers(*frames, size=rows)
    values = pa.array(rng.standard_normal(lengths.sum() * dim).astype(dtype))
    vectors = pa.FixedSizeListArray.from_arrays(values, dim)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    columns = {
        "utterance_id": [f"u{first + i}" for i in range(rows)],
        "speaker": [f"s{i % 5}" for i in range(rows)],
        "session": [str(i % 3) for i in range(rows)],
        "label": [[*LABELS, "other"][i % 5] for i in range(rows)],
        "transcript": [None if i % 7 == 0 else f"Was {i}, schön?" for i in range(rows)],
        "audio_features": pa.ListArray.from_arrays(offsets, vectors, mask=pa.array(lengths == 0)),
        "valence": [1 + i % 5 for i in range(rows)],
        "split": ["train" if i % 2 else "test" for i in range(rows)],
        "difficulty": [float(i) for i in range(rows)],
    }
    return pa.table(columns)


def spec(folder, **changes):
    return CorpusSpec.from_dict("own", {"path": str(folder), "dropped_labels": ["other"], **changes})


@pytest.fixture
def large(monkeypatch, tmp_path):
    """Every corpus is large; its store."""
    monkeypatch.setattr(kept_corpora, "_LARGE", 0)
    monkeypatch.setattr(copies, "_said", set())
    return tmp_path / "store"


@pytest.fixture
def folder(tmp_path):
    """A corpus in two shards."""
    path = tmp_path / "corpus"
    path.mkdir()
    for number in range(2):
        pq.write_table(table(first=100 * number), path / f"{number}.parquet", row_group_size=11)
    return path


def plain(folder, **changes):
    """The corpus as a small one is read."""
    before, kept_corpora._LARGE = kept_corpora._LARGE, 1 << 60
    try:
        return load_corpus(spec(folder, **changes))
    finally:
        kept_corpora._LARGE = before


def assert_same(found, expected):
    for name in ARRAYS:
        left, right = getattr(found, name), getattr(expected, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_array_equal(np.asarray(left), np.asarray(right), err_msg=name)
    assert len(found.audio) == len(expected.audio) and found.audio_dim == expected.audio_dim
    for row in range(len(found)):
        np.testing.assert_array_equal(found.audio[row], expected.audio[row])
        assert found.audio[row].dtype == expected.audio[row].dtype
    assert found.notes == expected.notes and found.fingerprint == expected.fingerprint
    assert set(found.left_out) == set(expected.left_out) and found.card() == expected.card()
    np.testing.assert_array_equal(found.difficulty, expected.difficulty)
    assert found.dataset.features == expected.dataset.features
    last = len(found) - 1
    assert repr(found.dataset[last]) == repr(expected.dataset[last])


@pytest.mark.parametrize("layout", ["parquet", "jsonl", "csv"])
def test_a_kept_corpus_is_the_one_that_is_read(folder, large, tmp_path, layout):
    if layout != "parquet":
        rows = pa.concat_tables([pq.read_table(file) for file in sorted(folder.iterdir())]).to_pylist()
        shutil.rmtree(folder)
        folder.mkdir()
        if layout == "jsonl":
            (folder / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
        else:
            for row in rows:
                row["audio_features"] = json.dumps(row["audio_features"] or [])
            lines = [
                ",".join(json.dumps(str(each or "")).replace('\\"', '""') for each in row.values()) for row in rows
            ]
            (folder / "all.csv").write_text("\n".join([",".join(rows[0]), *lines]))
    expected = plain(folder)
    for _ in range(2):  # as it is made, and as it is found
        assert_same(load_corpus(spec(folder), store_dir=large), expected)
    chosen = np.array([5, 2, 9])
    kept = load_corpus(spec(folder), store_dir=large).select(chosen)
    assert_same(kept, expected.select(chosen))


def test_nothing_is_read_again_or_held_as_python_objects(folder, large, monkeypatch):
    load_corpus(spec(folder), store_dir=large)
    monkeypatch.setattr("emomm.corpora.reading.open_data_file", None)  # can't be called
    corpus = load_corpus(spec(folder), store_dir=large)
    assert isinstance(corpus.speakers, Names) and isinstance(corpus.sessions, Names)
    assert isinstance(corpus.utterance_ids, Texts) and isinstance(corpus.transcripts, Texts)
    mapped = corpus.audio.parts[0]
    while isinstance(mapped, np.ndarray):
        mapped = mapped.base
    assert type(mapped).__name__ == "mmap" and corpus.audio.parts[0].dtype == np.float16
    corpus.audio.release()


def test_another_spec_shares_the_features_and_other_content_is_read_anew(folder, large, monkeypatch):
    load_corpus(spec(folder), store_dir=large)
    written = []
    monkeypatch.setattr(mapped_features, "_write", lambda *given: written.append(given[0].path.name) or _write(*given))
    again = load_corpus(spec(folder, leave_out={"speaker": ["s0"]}), store_dir=large)
    assert not written and "own/s0" not in set(again.speakers)
    pq.write_table(table(first=500), folder / "1.parquet")
    assert "u500" in load_corpus(spec(folder), store_dir=large).utterance_ids
    assert written == ["1.parquet"]


_write = mapped_features._write


def test_a_copy_that_is_cut_short_goes_on_after_the_last_file(folder, large, monkeypatch):
    def killed(file, column, target):
        if file.path.name == "1.parquet":
            (target / "values.npy").write_bytes(b"half")
            raise KeyboardInterrupt
        _write(file, column, target)

    monkeypatch.setattr(mapped_features, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        load_corpus(spec(folder), store_dir=large)
    written = []
    monkeypatch.setattr(mapped_features, "_write", lambda *given: written.append(given[0].path.name) or _write(*given))
    assert_same(load_corpus(spec(folder), store_dir=large), plain(folder))
    assert written == ["1.parquet"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_is_replaced_while_it_is_copied_is_not_kept_as_what_it_was(folder, large, monkeypatch, when):
    """Before the features are copied, and after, when the other columns are still to be read."""
    new = folder.parent / "new"
    pq.write_table(table(first=900), new)

    def replaced(file, column, target):
        if when == "after":
            _write(file, column, target)
        if file.path.name == "1.parquet" and new.exists():
            os.replace(new, file.path)
        if when == "before":
            _write(file, column, target)

    monkeypatch.setattr(mapped_features, "_write", replaced)
    with pytest.raises(InputError, match=r"own: .*1\.parquet changed while it was read; start again"):
        load_corpus(spec(folder), store_dir=large)
    assert_same(load_corpus(spec(folder), store_dir=large), plain(folder))


@pytest.mark.parametrize("name", ["values.npy", "rows.arrow"])
def test_a_torn_copy_is_made_again(folder, large, caplog, name):
    load_corpus(spec(folder), store_dir=large)
    for file in large.rglob(name):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    (large / "corpora" / "files.json").unlink()
    assert_same(load_corpus(spec(folder), store_dir=large), plain(folder))
    assert "torn or not ours" in caplog.text


@pytest.mark.parametrize(
    "number,what,remedy", [(errno.ENOSPC, "no space left", "free some, or"), (errno.EACCES, "can't write", "")]
)
def test_a_place_that_takes_nothing_is_said_once_and_the_corpus_read(
    folder, large, monkeypatch, caplog, number, what, remedy
):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(mapped_features, "_write", full)
    assert_same(load_corpus(spec(folder), store_dir=large), plain(folder))
    said = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert len(said) == 1 and what in said[0] and "read into memory" in said[0]
    assert " ".join(f"at each start; {remedy} set store_dir".split()) in said[0]


def test_errors_of_a_large_corpus_are_those_of_a_small_one(folder, large):
    wrong = table(first=900).to_pydict()
    wrong["audio_features"][3] = [[1.0] * 6, [2.0] * 5]
    nan = table(first=900, frames=(1, 2)).to_pydict()
    nan["audio_features"][6][0][2] = float("nan")
    for broken in (wrong, nan):
        schema = table().schema.set(5, pa.field("audio_features", pa.list_(pa.list_(pa.float32()))))
        pq.write_table(pa.table(broken, schema=schema), folder / "1.parquet")
        said = []
        for read in (plain, lambda path: load_corpus(spec(path), store_dir=large)):
            with pytest.raises(InputError) as caught:
                read(folder)
            said.append(str(caught.value))
        assert said[0] == said[1] and ("u903" in said[0] or "u906" in said[0])


def test_rows_of_another_width_that_are_left_out_cost_nothing(folder, large):
    odd = table(first=900).to_pydict()
    odd["audio_features"][4] = [[1.0] * 5]  # labelled other, which is dropped
    schema = table().schema.set(5, pa.field("audio_features", pa.list_(pa.list_(pa.float32()))))
    pq.write_table(pa.table(odd, schema=schema), folder / "1.parquet")
    assert_same(load_corpus(spec(folder), store_dir=large), plain(folder))


def test_what_nobody_uses_goes_by_its_age(folder, large):
    load_corpus(spec(folder), store_dir=large)
    there = sorted(path.name for path in (large / "corpora").iterdir() if path.is_dir())
    assert len(there) == 3
    old = time.time() - 31 * 24 * 3600
    for name in there:
        os.utime(large / "corpora" / name / "about.json", (old, old))
    half = large / "corpora" / ".features-1-x.1.temporary"
    half.mkdir()
    os.utime(half, (old, old))
    load_corpus(spec(folder), store_dir=large)  # what is used is young again
    pq.write_table(table(first=700), folder / "1.parquet")
    load_corpus(spec(folder), store_dir=large)
    left = {path.name for path in (large / "corpora").iterdir() if path.is_dir()}
    assert set(there) < left and not half.exists()
    for name in there:
        os.utime(large / "corpora" / name / "about.json", (old, old))
    pq.write_table(table(first=800), folder / "1.parquet")
    load_corpus(spec(folder), store_dir=large)
    left = {path.name for path in (large / "corpora").iterdir() if path.is_dir()}
    assert len(left & set(there)) <= 1  # the shard that is still read is made again


def loads(folder, store, log):
    """In a process of its own: the corpus, and the names of the shards that it writes."""
    kept_corpora._LARGE, write = 0, mapped_features._write

    def said(*given):
        with open(log, "a") as file:
            file.write(f"{given[0].path.name}\n")
        return write(*given)

    mapped_features._write = said
    load_corpus(spec(folder), store_dir=store)


def test_two_processes_at_once_make_one_copy(folder, large, tmp_path):
    running = [start(loads, folder, large, tmp_path / "log") for _ in range(2)]
    assert [finish(process) for process in running] == [0, 0]
    assert sorted((tmp_path / "log").read_text().split()) == ["0.parquet", "1.parquet"]
