"""The file of a run, and the runs of an experiment put together."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_runs import LABELS
from made_runs import corpus_of
from made_runs import loso
from made_runs import run

from emomm.evaluation.comparisons import compare_experiments
from emomm.evaluation.predictions import Predictions
from emomm.evaluation.predictions import RunPredictions
from emomm.evaluation.predictions import pool_runs
from emomm.evaluation.predictions import predictions_file
from emomm.evaluation.predictions import read_predictions
from emomm.evaluation.predictions import write_predictions
from emomm.evaluation.summaries import experiment_statistics

ROWS = {
    "utterance_id": np.array(["a", "b", "c"], object),
    "corpus": np.array(["X", "Y", "X"], object),
    "speaker": np.array(["X/1", "Y/1", "X/2"], object),
    "session": np.array(["1", "1", "2"], object),
    "label": np.array(["sad", "happy", "neutral"], object),
    "probabilities": np.array([[0.2, 0.1, 0.7], [0.5, 0.3, 0.2], [0.9, 0.1, 0.0]]),
    "difficulty": np.array([0.25, np.nan, 1.0]),
    "ratings": np.array([[1, 2, 3], [np.nan, np.nan, np.nan], [4, 5, 1]], np.float32),
    "predicted_ratings": np.array([[1.5, 2, 3], [3, 3, 3], [4, 4.5, 1]]),
}


def test_what_is_written_is_what_anybody_reads(tmp_path):
    """The columns of the file are the format: whoever has such a file reads it with pyarrow or pandas alone."""
    write_predictions(tmp_path / "predictions.parquet", [Predictions.of(LABELS, **ROWS)])
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        **dict.fromkeys(("utterance_id", "corpus", "speaker", "session", "label", "prediction"), "string"),
        "probabilities": "fixed_size_list<element: float>[3]",
        **dict.fromkeys(("difficulty", "valence", "arousal", "dominance"), "float"),
        **dict.fromkeys(("predicted_valence", "predicted_arousal", "predicted_dominance"), "float"),
    }
    assert json.loads(table.schema.metadata[b"labels"]) == LABELS
    assert table["prediction"].to_pylist() == ["sad", "neutral", "neutral"]
    assert table["dominance"].to_pylist()[::2] == [3, 1] and table["predicted_arousal"].to_pylist() == [2, 3, 4.5]


def test_what_is_read_is_what_was_written(tmp_path):
    given = Predictions.of(LABELS, **ROWS)
    write_predictions(tmp_path / "both.parquet", [given, given])
    for read, times in (
        (read_predictions(tmp_path / "both.parquet"), 2),
        (read_predictions(predictions_file([given], {b"about": b"it"})), 1),
    ):
        assert len(read) == 3 * times and read.labels == tuple(LABELS)
        for name in ("utterance_ids", "corpora", "speakers", "sessions"):
            column = "corpus" if name == "corpora" else name[:-1]
            assert getattr(read, name).tolist() == ROWS[column].tolist() * times
        assert read.references.tolist() == [2, 1, 0] * times and read.predictions.tolist() == [2, 0, 0] * times
        for name in ("probabilities", "difficulty", "ratings", "predicted_ratings"):
            expected = np.concatenate([ROWS[name]] * times).astype(np.float32)
            np.testing.assert_array_equal(getattr(read, name).astype(np.float32), expected)
        of_corpora = read.by_corpus()
        assert list(of_corpora) == ["X", "Y"]
        assert of_corpora["X"].utterance_ids.tolist() == ["a", "c"] * times
        np.testing.assert_array_equal(of_corpora["X"].ratings, read.ratings[read.corpora == "X"])
        np.testing.assert_array_equal(of_corpora["X"].probabilities, read.probabilities[read.corpora == "X"])
    assert read.table.schema.metadata[b"about"] == b"it"
    classes = read.without_ratings()
    assert classes.ratings is None and classes.predicted_ratings is None and classes.difficulty[2] == 1


def test_a_file_that_is_not_one_is_refused(tmp_path):
    path = tmp_path / "predictions.parquet"
    with pytest.raises(ValueError, match="^is gone$"):
        read_predictions(path)
    path.write_bytes(b"PAR1torn")
    with pytest.raises(ValueError, match="^can't be read"):
        read_predictions(path)
    table = Predictions.of(LABELS, **ROWS).table
    for other, said in (
        (table.drop_columns(["difficulty"]), "^has no difficulty$"),
        (table.replace_schema_metadata(None), "^doesn't say its classes$"),
    ):
        pq.write_table(other, path)
        with pytest.raises(ValueError, match=said):
            read_predictions(path)
    labels = pa.array(["sad", "bored", "happy"])
    odd = Predictions(table.set_column(table.column_names.index("label"), "label", labels))
    with pytest.raises(ValueError, match="^holds the label 'bored', which is none of the classes neutral, happy"):
        _ = odd.references


def test_folds_are_pooled_by_seed_and_rows_put_in_order():
    corpus = corpus_of(6)
    pooled = pool_runs(loso(corpus))["IEMO"]
    order = np.argsort(corpus["utterance_id"])
    assert pooled.utterance_ids.tolist() == corpus["utterance_id"][order].tolist()
    assert pooled.references.tolist() == corpus["label"][order].tolist()
    assert pooled.speakers.tolist() == corpus["speaker"][order].tolist()
    assert pooled.seeds == (1, 2) and pooled.complete.all()
    assert (pooled.probabilities.argmax(-1) == pooled.predictions).all()
    assert pooled.folds[1].tolist() == [f"session-{name}" for name in pooled.sessions]


def test_pooling_refuses():
    corpus = corpus_of(4)
    with pytest.raises(ValueError, match="seed 1 tested rows of fold again twice"):
        pool_runs([run(corpus, 1, "once"), run(corpus, 1, "again")])
    relabelled = {**corpus, "label": (corpus["label"] + 1) % 3}
    with pytest.raises(ValueError, match="label of row u0 differs|label of row u[0-9]+ differs"):
        pool_runs([run(corpus, 1, "fold"), run(relabelled, 2, "fold")])
    table = run(corpus, 2, "fold").predictions.table
    other = Predictions(table.replace_schema_metadata({"labels": json.dumps([*LABELS, "anger"])}))
    with pytest.raises(ValueError, match="different labels"):
        pool_runs([run(corpus, 1, "fold"), RunPredictions(2, "fold", other)])
    assert pool_runs([]) == {} and experiment_statistics({}) == {} and compare_experiments({}) == {}
