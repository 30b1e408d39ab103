"""A large data set on the Hub: its files taken one by one, once, and the very corpus that `datasets` loads."""

import io
import json
import os
import signal
import subprocess
import sys

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.info import DatasetInfosDict
from datasets.splits import SplitDict
from huggingface_hub import DatasetCardData
from huggingface_hub import HfFileSystem
from huggingface_hub import constants
from local_hub import LocalHub
from local_hub import Repository

from emomm.corpora import hub_copies
from emomm.corpora import kept_corpora
from emomm.corpora.loading import load_corpus
from emomm.corpora.reading import read_genders
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError
from emomm.speech_features import SIDECAR
from emomm.speech_features import SpeechFeatures
from emomm.text_columns import Texts
from tests.corpora.test_kept_corpora import assert_same
from tests.corpora.test_kept_corpora import table

NAME = "user/corpus"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """This process at a Hub that has a data set of three files, with empty caches. Every corpus is large."""
    with LocalHub() as server:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
        monkeypatch.setattr(kept_corpora, "_LARGE", 0)
        offline(monkeypatch, False)
        HfFileSystem.clear_instance_cache()
        server.repositories[NAME] = Repository(files_of("parquet"))
        yield server


def offline(monkeypatch, whether):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", whether)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", whether)


def files_of(layout, count=3):
    files = {"README.md": b"---\nlicense: mit\n---\n"}
    for number in range(count):
        rows = table(first=100 * number)
        rows = rows.append_column("gender", pa.array(["f" if i % 5 < 2 else "m" for i in range(len(rows))]))
        rows = rows.append_column("places", pa.array([[i, i] for i in range(len(rows))]))
        content = io.BytesIO()
        if layout == "parquet":
            pq.write_table(rows, content, row_group_size=11)
        elif layout == "jsonl":
            content.write("\n".join(map(json.dumps, rows.to_pylist())).encode())
        else:
            texts = [json.dumps(each or []) for each in rows["audio_features"].to_pylist()]
            rows = rows.set_column(rows.column_names.index("audio_features"), "audio_features", pa.array(texts))
            rows.to_pandas().to_csv(content, index=False)
        files[f"data/train-{number}.{layout}"] = content.getvalue()
    return files


def spec(**changes):
    return CorpusSpec.from_dict("own", {"hub_id": NAME, "dropped_labels": ["other"], **changes})


def plain(monkeypatch, tmp_path, **changes):
    """The corpus as `datasets` loads all of it."""
    with monkeypatch.context() as patch:
        patch.setattr(kept_corpora, "_LARGE", 1 << 60)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "plain"))
        return load_corpus(spec(**changes), store_dir=tmp_path / "other store")


def downloads(hub):
    """Data files that were asked for since the last time."""
    pairs = zip(hub.log, hub.paths, strict=True)
    found = [path.rpartition("/")[2] for (method, _), path in pairs if method == "GET" and "/data/" in path]
    hub.log.clear(), hub.paths.clear()
    return found


@pytest.mark.parametrize("layout", ["parquet", "jsonl", "csv"])
def test_a_data_set_that_is_taken_by_files_is_the_one_that_is_loaded(hub, monkeypatch, tmp_path, layout):
    hub.repositories[NAME].files = files_of(layout)
    store = tmp_path / "store"
    first = load_corpus(spec(), store_dir=store)
    assert downloads(hub) == [f"train-{number}.{layout}" for number in range(3)]
    assert isinstance(first.transcripts, Texts)  # mapped
    again = load_corpus(spec(), store_dir=store)
    assert not downloads(hub)
    expected = plain(monkeypatch, tmp_path)
    assert isinstance(expected.transcripts, list)
    assert_same(first, expected)
    assert_same(again, expected)
    left = [path for path in (store / "corpora").rglob("*") if path.suffix == f".{layout}" or "prepared" in path.name]
    assert not left and not [*(tmp_path / "datasets").rglob("*.arrow")]


def test_what_the_card_and_the_file_beside_the_features_say_holds(hub, monkeypatch, tmp_path):
    """Class numbers have their names; features of float16 that the card calls float32 are that; rows that are fewer
    than it says are refused as ever."""
    rows = table().drop_columns(["label"]).append_column("label", pa.array([i % 5 for i in range(40)]))
    found = datasets.Features.from_arrow_schema(rows.schema)
    found["label"] = datasets.ClassLabel(names=["neutral", "happy", "sad", "anger", "other"])
    found["audio_features"] = datasets.List(datasets.List(datasets.Value("float32"), 6))
    content = io.BytesIO()
    pq.write_table(rows, content)
    made_by = SpeechFeatures("facebook/wav2vec2-base", "wav2vec2", 6, 12)
    repository = hub.repositories[NAME]
    repository.files = {"train.parquet": content.getvalue(), SIDECAR: json.dumps(made_by.to_dict()).encode()}
    for number, said in enumerate((40, 41)):
        splits = SplitDict({"train": datasets.SplitInfo("train", num_examples=said)})
        data = DatasetCardData()
        DatasetInfosDict({"default": datasets.DatasetInfo(features=found, splits=splits)}).to_dataset_card_data(data)
        repository.files["README.md"] = f"---\n{data.to_yaml()}\n---\n".encode()
        repository.commits = number
        if said == 40:
            corpus = load_corpus(spec(), store_dir=tmp_path / "store")
            assert isinstance(corpus.transcripts, Texts) and corpus.audio.parts[0].dtype == "float32"
            assert corpus.spec.speech_encoder == made_by.to_dict()
            assert_same(corpus, plain(monkeypatch, tmp_path))
            continue
        for read in (lambda: load_corpus(spec(), store_dir=tmp_path / "store"), lambda: plain(monkeypatch, tmp_path)):
            with pytest.raises(InputError, match="not reachable on the Hub .NonMatchingSplitsSizesError"):
                read()


