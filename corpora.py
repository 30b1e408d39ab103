"""Any corpus, from anywhere, in one schema: `load_corpus(spec)`.

Everything is read straight from Arrow buffers: nested features become flat arrays without a Python object per value,
memory-mapped where the data lie in a `save_to_disk` folder, an Arrow file or a `.npy`.
"""

import hashlib
import os
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.fingerprint import generate_random_fingerprint

from .corpus_features import blocks
from .corpus_features import check_finite
from .corpus_features import features_column
from .corpus_features import read_features
from .corpus_reading import RawCorpus
from .corpus_reading import read_raw
from .corpus_specs import BUILTIN as BUILTIN
from .corpus_specs import CorpusSpec as CorpusSpec
from .corpus_specs import resolve_specs as resolve_specs
from .errors import InputError
from .rows import Sequences
from .speech_features import SpeechFeatures

EMPTY_TRANSCRIPT = "[EMPTY]"
UNKNOWN = "unknown"
RATINGS = ("valence", "arousal", "dominance")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus in the one schema, as arrays with a row each.

    Args:
        spec: what it was loaded from.
        dataset: the same rows as a `datasets.Dataset`: utterance_id, corpus, speaker, session, label (ClassLabel),
            transcript, audio_features (dim,) or (frames, dim), valence, arousal, dominance (1-5, NaN where unrated),
            and difficulty, curriculum_order and audio where the corpus has them.
        label_ids: (n,) int64 class numbers, positions in `labels`.
        speakers, sessions, utterance_ids: (n,) strings; speakers are unique across corpora (`IEMO/3`).
        transcripts: n strings, `[EMPTY]` where there are no words.
        vad: (n, 3) float32 valence, arousal, dominance on 1-5, NaN where unrated.
        difficulty, curriculum_order: (n,) float32, NaN where missing; None where the corpus has no such column.
        audio: voice features; length 0 where the voice is missing.
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
        )


def load_corpus(spec: CorpusSpec, with_recordings: bool = False) -> Corpus:
    """Reads the corpus that `spec` describes, checks it and brings it into the schema.

    Args:
        with_recordings: from the Hub, read the variant that has recordings besides (`hub_id_audio`).

    Raises:
        InputError: not reachable, not readable, empty; a column, feature, label or rating that is missing or wrong,
            with the row's utterance id.
    """
    raw = read_raw(spec, with_recordings)
    if raw.speech_encoder is not None:
        made_by = SpeechFeatures.from_dict(raw.speech_encoder)
        spec = replace(spec, speech_encoder=raw.speech_encoder, extractor=made_by.in_words(), audio_dim=made_by.width)
    return _Normaliser(spec, raw).corpus()


