"""Large corpora as they were read and checked once: mapped from disk at each further start.

What `load_corpus` makes of data files of parquet, csv or jsonl is kept by everything that it was made of: the content
of the files, the spec, the modalities, the code that reads. The features lie in copies of their own
(mapped_features.py), which any spec of the same files shares. Of the rest speakers, sessions, splits and scripts are
numbers, and ids and transcripts stay in Arrow: nothing of a corpus is a Python object for each row.
"""

import hashlib
import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from typing import Protocol

import numpy as np
import pyarrow as pa

from ..errors import InputError
from ..features.sequences import Sequences
from ..modalities import get_modality
from ..text_columns import Column
from ..text_columns import Names
from ..text_columns import Texts
from ..text_columns import coded
from .copies import Copies
from .copies import read_arrow
from .copies import write_arrow
from .corpus import Corpus
from .mapped_features import mapped_vectors
from .spec import CorpusSpec

_FORMAT = "corpus-1"
_LARGE = 32 * 2**20
"""Bytes of data files from which a corpus is kept."""
_COPIED = (".parquet", ".csv", ".tsv", ".jsonl")
_ROWS, _LEFT_OUT, _CORPUS = "rows.arrow", "left_out.arrow", "corpus.json"
_NAMES = ("speakers", "sessions", "splits", "scripts")
_TEXTS = ("utterance_ids", "transcripts")
_NUMBERS = ("difficulty", "curriculum_order")
_OF_ROWS = ("part", "start", "length")


@dataclass(frozen=True)
class Sources:
    """The files of a corpus.

    Args:
        files: of its data, and what else is read of it, in order.
        notes: on files that are passed over.
    """

    files: Sequence[Path]
    notes: Sequence[str] = ()

    @property
    def large(self) -> bool:
        """Whether the corpus is worth keeping, and can be."""
        return all(file.suffix.lower() in (*_COPIED, ".json") for file in self.files) and is_large(
            file.stat().st_size for file in self.files
        )

    def content(self, copies: Copies) -> list[list[str]]:
        """What the corpus is made of, as JSON: [name, hash] of each file. Raises OSError."""
        return [[file.name, copies.digest(file)] for file in self.files]

    def changed(self, before: list[list[str]], copies: Copies) -> str | None:
        """The first file whose content is no longer what it was `before`; None where all is."""
        try:
            now = self.content(copies)
        except OSError as error:
            return str(error.filename)
        pairs = zip(self.files, before, now, strict=True)
        return next((str(file) for file, was, is_now in pairs if was != is_now), None)


class Source(Protocol):
    """What a corpus is read from: files here, or on the Hub."""

    notes: Sequence[str]

    @property
    def large(self) -> bool:
        """Whether the corpus is worth keeping, and can be."""

    def content(self, copies: Copies) -> list[Any]:
        """What the corpus is made of, as JSON. Raises OSError."""

    def changed(self, before: list[Any], copies: Copies) -> str | None:
        """What of the content is no longer as it was `before`, in words; None where all is."""


def is_large(sizes: Iterable[int]) -> bool:
    """Whether data files of so many bytes are worth keeping."""
    return sum(sizes) >= _LARGE


def kept_corpus(
    spec: CorpusSpec,
    modalities: Sequence[str],
    sources: Source,
    copies: Copies,
    read: Callable[[], Corpus],
) -> Corpus:
    """The corpus from where it is kept; else read, and kept for the next time, where that can be done.

    Args:
        read: reads it, its features from copies.

    Raises:
        InputError: as `read` does; a file was replaced while it was read.
    """
    try:
        content = sources.content(copies)
    except OSError:
        return read()
    key = _key(spec, modalities, [content, list(sources.notes)])
    found = _mapped(copies, key, spec, modalities)
    if found is None:
        with copies.locked():
            found = _mapped(copies, key, spec, modalities)  # another process may have made it meanwhile
            if found is None:
                corpus = _read(spec.name, sources, content, copies, read)
                found = _kept(copies, key, corpus, spec, modalities) or corpus
    copies.save()
    return found


def _read(name: str, sources: Source, content: list, copies: Copies, read: Callable[[], Corpus]) -> Corpus:
    """The corpus, of files that are still what they were before. Else what was read is of neither content."""
    failure = None
    try:
        corpus = read()
    except InputError as error:
        failure = error
    other = sources.changed(content, copies)
    if other is not None:
        raise InputError(f"corpus {name}: {other} changed while it was read; start again") from failure
    if failure is not None:
        raise failure
    return corpus


def _key(spec: CorpusSpec, modalities: Sequence[str], content: list) -> str:
    of_modalities = [repr(get_modality(name)) for name in modalities]
    made_of = [_FORMAT, _code(), asdict(spec), of_modalities, content]
    return f"{_FORMAT}-{hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:32]}"


