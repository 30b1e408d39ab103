"""Any corpus, from anywhere, in one schema: `load_corpus(spec)`.

Everything is read straight from Arrow buffers: nested features become flat arrays without a Python object per value,
memory-mapped where the data lie in a `save_to_disk` folder, an Arrow file or a `.npy`.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets.fingerprint import generate_random_fingerprint

from ..features.sequences import Sequences
from ..modalities import get_modality
from ..speech_features import SpeechFeatures
from .arrow_features import blocks
from .arrow_features import features_column
from .builtin import BUILTIN as BUILTIN
from .builtin import CorpusSpec as CorpusSpec
from .builtin import resolve_specs as resolve_specs
from .columns import EMPTY_TRANSCRIPT as EMPTY_TRANSCRIPT
from .columns import RATINGS
from .columns import UNKNOWN as UNKNOWN
from .columns import RawColumns
from .reading import RawCorpus
from .reading import read_raw


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus in the one schema, as arrays with a row each.

    Args:
        spec: what it was loaded from.
        dataset: the same rows as a `datasets.Dataset`: utterance_id, corpus, speaker, session, label (ClassLabel),
            transcript, audio_features (dim,) or (frames, dim), those of `own`, valence, arousal, dominance (1-5, NaN
            where unrated),
            and difficulty, curriculum_order and audio where the corpus has them.
        label_ids: (n,) int64 class numbers, positions in `labels`.
        speakers, sessions, utterance_ids: (n,) strings; speakers are unique across corpora (`IEMO/3`).
        transcripts: n strings, `[EMPTY]` where there are no words.
        vad: (n, 3) float32 valence, arousal, dominance on 1-5, NaN where unrated.
        difficulty, curriculum_order: (n,) float32, NaN where missing; None where the corpus has no such column.
        audio: voice features; length 0 where the voice is missing.
        own: vectors of modalities of the user's own, by name, of those that were asked for.
        notes: what was dropped or filled in, in words.
    """

    spec: CorpusSpec
    dataset: datasets.Dataset
    label_ids: np.ndarray
    speakers: np.ndarray
    sessions: np.ndarray
    utterance_ids: np.ndarray
    transcripts: list[str]
    vad: np.ndarray
    difficulty: np.ndarray | None
    curriculum_order: np.ndarray | None
    audio: Sequences
    own: dict[str, Sequences] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.label_ids)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def labels(self) -> list[str]:
        """Class names, in the order of the class numbers."""
        return self.spec.labels

    @property
    def has_audio(self) -> bool:
        """Whether any row has voice features."""
        return bool(self.audio.length.any())

    @property
    def audio_dim(self) -> int:
        """Width of a feature vector (0 where nothing tells it)."""
        return self.audio.dim

    def vectors(self, modality: str) -> Sequences:
        """The vectors of a modality, of which the corpus has vectors."""
        return {"audio": self.audio, **self.own}[modality]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content: every value of every row, whatever kind of file and float width it came in."""
        digest = hashlib.sha256()
        for names in (self.labels, self.speakers, self.sessions, self.utterance_ids, self.transcripts):
            text = pa.array(names, pa.large_string())
            for buffer in text.buffers()[1:]:  # the offsets too, so that no two lists of strings run together alike
                digest.update(buffer)
        digest.update(self.label_ids.tobytes())
        for numbers in (self.vad, self.difficulty, self.curriculum_order):
            # Any NaN is the same NaN.
            digest.update(b"none" if numbers is None else np.where(np.isnan(numbers), np.nan, numbers).tobytes())
        digest.update(self.audio.length.astype(np.int64).tobytes())
        for block in blocks(self.audio):
            digest.update(np.ascontiguousarray(block, dtype=np.float32))
        for name, vectors in sorted(self.own.items()):
            digest.update(name.encode())
            digest.update(vectors.length.astype(np.int64).tobytes())
            for block in blocks(vectors):
                digest.update(np.ascontiguousarray(block, dtype=np.float32))
        return digest.hexdigest()

    def card(self) -> dict[str, Any]:
        """What a report or model card says about the corpus."""
        counts = np.bincount(self.label_ids, minlength=len(self.labels)).tolist()
        sessions, sizes = np.unique(self.sessions, return_counts=True)
        return {
            "name": self.name,
            "rows": len(self),
            "classes": dict(zip(self.labels, counts, strict=True)),
            "speakers": len(np.unique(self.speakers)),
            "sessions": dict(zip(sessions.tolist(), sizes.tolist(), strict=True)),
            "licence": self.spec.licence,
            "licence_url": "" if self.spec.licence_url.startswith("file:") else self.spec.licence_url,
            "extractor": os.path.basename(said) if os.path.isabs(said := self.spec.extractor) else said,
            "speech_encoder": self.spec.speech_encoder,
            "language": self.spec.language,
            "vad_of": self.spec.vad_of,
            "caveat": self.spec.caveat,
            "citation": self.spec.citation,
            "notes": list(self.notes),
        }

    def select(self, indices: np.ndarray) -> "Corpus":
        """The rows `indices`, in that order. Features are shared, not copied."""
        indices = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            dataset=self.dataset.select(indices),
            label_ids=self.label_ids[indices],
            speakers=self.speakers[indices],
            sessions=self.sessions[indices],
            utterance_ids=self.utterance_ids[indices],
            transcripts=[self.transcripts[i] for i in indices],
            vad=self.vad[indices],
            difficulty=None if self.difficulty is None else self.difficulty[indices],
            curriculum_order=None if self.curriculum_order is None else self.curriculum_order[indices],
            audio=self.audio.take(indices),
            own={name: vectors.take(indices) for name, vectors in self.own.items()},
        )


def load_corpus(spec: CorpusSpec, with_recordings: bool = False, modalities: Iterable[str] = ()) -> Corpus:
    """Reads the corpus that `spec` describes, checks it and brings it into the schema.

    Args:
        with_recordings: from the Hub, read the variant that has recordings besides (`hub_id_audio`).
        modalities: of the user's own, registered, to read as well, by name.

    Raises:
        InputError: not reachable, not readable, empty; a column, feature, label or rating that is missing or wrong,
            with the row's utterance id.
    """
    raw = read_raw(spec, with_recordings, modalities=modalities)
    if raw.speech_encoder is not None:
        made_by = SpeechFeatures.from_dict(raw.speech_encoder)
        spec = replace(spec, speech_encoder=raw.speech_encoder, extractor=made_by.in_words(), audio_dim=made_by.width)
    columns = RawColumns(spec, raw)
    label_ids = columns.labels()
    audio = columns.voices()
    own = {name: columns.vectors(name) for name in modalities}
    speakers, sessions, transcripts = columns.speakers(), columns.sessions(), columns.transcripts()
    extra = {role: columns.floats(role) for role in ("difficulty", "curriculum_order")}
    extra = {role: None if values is None else values.astype(np.float32) for role, values in extra.items()}
    vad = columns.vad()
    texts = {"utterance_id": columns.ids, "speaker": speakers, "session": sessions, "transcript": transcripts}
    whole = Corpus(
        spec=spec,
        dataset=_dataset(raw, spec, texts, label_ids, {"audio": audio, **own}, vad, extra),
        label_ids=label_ids,
        speakers=_strings(speakers),
        sessions=_strings(sessions),
        utterance_ids=_strings(columns.ids),
        transcripts=transcripts.to_pylist(),
        vad=vad,
        audio=audio,
        own=own,
        notes=columns.notes,
        **extra,
    )
    corpus = whole if columns.kept.all() else whole.select(np.flatnonzero(columns.kept))
    _note_gaps(corpus)
    return corpus


def _dataset(
    raw: RawCorpus,
    spec: CorpusSpec,
    texts: dict[str, pa.Array],
    label_ids: np.ndarray,
    vectors: dict[str, Sequences],
    vad: np.ndarray,
    extra: dict[str, np.ndarray | None],
) -> datasets.Dataset:
    """All rows in the schema, sharing the memory of what was read."""
    columns: dict[str, Any] = {
        "utterance_id": texts["utterance_id"],
        "corpus": pa.array([spec.name] * raw.rows),
        "speaker": texts["speaker"],
        "session": texts["session"],
        "label": pa.array(label_ids, mask=label_ids < 0),
        "transcript": texts["transcript"],
        **{get_modality(name).features: features_column(found) for name, found in vectors.items()},
        **{role: pa.array(vad[:, i]) for i, role in enumerate(RATINGS)},
        **{role: pa.array(values) for role, values in extra.items() if values is not None},
    }
    features = datasets.Features.from_arrow_schema(pa.table(columns).schema)
    features["label"] = datasets.ClassLabel(names=spec.labels)
    recordings = _recordings(raw)
    if recordings is not None:
        columns["audio"], features["audio"] = recordings
    # With a fingerprint of its own: to make one, `datasets` would pickle the whole table.
    return datasets.Dataset(
        pa.table(columns),
        info=datasets.DatasetInfo(features=features),
        fingerprint=generate_random_fingerprint(),
    )


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
    empty = sum(text == EMPTY_TRANSCRIPT for text in corpus.transcripts)
    unrated = int(np.isnan(corpus.vad).any(axis=1).sum())
    silent = int((corpus.audio.length == 0).sum())
    for count, what in (
        (empty, f"have no transcript: {EMPTY_TRANSCRIPT}"),
        (silent, "have no voice features"),
        (unrated, "lack a rating of valence, arousal or dominance"),
    ):
        if count:
            corpus.notes.append(f"{count} of {len(corpus)} rows {what}")


def _strings(array: pa.Array) -> np.ndarray:
    """(n,) numpy strings."""
    return array.to_numpy(zero_copy_only=False).astype(str)
