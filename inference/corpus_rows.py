"""The rows of a corpus for an exported model, and what it makes of them as a file. Without torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..corpora.builtin import resolve_specs
from ..corpora.corpus import Corpus
from ..corpora.loading import load_corpus
from ..corpora.spec import CorpusSpec
from ..errors import InputError
from ..evaluation.predictions import Predictions
from ..evaluation.predictions import write_predictions
from ..features.sequences import Sequences
from ..features.windows import as_floats
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modalities import get_modality
from ..recordings.recorded_corpus import load_recorded_corpus
from ..speech_features import SpeechFeatures
from ..speech_features import WrongEncoder
from ..waveforms import SAMPLING_RATE
from .shown_results import writing


@dataclass(frozen=True)
class Asked:
    """A model, as far as the rows that it is asked about must fit it.

    Args:
        name: as it was given, for messages.
        labels: its classes, in order.
        modalities: their names.
        widths: by modality, of its vectors.
        allow_missing: whether a row may lack a modality.
        speech_encoder: what made its voice features, where that is known.
        audio_encoder: the same in words.
        encoder: the speech encoder that it holds, where it takes recordings of a corpus: `frames_of` and `heard`.
    """

    name: str
    labels: Sequence[str]
    modalities: Sequence[str]
    widths: dict[str, int]
    allow_missing: bool
    speech_encoder: dict[str, Any] | None
    audio_encoder: str
    encoder: Any | None


def rows_for(asked: Asked, corpus: str, paths: dict[str, str], own: Sequence[str]) -> Corpus:
    """The rows of a corpus, which fit the model.

    Args:
        corpus: a built-in name, or a name that `paths` gives a place; or a path of data in the schema.
        paths: local copies of corpora by name.
        own: modalities of the user's own.

    Raises InputError for a corpus that can't be read, or doesn't fit.
    """
    rows = _loaded(_spec(asked, corpus, paths), asked, own)
    for name in asked.modalities:
        if name == AUDIO.name and rows.recordings is not None:
            _check_lengths(asked.encoder, rows)
        elif name == AUDIO.name:
            _check_voice(asked, rows)
        elif name != TEXT.name and rows.vectors(name).dim != asked.widths[name]:
            raise InputError(
                f"the vectors of {name} of {rows.name} are {rows.vectors(name).dim} wide, {asked.name!r} takes "
                f"{asked.widths[name]}"
            )
        lengths = np.ones(1) if name == TEXT.name else rows.vectors(name).length
        if not asked.allow_missing and not lengths.all():
            row = str(rows.utterance_ids[int(np.argmin(lengths))])
            raise InputError(f"{rows.name} row {row!r} has no {get_modality(name).word}, and {asked.name!r} needs it")
    return rows


def _spec(asked: Asked, corpus: str, paths: dict[str, str]) -> CorpusSpec:
    """The corpus by name; a path is taken for data in the schema, with the model's classes."""
    specs = resolve_specs({}, paths)
    if corpus in specs:
        return specs[corpus]
    if not os.path.exists(corpus):
        raise InputError(f"corpus {corpus!r} is neither known ({', '.join(sorted(specs))}) nor a path")
    described = {"path": corpus, "labels": [*asked.labels], "test_only": True}
    return CorpusSpec.from_dict(Path(corpus).stem, described)


def _loaded(spec: CorpusSpec, asked: Asked, own: Sequence[str]) -> Corpus:
    """The corpus with what the model takes of it: recordings, where that holds its speech encoder; else features."""
    if asked.encoder is None:
        return load_corpus(spec, modalities=own)
    try:
        return load_recorded_corpus(spec, own)
    except InputError as error:
        raise InputError(
            f"{error}. {asked.name!r} holds its speech encoder: it takes the recordings of a corpus, not features of "
            "them"
        ) from error


def _check_lengths(encoder: Any, corpus: Corpus) -> None:
    """Raises InputError that names a row whose recording is too short for one frame."""
    lengths = corpus.audio.length
    shortest = int(np.where(lengths > 0, lengths, lengths.max()).argmin())
    if lengths[shortest] and encoder.frames_of(int(lengths[shortest])) < 1:
        raise InputError(
            f"{corpus.name} row {str(corpus.utterance_ids[shortest])!r} has a recording of "
            f"{lengths[shortest] / SAMPLING_RATE:.3f} s, too short for {encoder.features.encoder}: leave it out"
        )


def _check_voice(asked: Asked, corpus: Corpus) -> None:
    if None not in (asked.speech_encoder, corpus.spec.speech_encoder):
        made_by = SpeechFeatures.from_dict(asked.speech_encoder)
        try:
            made_by.refuse_other_states(SpeechFeatures.from_dict(corpus.spec.speech_encoder))
        except WrongEncoder as error:
            raise InputError(f"{asked.name!r} and {corpus.name}: {error}") from error
    if corpus.audio_dim != asked.widths[AUDIO.name]:
        raise InputError(
            f"the voice features of {corpus.name} are {corpus.audio_dim} wide ({corpus.spec.extractor}), "
            f"{asked.name!r} takes {asked.widths[AUDIO.name]} ({asked.audio_encoder})"
        )


def heard(encoder: Any, recordings: Sequences, rows: np.ndarray) -> list[list[np.ndarray | None]]:
    """What the model is given of some recordings: of each, the windows that it hears; None where there is none."""
    there = [row for row in rows if recordings.length[row]]
    found = dict(zip(there, encoder.heard([as_floats(recordings[row][:, 0]) for row in there]), strict=True))
    return [found.get(row, [None]) for row in rows]


def write_rows(
    output: str | Path, rows: Corpus, labels: Sequence[str], probabilities: np.ndarray, vad: np.ndarray | None
) -> None:
    """Writes what a model makes of rows as parquet.

    Args:
        labels: the C classes of the model.
        probabilities: (rows, C).
        vad: (rows, 3) on 1-5, of a model that gives them.
    """
    predictions = Predictions.of(
        labels,
        utterance_id=rows.utterance_ids,
        corpus=np.full(len(rows), rows.name, dtype=object),
        speaker=rows.speakers,
        session=rows.sessions,
        label=np.array(rows.labels, dtype=object)[rows.label_ids],
        probabilities=probabilities,
        predicted_ratings=vad,
    )
    with writing(Path(output)):
        write_predictions(Path(output), [predictions])


__all__ = ["Asked", "heard", "rows_for", "write_rows"]
