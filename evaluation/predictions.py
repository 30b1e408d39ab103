"""What models made of test rows: the file of a run, which is written and read here alone, and the runs put together.

No other place names the file's columns. Its metadata names the classes, in the order of the probabilities.
"""

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..choices import RATINGS
from ..files import write_whole
from ..text_columns import Column
from ..text_columns import Names
from ..text_columns import arrow

_LABELS = b"labels"
_ALWAYS = ("utterance_id", "corpus", "speaker", "session", "label", "prediction", "probabilities", "difficulty")
_SENTENCE = "sentence_trained_on"
_PREDICTED = tuple(f"predicted_{name}" for name in RATINGS)


class Predictions:
    """n rows and what a model made of them.

    Columns are read when they are asked for, and once.

    Args:
        table: as `Predictions.of` makes it.
    """

    def __init__(self, table: pa.Table):
        self.table = table

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        *,
        utterance_id: Column,
        corpus: Column,
        speaker: Column,
        session: Column,
        label: Column,
        probabilities: np.ndarray,
        difficulty: np.ndarray | None = None,
        ratings: np.ndarray | None = None,
        predicted_ratings: np.ndarray | None = None,
        sentence_trained_on: np.ndarray | None = None,
    ) -> "Predictions":
        """From arrays; those that are None have no column.

        Args:
            labels: the C class names of the model.
            utterance_id, corpus, speaker, session: (n,) text; of several test parts of a corpus, `corpus` names both.
            label: (n,) true classes by name, as the corpus has them.
            probabilities: (n, C); the most probable class is the prediction.
            difficulty: (n,) from 0 to 1, NaN where unknown.
            ratings, predicted_ratings: (n, 3) V/A/D from 1 to 5, NaN where unrated.
            sentence_trained_on: (n,) bool, whether the same words were trained on or chose the epoch; False where a
                row has none.
        """
        flat = pa.array(probabilities.astype(np.float32).reshape(-1))
        columns = {
            "utterance_id": arrow(utterance_id),
            "corpus": arrow(corpus),
            "speaker": arrow(speaker),
            "session": arrow(session),
            "label": arrow(label),
            "prediction": arrow(Names(labels, probabilities.argmax(axis=-1))),
            "probabilities": pa.FixedSizeListArray.from_arrays(flat, len(labels)),
        }
        if difficulty is not None:
            columns["difficulty"] = difficulty.astype(np.float32)
        if sentence_trained_on is not None:
            columns[_SENTENCE] = sentence_trained_on
        for names, values in ((RATINGS, ratings), (_PREDICTED, predicted_ratings)):
            if values is not None:
                columns |= {name: values[:, i].astype(np.float32) for i, name in enumerate(names)}
        return cls(pa.table(columns).replace_schema_metadata({_LABELS: json.dumps(list(labels))}))

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The C class names, in the order of the class numbers."""
        return tuple(json.loads(self.table.schema.metadata[_LABELS]))

    @cached_property
    def utterance_ids(self) -> np.ndarray:
        """(n,) unique within a corpus."""
        return self._text("utterance_id")

    @cached_property
    def corpora(self) -> np.ndarray:
        """(n,) names of the corpora."""
        return self._names("corpus")

    @cached_property
    def speakers(self) -> np.ndarray:
        """(n,) names."""
        return self._names("speaker")

    @cached_property
    def sessions(self) -> np.ndarray:
        """(n,) names."""
        return self._names("session")

    @cached_property
    def references(self) -> np.ndarray:
        """(n,) true class numbers. Raises ValueError for a class that is none of `labels`."""
        return self._classes("label")

    @cached_property
    def predictions(self) -> np.ndarray:
        """(n,) predicted class numbers. Raises ValueError for a class that is none of `labels`."""
        return self._classes("prediction")

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(n, C) float32."""
        flat = self.table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(-1, len(self.labels))

    @cached_property
    def difficulty(self) -> np.ndarray:
        """(n,) from 0 to 1, NaN where unknown."""
        return self.table["difficulty"].to_numpy().astype(float)

    @cached_property
    def ratings(self) -> np.ndarray | None:
        """(n, 3) V/A/D, NaN where unrated; None where the model gives none."""
        return self._ratings(RATINGS)

    @cached_property
    def predicted_ratings(self) -> np.ndarray | None:
        """(n, 3) V/A/D; None where the model gives none."""
        return self._ratings(_PREDICTED)

    @cached_property
    def sentence_trained_on(self) -> np.ndarray | None:
        """(n,) bool, whether the same words were trained on or chose the epoch; None where that isn't known."""
        if _SENTENCE not in self.table.column_names:
            return None
        return self.table[_SENTENCE].to_numpy()

    def by_corpus(self) -> dict[str, "Predictions"]:
        """The rows of each corpus, or test part of one, by its name."""
        names = sorted(pc.unique(self.table["corpus"]).to_pylist())
        if len(names) == 1:
            return {names[0]: self}
        return {name: Predictions(self.table.filter(pc.equal(self.table["corpus"], name))) for name in names}

    def without_ratings(self) -> "Predictions":
        """The same, of the classes alone."""
        there = [name for name in (*RATINGS, *_PREDICTED) if name in self.table.column_names]
        return Predictions(self.table.drop_columns(there))

    def _text(self, column: str) -> np.ndarray:
        return np.array(self.table[column].to_pylist(), str)  # `to_numpy` imports pandas

    def _names(self, column: str) -> np.ndarray:
        """As `_text`, of which few are different."""
        coded = self.table[column].combine_chunks().dictionary_encode()
        return np.array(coded.dictionary.to_pylist(), str)[coded.indices.to_numpy()]

    def _classes(self, column: str) -> np.ndarray:
        names = pa.array(self.labels, pa.string())
        numbers = pc.index_in(self.table[column], names)
        if numbers.null_count:
            odd = self.table[column].filter(numbers.is_null())[0].as_py()
            raise ValueError(f"holds the {column} {odd!r}, which is none of the classes {', '.join(self.labels)}")
        return numbers.to_numpy().astype(np.int64)

    def _ratings(self, columns: Sequence[str]) -> np.ndarray | None:
        if _PREDICTED[0] not in self.table.column_names:
            return None
        return np.stack([self.table[name].to_numpy() for name in columns], axis=-1)