class _Normaliser:
    """One raw corpus on its way into the schema: each method makes one column, and notes what it had to fill in."""

    def __init__(self, spec: CorpusSpec, raw: RawCorpus):
        if not raw.table.num_rows:
            raise InputError(f"corpus {spec.name}: empty: no rows in {raw.source}")
        self.spec, self.table, self.source = spec, raw.table, raw.source
        self.sequences = raw.audio
        self.rows = raw.table.num_rows
        self.notes: list[str] = list(raw.notes)
        self.ids = self._utterance_ids()

    def corpus(self) -> Corpus:
        label_ids, kept = self._labels()
        speakers = self._speakers()
        sessions = self._sessions()
        transcripts = self._transcripts()
        vad = self._vad()
        extra = {role: self._floats(role) for role in ("difficulty", "curriculum_order")}
        audio = self.sequences or read_features(self._column("features"), self.rows, self.spec.audio_dim, self._wrong)
        check_finite(audio, self._wrong)
        columns: dict[str, Any] = {
            "utterance_id": self.ids,
            "corpus": pa.array([self.spec.name] * self.rows),
            "speaker": speakers,
            "session": sessions,
            "label": pa.array(label_ids, mask=label_ids < 0),
            "transcript": transcripts,
            "audio_features": features_column(audio),
            **{role: pa.array(vad[:, i]) for i, role in enumerate(RATINGS)},
            **{role: pa.array(values) for role, values in extra.items() if values is not None},
        }
        recordings = self._column("audio")
        if recordings is not None:
            columns["audio"] = recordings
        table = pa.table(columns)
        features = datasets.Features.from_arrow_schema(table.schema)
        features["label"] = datasets.ClassLabel(names=self.spec.labels)
        if recordings is not None:
            raw_features = datasets.Features.from_arrow_schema(self.table.schema)
            features["audio"] = raw_features[self._column_name("audio")]
        whole = Corpus(
            spec=self.spec,
            # With a fingerprint of its own: to make one, `datasets` would pickle the whole table.
            dataset=datasets.Dataset(
                table, info=datasets.DatasetInfo(features=features), fingerprint=generate_random_fingerprint()
            ),
            label_ids=label_ids,
            speakers=_strings(speakers),
            sessions=_strings(sessions),
            utterance_ids=_strings(self.ids),
            transcripts=transcripts.to_pylist(),
            vad=vad,
            audio=audio,
            notes=self.notes,
            **extra,
        )
        corpus = whole if kept.all() else whole.select(np.flatnonzero(kept))
        self._note_gaps(corpus)
        return corpus

    # ---- columns

    def _column_name(self, role: str) -> str | None:
        """The name the role's column has here; None where there is none and there needn't be."""
        names, candidates = self.table.column_names, self.spec.candidates(role)
        folded = {name.lower(): name for name in names}
        found = [name for name in candidates if name in names]
        found += [folded[name.lower()] for name in candidates if name.lower() in folded]
        if found:
            return found[0]
        if role in self.spec.required or (role == "speaker" and not self.spec.test_only):
            raise InputError(
                f"corpus {self.spec.name}: no column for {role} (tried {', '.join(candidates)}) in {self.source}; "
                f'columns there: {", ".join(names)}. Name it in the corpus\' "columns": {{"{role}": ...}}'
            )
        return None

    def _column(self, role: str) -> pa.ChunkedArray | None:
        name = self._column_name(role)
        return None if name is None else self.table.column(name)

    def _text(self, role: str) -> pa.Array:
        try:
            return _text(self._column(role))
        except (ValueError, pa.ArrowException) as error:
            raise InputError(f"corpus {self.spec.name}: column {self._column_name(role)} ({role}): {error}") from error

    def _wrong(self, row: int, what: str) -> InputError:
        """The error of one row."""
        return InputError(f"corpus {self.spec.name}, row {self.ids[row].as_py()!r} (number {row}): {what}")

    def _utterance_ids(self) -> pa.Array:
        column = self._column("utterance_id")
        if column is None:
            return pc.binary_join_element_wise(self.spec.name, _text(pa.array(np.arange(self.rows))), "/")
        self.ids = self._text("utterance_id")
        self._refuse_nulls(self.ids, "utterance_id")
        counts = self.ids.value_counts()
        first = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(first):
            twice = first[0]["values"].as_py()
            rows = np.flatnonzero(pc.equal(self.ids, twice).to_numpy(zero_copy_only=False))
            raise InputError(
                f"corpus {self.spec.name}: utterance_id {twice!r} is given to rows {rows[0]} and {rows[1]} of "
                f"{self.source}; each must be there once ({len(first)} ids are not)"
            )
        return self.ids

    def _labels(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) class numbers, -1 where the label is left out, and (n,) whether the row stays."""
        raw = self._text("label")
        self._refuse_nulls(raw, "label")
        encoded = raw.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        named = self._class_label_names()
        numbers = np.empty(len(values), np.int64)
        for i, value in enumerate(values):
            names = [named.get(value, value)]
            mapped = next((self.spec.label_map[name] for name in names if name in self.spec.label_map), None)
            left_out = any(name in self.spec.dropped_labels for name in names)
            if mapped is None and not left_out:
                row = int(np.argmax(encoded.indices.to_numpy() == i))
                raise self._wrong(
                    row,
                    f"label {value!r} is not in the label map ({', '.join(self.spec.label_map)}); map it to one of "
                    f'{self.spec.labels} in the corpus\' "label_map", or leave it out with "dropped_labels"',
                )
            numbers[i] = -1 if left_out else self.spec.labels.index(mapped)
        label_ids = numbers[encoded.indices.to_numpy()]
        kept = label_ids >= 0
        if not kept.all():
            dropped = sorted(value for value, number in zip(values, numbers, strict=True) if number < 0)
            self.notes.append(f"{(~kept).sum()} of {self.rows} rows left out, labelled {', '.join(dropped)}")
        if not kept.any():
            raise InputError(f"corpus {self.spec.name}: empty: every label in {self.source} is left out")
        return label_ids, kept

    def _class_label_names(self) -> dict[str, str]:
        """Number -> name, where the data set itself says what its label numbers mean, in names that are known here.

        Its order is its own (often that of the alphabet), so the numbers are then never taken for the label map's.
        """
        features = datasets.Features.from_arrow_schema(self.table.schema)
        label = features[self._column_name("label")]
        if not isinstance(label, datasets.ClassLabel):
            return {}
        known = {*self.spec.label_map, *self.spec.dropped_labels}
        if not known.intersection(label.names):
            names = ", ".join(label.names)
            self.notes.append(
                f"label numbers are read by the label map; the data set's own names for them are {names}"
            )
            return {}
        return {str(i): name for i, name in enumerate(label.names)}

    def _speakers(self) -> pa.Array:
        column = self._column("speaker")
        if column is None:
            self.notes.append("speakers are not known")
            return pa.array([f"{self.spec.speakers_of}/{UNKNOWN}"] * self.rows)
        speakers = self._text("speaker")
        self._refuse_nulls(speakers, "speaker")
        return pc.binary_join_element_wise(self.spec.speakers_of, speakers, "/")

    def _sessions(self) -> pa.Array:
        rule = self.spec.session_rule
        # The emotion2vec triple's sessions come from its ids: its speakers are no numbers.
        column = self._column("session") if rule is None or self.sequences is not None else None
        if column is not None:
            sessions = self._text("session")
            self._refuse_nulls(sessions, "session")
            return sessions
        if rule is None:
            self.notes.append("sessions are not known")
            return pa.array([UNKNOWN] * self.rows)
        speakers = self._text("speaker")
        wrong = np.flatnonzero(~pc.match_substring_regex(speakers, r"^\d+$").to_numpy(zero_copy_only=False))
        if len(wrong):
            row = int(wrong[0])
            raise self._wrong(
                row,
                f"speaker {speakers[row].as_py()!r} is no number, and the session rule {rule} needs one; name a "
                'session column in the corpus\' "columns": {"session": ...}',
            )
        numbers = pc.cast(speakers, pa.int64()).to_numpy()
        below = np.flatnonzero(numbers < rule["first"])
        if len(below):
            row = int(below[0])
            raise self._wrong(row, f"speaker {numbers[row]}: the session rule {rule} counts from {rule['first']}")
        return _text(pa.array((numbers - rule["first"]) // rule["size"] + 1))

    def _transcripts(self) -> pa.Array:
        column = self._column("transcript")
        if column is None:
            return pa.array([EMPTY_TRANSCRIPT] * self.rows)
        text = pc.fill_null(pc.utf8_trim_whitespace(self._text("transcript")), "")
        return pc.if_else(pc.equal(text, ""), EMPTY_TRANSCRIPT, text)

    def _floats(self, role: str) -> np.ndarray | None:
        """(n,) float32 of a column of numbers, NaN where missing; None where there is no such column."""
        column = self._column(role)
        if column is None:
            return None
        try:
            values = pc.cast(column, pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
        except pa.ArrowException as error:
            raise InputError(f"corpus {self.spec.name}: column {role} must hold numbers: {error}") from None
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            raise self._wrong(int(infinite[0]), f"{role} is {values[infinite[0]]}; it must be a number or missing")
        return values.astype(np.float32)

    def _vad(self) -> np.ndarray:
        low, high = self.spec.vad_scale
        vad = np.full((self.rows, 3), np.nan, dtype=np.float32)
        for i, role in enumerate(RATINGS):
            values = self._floats(role)
            if values is not None:
                vad[:, i] = (values - low) * (4 / (high - low)) + 1
        return vad

    def _refuse_nulls(self, column: pa.Array, role: str) -> None:
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            if role == "utterance_id":
                raise InputError(f"corpus {self.spec.name}: row number {row} of {self.source} has no utterance_id")
            raise self._wrong(row, f"no {role}")

    def _note_gaps(self, corpus: Corpus) -> None:
        """Says what the kept rows lack."""
        empty = sum(text == EMPTY_TRANSCRIPT for text in corpus.transcripts)
        unrated = int(np.isnan(corpus.vad).any(axis=1).sum())
        outside = int(((corpus.vad < 1) | (corpus.vad > 5)).any(axis=1).sum())
        silent = int((corpus.audio.length == 0).sum())
        for count, what in (
            (empty, f"have no transcript: {EMPTY_TRANSCRIPT}"),
            (silent, "have no voice features"),
            (unrated, "lack a rating of valence, arousal or dominance"),
            (outside, f"have a rating outside the scale {list(self.spec.vad_scale)}"),
        ):
            if count:
                self.notes.append(f"{count} of {len(corpus)} rows {what}")


def _text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as strings; whole numbers without a fraction, so that 3 and 3.0 are the same speaker or label.

    Null where there is nothing: NaN, or blanks alone. Raises ValueError for lists and structs.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_nested(array.type) or pa.types.is_binary(array.type):
        raise ValueError(f"it holds {array.type}, and must hold text or numbers")
    if pa.types.is_floating(array.type):
        array = pc.cast(array, pa.float64())
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
        if pc.all(pc.equal(array, pc.floor(array))).as_py():
            array = pc.cast(array, pa.int64())
    array = pc.cast(array, pa.string())
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(array), ""), pa.scalar(None, pa.string()), array)


def _strings(array: pa.Array) -> np.ndarray:
    """(n,) numpy strings."""
    return array.to_numpy(zero_copy_only=False).astype(str)
