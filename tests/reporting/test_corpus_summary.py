"""A corpus in numbers."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.reporting.corpus_page import group_table
from emomm.reporting.corpus_summary import summarise


@pytest.fixture
def corpus(tmp_path):
    """Six rows of three speakers; one has no words, one no rating; frames at 50 Hz."""
    made_by = {"encoder": "e", "model_type": "w", "width": 2, "num_layers": 1, "frame_rate": 50.0, "weights": "0" * 64}
    table = {
        "label": ["neutral", "neutral", "happy", "happy", "happy", "sad"],
        "speaker": ["a", "b", "a", "b", "c", "c"],
        "session": ["1", "1", "1", "1", "2", "2"],
        "transcript": ["Yes", "yes", "Oh my", "Oh my", None, "two words"],
        "valence": [3.0, 3.0, 5.0, 4.0, None, 1.0],
        "features": [np.zeros((50 * seconds, 2), np.float32).tolist() for seconds in (1, 2, 3, 4, 5, 6)],
    }
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    given = {"path": str(tmp_path), "labels": ["neutral", "happy", "sad", "anger"], "speech_encoder": made_by}
    return load_corpus(CorpusSpec.from_dict("mine", {**given, "columns": {"features": "features"}}))


def test_numbers(corpus):
    told = summarise(corpus)
    assert told["rows"] == 6 and told["speakers"] == 3 and told["sessions"] == 2
    assert told["classes"] == {"neutral": 2, "happy": 3, "sad": 1, "anger": 0}
    assert told["seconds"] == {
        "hours": round(21 / 3600, 3), "shortest": 1.0, "5 %": 1.25, "median": 3.5, "95 %": 5.75, "longest": 6.0,
    }  # fmt: skip
    assert list(told["by"]) == ["class", "speaker", "session"]
    assert list(told["by"]["class"]) == ["neutral", "happy", "sad"]
    assert told["by"]["speaker"]["mine/c"] == {
        "rows": 2,
        "speakers": 1,
        "classes": {"neutral": 0, "happy": 1, "sad": 1, "anger": 0},
        "minutes": round(11 / 60, 2),
        "median_seconds": 5.5,
        "ratings": {"valence": 1.0},
    }
    assert told["ratings"] == {"valence": {"rated": 5, "mean": 3.2, "std": 1.327, "lowest": 1.0, "highest": 5.0}}
    assert told["transcripts"] == {
        "missing": 1,
        "different": 3,
        "rows_with_a_repeated_one": 4,
        "repeated_in_one_class_alone": 2,
        "median_words": 2.0,
    }


def test_by_split_where_the_corpus_has_one(corpus):
    splits = np.array(["train", "train", "test", "", "test", "train"])
    told = summarise(dataclasses.replace(corpus, splits=splits))
    assert list(told["by"]) == ["class", "speaker", "session", "split"]
    assert {name: each["rows"] for name, each in told["by"]["split"].items()} == {"none": 1, "test": 2, "train": 3}
    assert told["by"]["split"]["test"] == {
        "rows": 2,
        "speakers": 2,
        "classes": {"neutral": 0, "happy": 2, "sad": 0, "anger": 0},
        "minutes": round(8 / 60, 2),
        "median_seconds": 4.0,
        "ratings": {"valence": 5.0},
    }
    table = group_table(told, "split")
    assert table.columns[:3] == ["split", "rows", "speakers"] and [row[:3] for row in table.rows][1] == ["test", 2, 2]
    assert "split" not in summarise(dataclasses.replace(corpus, splits=np.full(6, "")))["by"]


def test_no_durations_where_nothing_tells_them():
    corpus = load_corpus(CorpusSpec("synthetic", generator={"rows": 40, "frames": [1, 1]}))
    assert corpus.seconds is None and summarise(corpus)["seconds"] is None
