"""Any corpus, from anywhere, in one schema: `load_corpus(spec)`.

Everything is read straight from Arrow buffers: nested features become flat arrays without a Python object per value,
memory-mapped where the data lie in a `save_to_disk` folder, an Arrow file or a `.npy`.
"""

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from ..features.sequences import Sequences
from ..speech_features import SpeechFeatures
from .as_dataset import as_dataset
from .copies import Copies
from .corpus import Corpus
from .hub_data_sets import HubAnswer
from .hub_data_sets import ask_hub
from .kept_corpora import kept_corpus
from .raw_columns import EMPTY_TRANSCRIPT
from .raw_columns import RawColumns
from .reading import RawCorpus
from .reading import is_of_hub
from .reading import read_raw
from .reading import sources_of
from .spec import CorpusSpec

Voices = Callable[[RawColumns], tuple[Sequences, np.ndarray | None]]


def load_corpus(
    spec: CorpusSpec,
    with_recordings: bool = False,
    modalities: Iterable[str] = (),
    store_dir: str | Path | None = None,
) -> Corpus:
    """Reads the corpus that `spec` describes, checks it and brings it into the schema. One of large files is kept, and
    mapped from then on (kept_corpora.py).

    Args:
        with_recordings: from the Hub, read the variant that has recordings besides (`hub_id_audio`).
        modalities: of the user's own, registered, to read as well, by name.
        store_dir: where large corpora are kept; by default in the Hub's cache folder.

    Raises:
        InputError: not reachable, not readable, empty; a column, feature, label or rating that is missing or wrong,
            with the row's utterance id.
    """
    modalities = list(modalities)
    if with_recordings:
        return _read(spec, True, modalities)
    copies = Copies(store_dir)
    answer = ask_hub(spec, spec.hub_id, copies) if is_of_hub(spec) else None
    sources = sources_of(spec) if answer is None else answer.data_set
    if sources is None or not sources.large:
        return _read(spec, False, modalities, None, answer)
    return kept_corpus(spec, modalities, sources, copies, lambda: _read(spec, False, modalities, copies, answer))


def _read(
    spec: CorpusSpec,
    with_recordings: bool,
    modalities: list[str],
    copies: Copies | None = None,
    answer: HubAnswer | None = None,
) -> Corpus:
    raw = read_raw(spec, with_recordings, modalities=modalities, copies=copies, answer=answer)
    if raw.speech_encoder is not None:
        made_by = SpeechFeatures.from_dict(raw.speech_encoder)
        spec = replace(spec, speech_encoder=raw.speech_encoder, extractor=made_by.in_words(), audio_dim=made_by.width)
    return corpus_of(spec, raw, modalities, lambda columns: (columns.voices(), None))


def corpus_of(spec: CorpusSpec, raw: RawCorpus, modalities: Iterable[str], voices: Voices) -> Corpus:
    """What was read, checked and brought into the schema.

    Args:
        modalities: as in `load_corpus`.
        voices: gives the voice of each row, length 0 where there is none, and the keys of the recordings that it
            holds, None where it holds features; called once the labels have said which rows stay.

    Raises:
        InputError: as `load_corpus`.
    """
    columns = RawColumns(spec, raw)
    label_ids = columns.labels()
    audio, recordings = voices(columns)
    own = {name: columns.vectors(name) for name in modalities}
    speakers, sessions, transcripts = columns.speakers(), columns.sessions(), columns.transcripts()
    extra = {role: columns.floats(role) for role in ("difficulty", "curriculum_order")}
    extra = {role: None if values is None else values.astype(np.float32) for role, values in extra.items()}
    vad = columns.vad()
    texts = {"utterance_id": columns.ids, "speaker": speakers, "session": sessions, "transcript": transcripts}
    vectors = own if recordings is not None else {"audio": audio, **own}
    whole = Corpus(
        spec=spec,
        make_dataset=partial(as_dataset, spec, texts, label_ids, vectors, vad, extra, _recordings(raw)),
        label_ids=label_ids,
        speakers=_strings(speakers),
        sessions=_strings(sessions),
        utterance_ids=_strings(columns.ids),
        transcripts=transcripts.to_pylist(),
        vad=vad,
        audio=audio,
        own=own,
        notes=columns.notes,
        recordings=recordings,
        splits=columns.splits(),
        scripts=columns.scripts(),
        left_out=frozenset(columns.ids.filter(pa.array(~columns.kept)).drop_null().to_pylist()),
        **extra,
    )
    corpus = whole if columns.kept.all() else whole.select(np.flatnonzero(columns.kept))
    _note_gaps(corpus)
    return corpus


def _recordings(raw: RawCorpus) -> tuple[pa.ChunkedArray, Any] | None:
    """The column of recordings and its feature; None where there is none that `datasets` knows what to do with."""
    pieces = raw.column("audio")
    if pieces is None:
        return None
    try:
        tables = [pa.table({"audio": piece}) for piece in pieces]
        table = pa.concat_tables(tables, promote_options="permissive")
        plain = datasets.Features.from_arrow_schema(table.schema)["audio"]
        told = datasets.Features.from_dict({"audio": raw.recordings})["audio"] if raw.recordings else plain
    except (ValueError, TypeError, KeyError, pa.ArrowException) as error:
        raw.notes.append(f"the column of recordings is passed over ({str(error).splitlines()[0]})")
        return None
    return table["audio"], told


def _note_gaps(corpus: Corpus) -> None:
    """Says what the kept rows lack."""
    empty = corpus.transcripts.count(EMPTY_TRANSCRIPT)
    unrated = int(np.isnan(corpus.vad).any(axis=1).sum())
    silent = int((corpus.audio.length == 0).sum())
    for count, what in (
        (empty, f"have no transcript: {EMPTY_TRANSCRIPT}"),
        (silent, "have no voice features" if corpus.recordings is None else "have no recording"),
        (unrated, "lack a rating of valence, arousal or dominance"),
    ):
        if count:
            corpus.notes.append(f"{count} of {len(corpus)} rows {what}")


def _strings(array: pa.Array) -> np.ndarray:
    """(n,) numpy strings."""
    return array.to_numpy(zero_copy_only=False).astype(str)


__all__ = ["Voices", "corpus_of", "load_corpus"]