@cache
def _code() -> str:
    """A hash of the code that reads corpora: what other code has read is read again."""
    folder = Path(__file__).parent
    beside = [folder.parent / name for name in ("modalities.py", "speech_features.py", "text_columns.py")]
    digest = hashlib.sha256()
    for file in [*sorted(folder.rglob("*.py")), *beside]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


# ---- writing --------------------------------------------------------------------------------------------------------


def _kept(copies: Copies, key: str, corpus: Corpus, spec: CorpusSpec, modalities: Sequence[str]) -> Corpus | None:
    """The corpus, kept and mapped; None where it can't be."""
    places = {name: _places(copies, corpus.vectors(name)) for name in ("audio", *modalities)}
    if any(place is None for place in places.values()):
        return None
    fingerprint = corpus.fingerprint

    def fill(folder: Path) -> None:
        table, names = _table(corpus, modalities)
        write_arrow(folder / _ROWS, table)
        write_arrow(folder / _LEFT_OUT, pa.table({"ids": pa.array(sorted(corpus.left_out), pa.large_string())}))
        about = {"names": names, "notes": corpus.notes, "fingerprint": fingerprint, "features": places}
        about["spec"] = {name: getattr(corpus.spec, name) for name in ("speech_encoder", "extractor", "audio_dim")}
        (folder / _CORPUS).write_text(json.dumps(about), encoding="utf-8")

    if copies.make(key, fill) is None:
        return None
    return _mapped(copies, key, spec, modalities)


def _places(copies: Copies, vectors: Sequences) -> dict[str, Any] | None:
    """In which copies the vectors lie, and their width; None where some lie elsewhere."""
    names = []
    for part in vectors.parts:
        key = copies.mapped.get(part.ctypes.data) if len(part) else None
        if key is None and len(part):
            return None
        names.append(key)
    return {"copies": names, "dim": vectors.dim}


def _table(corpus: Corpus, modalities: Sequence[str]) -> tuple[pa.Table, dict[str, list[str]]]:
    """The rows, and the names that their numbers stand for."""
    columns: dict[str, pa.Array] = {"label_ids": pa.array(corpus.label_ids)}
    names: dict[str, list[str]] = {}
    for column in _NAMES:
        values: Column | None = getattr(corpus, column)
        if values is not None:
            different, codes = coded(values)
            names[column] = different.tolist()
            columns[column] = pa.array(codes.astype(np.int32))
    for column in _TEXTS:
        columns[column] = pa.array(getattr(corpus, column), pa.large_string())
    columns["vad"] = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(corpus.vad).reshape(-1)), 3)
    for column in _NUMBERS:
        if getattr(corpus, column) is not None:
            columns[column] = pa.array(getattr(corpus, column))
    for name in ("audio", *modalities):
        vectors = corpus.vectors(name)
        for of_row in _OF_ROWS:
            columns[f"{name}.{of_row}"] = pa.array(getattr(vectors, of_row))
    return pa.table(columns), names


# ---- reading --------------------------------------------------------------------------------------------------------


def _mapped(copies: Copies, key: str, spec: CorpusSpec, modalities: Sequence[str]) -> Corpus | None:
    """The corpus as it is kept; None where it isn't, or features of it are gone."""
    folder = copies.find(key)
    if folder is None:
        return None
    about = json.loads((folder / _CORPUS).read_text(encoding="utf-8"))
    table = read_arrow(folder / _ROWS)
    vectors = {}
    for name in ("audio", *modalities):
        place = about["features"][name]
        found = [None if copy is None else copies.find(copy) for copy in place["copies"]]
        if any(copy is not None and there is None for copy, there in zip(place["copies"], found, strict=True)):
            return None
        parts = [
            np.empty((0, place["dim"]), np.float32) if there is None else mapped_vectors(there, place["dim"])
            for there in found
        ]
        vectors[name] = Sequences(tuple(parts), *(_array(table, f"{name}.{each}") for each in _OF_ROWS))
    corpus = Corpus(
        spec=replace(spec, **about["spec"]),
        label_ids=_array(table, "label_ids"),
        **{column: _names(table, about["names"], column) for column in _NAMES},
        **{column: Texts(table.column(column)) for column in _TEXTS},
        vad=table.column("vad").chunk(0).flatten().to_numpy().reshape(-1, 3),
        **{column: _array(table, column) for column in _NUMBERS},
        audio=vectors.pop("audio"),
        own=vectors,
        notes=about["notes"],
        left_out=Texts(read_arrow(folder / _LEFT_OUT).column("ids")),
    )
    corpus.__dict__["fingerprint"] = about["fingerprint"]
    return corpus


def _array(table: pa.Table, column: str) -> np.ndarray | None:
    if column not in table.column_names:
        return None
    return table.column(column).chunk(0).to_numpy()


def _names(table: pa.Table, names: Mapping[str, list[str]], column: str) -> Names | None:
    codes = _array(table, column)
    return None if codes is None else Names(np.array(names[column], dtype=str), codes)


__all__ = ["Source", "Sources", "is_large", "kept_corpus"]