def test_a_new_commit_costs_the_files_that_are_new(hub, tmp_path):
    store = tmp_path / "store"
    load_corpus(spec(), store_dir=store)
    downloads(hub)
    repository = hub.repositories[NAME]
    repository.files = {**repository.files, "data/train-3.parquet": files_of("parquet", 5)["data/train-4.parquet"]}
    repository.commits += 1
    assert "u400" in load_corpus(spec(), store_dir=store).utterance_ids
    assert downloads(hub) == ["train-3.parquet"]
    assert len(load_corpus(spec(leave_out={"speaker": ["s0"]}), store_dir=store)) and not downloads(hub)


def test_without_a_connection_or_at_a_commit_nothing_is_asked(hub, monkeypatch, tmp_path):
    store, commit = tmp_path / "store", hub.repositories[NAME].sha
    expected = load_corpus(spec(), store_dir=store)
    load_corpus(spec(revision=commit), store_dir=store)
    hub.log.clear()
    assert_same(load_corpus(spec(revision=commit), store_dir=store), expected)
    offline(monkeypatch, True)
    assert_same(load_corpus(spec(), store_dir=store), expected)
    assert len(load_corpus(spec(leave_out={"speaker": ["s0"]}), store_dir=store)) < len(expected)
    assert not hub.log
    with pytest.raises(InputError, match="data set user/corpus is not reachable on the Hub"):
        load_corpus(spec(), store_dir=tmp_path / "another")


def test_a_hub_that_is_gone_leaves_the_copy_and_one_that_refuses_does_not(hub, monkeypatch, tmp_path, caplog):
    store = tmp_path / "store"
    expected = load_corpus(spec(), store_dir=store)
    hub.broken["resolve"] = "cut"
    assert_same(load_corpus(spec(), store_dir=store), expected)
    assert f"its copy of commit {hub.repositories[NAME].sha} is read" in caplog.text
    hub.broken.clear()
    del hub.repositories[NAME]
    texts = []
    for read in (lambda: load_corpus(spec(), store_dir=store), lambda: plain(monkeypatch, tmp_path)):
        with pytest.raises(InputError, match="data set user/corpus is not reachable on the Hub") as caught:
            read()
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_a_connection_that_is_lost_costs_the_file_that_it_was_lost_in(hub, monkeypatch, tmp_path):
    store, download = tmp_path / "store", hub_copies.hf_hub_download

    def lost(hub_id, path, **where):
        if path.endswith("train-1.parquet"):
            raise OSError("Network is unreachable")
        return download(hub_id, path, **where)

    monkeypatch.setattr(hub_copies, "hf_hub_download", lost)
    with pytest.raises(InputError, match=r"user/corpus is not reachable on the Hub \(OSError: Network is unreach"):
        load_corpus(spec(), store_dir=store)
    assert downloads(hub) == ["train-0.parquet"]
    monkeypatch.setattr(hub_copies, "hf_hub_download", download)
    assert_same(load_corpus(spec(), store_dir=store), plain(monkeypatch, tmp_path))
    assert downloads(hub)[:2] == ["train-1.parquet", "train-2.parquet"]


def test_a_process_that_is_killed_leaves_the_files_before(hub, monkeypatch, tmp_path):
    store = tmp_path / "store"
    script = f"""
import os, signal
import emomm.corpora.hub_copies as hub_copies, emomm.corpora.kept_corpora as kept
from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
kept._LARGE = 0
write, seen = hub_copies.write_column, []
def killed(chunks, folder):
    seen.append(folder)
    if len(seen) == 2:
        (folder / "values.npy").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    write(chunks, folder)
hub_copies.write_column = killed
load_corpus(CorpusSpec.from_dict("own", {{"hub_id": {NAME!r}, "dropped_labels": ["other"]}}), store_dir={str(store)!r})
"""
    here = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "theirs"), "HF_HUB_DISABLE_XET": "1"}
    environment = {name: value for name, value in os.environ.items() if "OFFLINE" not in name and "CACHE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**environment, **here}, capture_output=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert downloads(hub) == ["train-0.parquet", "train-1.parquet"]
    found = load_corpus(spec(), store_dir=store)
    assert downloads(hub) == ["train-2.parquet"]  # the second lies downloaded
    assert_same(found, plain(monkeypatch, tmp_path))
    assert not [path for path in (store / "corpora").iterdir() if path.name.endswith((".temporary", ".downloads"))]


def test_what_cannot_be_taken_by_files_is_loaded_as_ever(hub, monkeypatch, tmp_path, caplog):
    """Part of a split; a column that is no plain one, asked for once the others lie in copies."""
    caplog.set_level("INFO", "emomm")
    store = tmp_path / "store"
    assert_same(
        load_corpus(spec(split="train[:50%]"), store_dir=store), plain(monkeypatch, tmp_path, split="train[:50%]")
    )
    assert caplog.text.count("is not taken file by file") == 2  # in both
    load_corpus(spec(), store_dir=store)
    changes = {"columns": {"session": "places"}}
    texts = []
    for read in (
        lambda: load_corpus(spec(**changes), store_dir=store),
        lambda: plain(monkeypatch, tmp_path, **changes),
    ):
        with pytest.raises(InputError, match="session") as caught:
            read()
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_genders_of_a_card_are_read_from_the_copy(hub, monkeypatch):
    load_corpus(spec())
    downloads(hub)
    assert read_genders(spec())["own/s0"] == "f" and read_genders(spec())["own/s4"] == "m"
    assert not downloads(hub)
