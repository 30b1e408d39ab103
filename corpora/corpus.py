"""A corpus in the one schema that everything else reads, whatever it was loaded from."""

import hashlib
import os
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from functools import partial
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..features.sequences import Sequences
from ..speech_features import SpeechFeatures
from ..text_columns import Column
from ..text_columns import Names
from ..text_columns import Texts
from ..text_columns import arrow
from ..text_columns import coded
from ..text_columns import pieces
from ..waveforms import SAMPLING_RATE as SAMPLING_RATE
from .arrow_features import blocks
from .as_dataset import as_dataset
from .spec import CorpusSpec


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus in the one schema, as arrays with a row each.

    Args:
        spec: what it was loaded from.
        label_ids: (n,) int64 class numbers, positions in `labels`.
        speakers, sessions, utterance_ids: (n,) strings; speakers are unique across corpora (`IEMO/3`).
        transcripts: n strings, `[EMPTY]` where there are no words. Of a large corpus these four, splits and scripts
            are the columns of `text_columns`.
        vad: (n, 3) float32 valence, arousal, dominance on 1-5, NaN where unrated.
        difficulty, curriculum_order: (n,) float32, NaN where missing; None where the corpus has no such column.
        audio: voice features, or of a corpus of recordings their samples (dim 1); length 0 where the voice is missing.
        own: vectors of modalities of the user's own, by name, of those that were asked for.
        notes: what was dropped or filled in, in words.
        splits: (n,) strings, the part that the corpus itself puts each row into, as it calls it, "" where it says
            none; None where it has no such column.
        scripts: (n,) strings, the script or scenario of each row, unique across corpora; "" where none is known; None
            where nothing tells any.
        left_out: ids of the rows of the data that are not here: of other labels, or left out by the recipe.
        recordings: (n, 16) uint8, a hash of the content of each row's recording, zeros where there is none; None
            where `audio` holds features.
        make_dataset: makes `dataset`; None, of what is here.
    """

    spec: CorpusSpec
    label_ids: np.ndarray
    speakers: Column
    sessions: Column
    utterance_ids: Column
    transcripts: Column
    vad: np.ndarray
    difficulty: np.ndarray | None
    curriculum_order: np.ndarray | None
    audio: Sequences
    own: dict[str, Sequences] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    recordings: np.ndarray | None = None
    splits: Column | None = None
    scripts: Column | None = None
    left_out: Collection[str] = frozenset()
    make_dataset: Callable[[], datasets.Dataset] | None = None

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

    @property
    def seconds(self) -> np.ndarray | None:
        """(n,) the duration of each row, 0 without a voice; None where nothing tells: vectors of whole recordings, or
        frames of an unknown rate."""
        if self.recordings is not None:
            return self.audio.length / SAMPLING_RATE
        made_by = self.spec.speech_encoder
        rate = SpeechFeatures.from_dict(made_by).frame_rate if made_by else 0
        return self.audio.length / rate if rate and self.audio.length.max(initial=0) > 1 else None

    @cached_property
    def dataset(self) -> datasets.Dataset:
        """The same rows as a `datasets.Dataset`: utterance_id, corpus, speaker, session, label (ClassLabel),
        transcript, audio_features (dim,) or (frames, dim), those of `own`, valence, arousal, dominance (1-5, NaN where
        unrated), and difficulty, curriculum_order and audio where the corpus has them. Recordings of a large corpus
        are not among them."""
        if self.make_dataset is not None:
            return self.make_dataset()
        texts = {"utterance_id": self.utterance_ids, "speaker": self.speakers, "session": self.sessions}
        vectors = self.own if self.recordings is not None else {"audio": self.audio, **self.own}
        return as_dataset(
            self.spec,
            {name: arrow(column) for name, column in {**texts, "transcript": self.transcripts}.items()},
            self.label_ids,
            vectors,
            self.vad,
            {"difficulty": self.difficulty, "curriculum_order": self.curriculum_order},
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content: every value of every row, whatever kind of file and float width it came in. Without the
        corpus' own split, which trains nothing: a run that follows one is known by the rows of its fold."""
        digest = hashlib.sha256()
        for names in (self.labels, self.speakers, self.sessions, self.utterance_ids, self.transcripts):
            for block in _text_blocks(names):
                digest.update(block)
        digest.update(self.label_ids.tobytes())
        for numbers in (self.vad, self.difficulty, self.curriculum_order):
            # Any NaN is the same NaN.
            digest.update(b"none" if numbers is None else np.where(np.isnan(numbers), np.nan, numbers).tobytes())
        digest.update(self.audio.length.astype(np.int64).tobytes())
        if self.recordings is None:
            for block in blocks(self.audio):
                digest.update(np.ascontiguousarray(block, dtype=np.float32))
        else:  # by what they were decoded from: of a large corpus nothing is read
            digest.update(f"recordings {self.audio.parts[0].dtype if self.audio.parts else None}".encode())
            digest.update(np.ascontiguousarray(self.recordings))
        for name, vectors in sorted(self.own.items()):
            digest.update(name.encode())
            digest.update(vectors.length.astype(np.int64).tobytes())
            for block in blocks(vectors):
                digest.update(np.ascontiguousarray(block, dtype=np.float32))
        return digest.hexdigest()

    def card(self) -> dict[str, Any]:
        """What a report or model card says about the corpus."""
        counts = np.bincount(self.label_ids, minlength=len(self.labels)).tolist()
        sessions, numbers = coded(self.sessions)
        sizes = np.bincount(numbers, minlength=len(sessions))
        return {
            "name": self.name,
            "rows": len(self),
            "classes": dict(zip(self.labels, counts, strict=True)),
            "speakers": len(coded(self.speakers)[0]),
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
            **({} if self.recordings is None else {"hours": round(self.audio.length.sum() / SAMPLING_RATE / 3600, 3)}),
        }

    def left_out_besides(self, chosen: "Corpus") -> Collection[str]:
        """Ids of the rows of the data that are not among some of the rows here."""
        if chosen is self:
            return self.left_out
        gone = np.setdiff1d(np.asarray(self.utterance_ids), np.asarray(chosen.utterance_ids))
        return frozenset(self.left_out) | frozenset(gone.tolist())

    def select(self, indices: np.ndarray) -> "Corpus":
        """The rows `indices`, in that order. Features are shared, not copied."""
        indices = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            make_dataset=None if self.make_dataset is None else partial(_selected, self, indices),
            label_ids=self.label_ids[indices],
            speakers=self.speakers[indices],
            sessions=self.sessions[indices],
            utterance_ids=self.utterance_ids[indices],
            transcripts=[texts[i] for i in indices] if isinstance(texts := self.transcripts, list) else texts[indices],
            vad=self.vad[indices],
            difficulty=None if self.difficulty is None else self.difficulty[indices],
            curriculum_order=None if self.curriculum_order is None else self.curriculum_order[indices],
            audio=self.audio.take(indices),
            own={name: vectors.take(indices) for name, vectors in self.own.items()},
            recordings=None if self.recordings is None else self.recordings[indices],
            splits=None if self.splits is None else self.splits[indices],
            scripts=None if self.scripts is None else self.scripts[indices],
        )


def _selected(corpus: Corpus, indices: np.ndarray) -> datasets.Dataset:
    return corpus.dataset.select(indices)


def _text_blocks(texts: Column) -> Iterator[np.ndarray | pa.Buffer]:
    """What tells a column of strings from any other: the offsets too, so that no two run together alike."""
    if not isinstance(texts, Names | Texts):
        yield from pa.array(texts, pa.large_string()).buffers()[1:]
        return
    end = 0
    yield np.zeros(1, np.int64)
    for piece in pieces(texts):
        ends = np.cumsum(pc.binary_length(piece).to_numpy(), dtype=np.int64) + end
        yield ends
        end = int(ends[-1])
    for piece in pieces(texts):
        yield pa.array(piece.to_pylist(), pa.large_string()).buffers()[2]


__all__ = ["Corpus"]