# ---- the file -------------------------------------------------------------------------------------------------------


def predictions_file(parts: Sequence[Predictions], about: Mapping[bytes, bytes] | None = None) -> bytes:
    """The bytes of a file: the rows of all parts, of one model; `about` goes into its metadata."""
    table = pa.concat_tables([part.table for part in parts])
    if about:
        table = table.replace_schema_metadata({**table.schema.metadata, **about})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def write_predictions(path: Path, parts: Sequence[Predictions]) -> None:
    """Writes the rows of all parts, of one model, whole or not at all. Raises OSError where that can't be done."""
    content = predictions_file(parts)
    write_whole(path, lambda temporary: Path(temporary).write_bytes(content))


def read_predictions(file: Path | bytes) -> Predictions:
    """The rows of a run.

    Args:
        file: where it is, or what it holds.

    Raises:
        ValueError: it is gone, torn, or another file. The error is the end of a sentence that begins with the file.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(file) if isinstance(file, bytes) else file) as opened:
            table = opened.read()  # `read_table` imports pandas
        labels = json.loads((table.schema.metadata or {}).get(_LABELS, b"null"))
    except FileNotFoundError:
        raise ValueError("is gone") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"can't be read ({(str(error).splitlines() or [type(error).__name__])[0]})") from error
    lacking = [name for name in _ALWAYS if name not in table.column_names]
    if lacking or not isinstance(labels, list):
        raise ValueError(f"has no {lacking[0]}" if lacking else "doesn't say its classes")
    return Predictions(table)


# ---- the runs of an experiment --------------------------------------------------------------------------------------


class RunPredictions(NamedTuple):
    """What one run of an experiment predicted.

    Args:
        seed: of the run.
        fold: its name.
        predictions: of its test rows.
    """

    seed: int
    fold: str
    predictions: Predictions


@dataclass(frozen=True, eq=False)
class PooledRows:
    """The n test rows of an experiment in one corpus, ordered by id, with what each of K seeds made of them.

    Args:
        labels: the C class names in the order of the class numbers.
        utterance_ids, speakers, sessions: (n,) each.
        references: (n,) true class numbers.
        seeds: the K seeds.
        predictions: (K, n) predicted class numbers, -1 where the seed has not tested the row.
        probabilities: (K, n, C) float32, NaN where the seed has not tested the row.
        folds: (K, n) name of the fold that tested it, "" where none did.
        ratings: (n, 3) V/A/D, NaN where unrated; None where the models give none.
        predicted_ratings: (K, n, 3), NaN where the seed has not tested the row.
        sentence_trained_on: (K, n) bool, whether the seed's models were trained on the row's words; None where that
            isn't known of all runs.
    """

    labels: tuple[str, ...]
    utterance_ids: np.ndarray
    speakers: np.ndarray
    sessions: np.ndarray
    references: np.ndarray
    seeds: tuple[int, ...]
    predictions: np.ndarray
    probabilities: np.ndarray
    folds: np.ndarray
    ratings: np.ndarray | None = None
    predicted_ratings: np.ndarray | None = None
    sentence_trained_on: np.ndarray | None = None

    @property
    def complete(self) -> np.ndarray:
        """(K,) bool: the seeds that tested every row."""
        return (self.predictions >= 0).all(axis=1)


def pool_runs(runs: Sequence[RunPredictions]) -> dict[str, PooledRows]:
    """The folds of each seed put together, {corpus: rows}.

    Raises:
        ValueError: runs with different labels, a row that a seed tested twice or whose label changes.
    """
    labels = {run.predictions.labels for run in runs}
    if len(labels) > 1:
        raise ValueError(f"the runs have different labels: {', '.join(map(str, sorted(labels)))}")
    by_corpus: dict[str, list[RunPredictions]] = {}
    for run in runs:
        for corpus, predictions in run.predictions.by_corpus().items():
            by_corpus.setdefault(corpus, []).append(run._replace(predictions=predictions))
    return {corpus: _pool(corpus, of_corpus) for corpus, of_corpus in by_corpus.items()}


def _pool(corpus: str, runs: list[RunPredictions]) -> PooledRows:
    labels = runs[0].predictions.labels
    utterance_ids, references = _joined(runs, "utterance_ids"), _joined(runs, "references")
    ids, first, place = np.unique(utterance_ids, return_index=True, return_inverse=True)
    other = references != references[first][place]
    if other.any():
        raise ValueError(f"corpus {corpus}: the label of row {utterance_ids[other][0]} differs between runs")
    seeds = tuple(dict.fromkeys(run.seed for run in runs))
    predicted = np.full((len(seeds), len(ids)), -1)
    probabilities = np.full((len(seeds), len(ids), len(labels)), np.nan, np.float32)
    folds = np.full((len(seeds), len(ids)), "", dtype=object)
    rated = runs[0].predictions.ratings is not None
    predicted_ratings = np.full((len(seeds), len(ids), 3), np.nan, np.float32) if rated else None
    told = all(run.predictions.sentence_trained_on is not None for run in runs)
    sentences = np.zeros((len(seeds), len(ids)), bool) if told else None
    start = 0
    for run in runs:
        seed, rows = seeds.index(run.seed), place[start : start + len(run.predictions)]
        start += len(rows)
        if (predicted[seed, rows] >= 0).any() or len(np.unique(rows)) < len(rows):
            raise ValueError(f"corpus {corpus}: seed {run.seed} tested rows of fold {run.fold} twice")
        predicted[seed, rows] = run.predictions.predictions
        probabilities[seed, rows] = run.predictions.probabilities
        folds[seed, rows] = run.fold
        if told:
            sentences[seed, rows] = run.predictions.sentence_trained_on
        if rated:
            predicted_ratings[seed, rows] = run.predictions.predicted_ratings
    return PooledRows(
        labels=labels,
        utterance_ids=ids,
        speakers=_joined(runs, "speakers")[first],
        sessions=_joined(runs, "sessions")[first],
        references=references[first],
        seeds=seeds,
        predictions=predicted,
        probabilities=probabilities,
        folds=folds,
        ratings=_joined(runs, "ratings")[first] if rated else None,
        predicted_ratings=predicted_ratings,
        sentence_trained_on=sentences,
    )


def _joined(runs: list[RunPredictions], what: str) -> np.ndarray:
    return np.concatenate([getattr(run.predictions, what) for run in runs])


__all__ = [
    "PooledRows", "Predictions", "RunPredictions", "pool_runs", "predictions_file", "read_predictions",
    "write_predictions",
]  # fmt: skip
