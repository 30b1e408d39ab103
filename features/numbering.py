"""Rows that hold the same, by number: no Python object is kept for a row.

Recordings are the same where their features are, to the last bit of float16, or their samples. Words are the same
where their letters and digits are.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ..modalities import EMPTY_TRANSCRIPT
from ..modalities import is_missing
from ..text_columns import Column
from ..text_columns import pieces
from .sequences import Sequences

NONE = -1
"""The number of rows that hold nothing."""

_BLOCK_ROWS = 1 << 12
_BLANK = r"[\s\v\x1c-\x1f]*"  # what Python's `strip` takes off of ASCII text
_EMPTY = f"^{_BLANK}{re.escape(EMPTY_TRANSCRIPT)}{_BLANK}$"
_ENDING = r"\.(wav|flac|mp3|ogg|opus|m4a|mp4|avi)$"


def numbered(signs: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(n,) int64, the same number for the same signs, counted as they first occur.

    Args:
        signs: (n, k) uint64.
        there: (n,) bool; the other rows have the number -1.
    """
    rows = _rows(there)
    return _counted(first_of_each([column[rows] for column in signs.T]), rows, len(signs))


def _rows(there: np.ndarray) -> np.ndarray | slice:
    """The rows that are there, as an index that copies nothing where all are."""
    return slice(None) if there.all() else np.flatnonzero(there)


def _counted(first: np.ndarray, rows: np.ndarray | slice, count: int) -> np.ndarray:
    """(count,) numbers of rows of which the first like them is known, -1 of the others."""
    own = np.zeros(len(first), bool)
    own[first] = True
    numbers = (np.cumsum(own) - 1)[first]
    if isinstance(rows, slice):
        return numbers
    whole = np.full(count, NONE, np.int64)
    whole[rows] = numbers
    return whole


def first_of_each(columns: list[np.ndarray]) -> np.ndarray:
    """(n,) int64: the first of the rows that have the same numbers as each, in all columns (n,)."""
    rows = len(columns[0])
    if not rows:
        return np.zeros(0, np.int64)
    columns = [column for column in columns if (column != column[0]).any()]
    if not columns:
        return np.zeros(rows, np.int64)
    order = np.lexsort(columns) if len(columns) > 1 else np.argsort(columns[0], kind="stable")
    new = np.zeros(rows, bool)
    new[0] = True
    for column in columns:
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    begins = np.flatnonzero(new)
    first = np.empty(rows, np.int64)
    first[order] = np.repeat(order[begins], np.diff(np.append(begins, rows)))  # stable: the first of them comes first
    return first


def numbered_words(transcripts: Column) -> np.ndarray:
    """(n,) the same number for the same words (see `plain_words`), -1 for none."""
    return _numbered_texts(transcripts, _plain)


def missing_words(transcripts: Column) -> np.ndarray:
    """(n,) bool, as `is_missing` says of each."""
    found = [
        pc.match_substring_regex(piece, f"^{_BLANK}$|{_EMPTY}").to_numpy(zero_copy_only=False)
        if pc.all(pc.string_is_ascii(piece), min_count=0).as_py()
        else np.array([is_missing(text) for text in piece.to_pylist()])
        for piece in pieces(transcripts)
    ]
    return np.concatenate(found) if found else np.zeros(0, bool)


def numbered_ids(utterance_ids: Column) -> np.ndarray:
    """(n,) the same number for ids that are written alike but for capitals, folders and endings of recordings."""
    return _numbered_texts(utterance_ids, _plain_ids, empty=True)


def plain_words(text: str) -> str:
    """The words, whatever their case, marks and spaces."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def plain_id(name: str) -> str:
    """An utterance id without case, folders and the ending of a recording."""
    return re.sub(_ENDING, "", re.split(r"[/\\]", name.casefold())[-1])


def numbered_recordings(audio: Sequences) -> np.ndarray:
    """(n,) the same number for the same features or samples, -1 for none.

    Rows are told apart by their length and two of their vectors where that is enough, so that of a large corpus little
    is read; those that agree in these are compared whole.
    """
    rows = _rows(audio.length > 0)
    first = first_of_each([column[rows] for column in _recording_signs(audio)])
    alike = np.flatnonzero(np.bincount(first, minlength=len(first))[first] > 1)
    places = alike if isinstance(rows, slice) else rows[alike]
    known: dict[tuple[int, bytes], int] = {}
    for place, row in zip(alike.tolist(), places.tolist(), strict=True):
        first[place] = known.setdefault((int(first[place]), _hash(audio[row])), place)
    return _counted(first, rows, len(audio))


def _recording_signs(audio: Sequences) -> list[np.ndarray]:
    """(n,) each: the length of every row, and uint64 numbers for its first vector and for that in its middle."""
    there, several = np.flatnonzero(audio.length), bool((audio.length > 1).any())
    signs = [np.zeros(len(audio), np.uint64) for _ in range(1 + several)]
    for begin in range(0, len(there), _BLOCK_ROWS):
        rows = there[begin : begin + _BLOCK_ROWS]
        signs[0][rows] = _summed(audio, rows, np.zeros_like(rows))
        if several:
            signs[1][rows] = _summed(audio, rows, audio.length[rows] // 2)
    return [audio.length, *signs]


def _summed(audio: Sequences, rows: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(rows,) a number made of every bit of one vector of each row."""
    sums = np.empty(len(rows), np.uint64)
    for number in np.unique(audio.part[rows]):
        odd = np.random.default_rng(0).integers(2**63, size=audio.parts[number].shape[1], dtype=np.uint64) * 2 + 1
        of_part = np.flatnonzero(audio.part[rows] == number)
        vectors = audio.parts[number][audio.start[rows[of_part]] + frame[of_part]]
        sums[of_part] = (_half(vectors).view(np.uint16).astype(np.uint64) * odd).sum(axis=1, dtype=np.uint64)
    return sums


def _hash(vectors: np.ndarray) -> bytes:
    return hashlib.blake2b(_half(vectors), digest_size=16).digest()


def _half(vectors: np.ndarray) -> np.ndarray:
    if vectors.dtype == np.int16:  # samples of recordings, which are compared as they are
        return np.ascontiguousarray(vectors)
    with np.errstate(over="ignore"):  # what float16 can't hold is infinite in both
        return np.ascontiguousarray(vectors, dtype=np.float16)


def _numbered_texts(column: Column, plain: Callable[[pa.Array], pa.Array], empty: bool = False) -> np.ndarray:
    """Numbers of texts that are the same once they are `plain`; of "" none, but where `empty` ones count."""
    signs = np.zeros((len(column), 2), np.uint64)
    there = np.ones(len(column), bool)
    first = 0
    for piece in pieces(column):
        texts = plain(piece).cast(pa.binary()).to_pylist()
        digests = b"".join(map(xxhash.xxh3_128_digest, texts))
        last = first + len(texts)
        signs[first:last] = np.frombuffer(digests, np.uint64).reshape(-1, 2)
        if not empty:
            there[first:last] = [text != b"" for text in texts]
        first = last
    return numbered(signs, there)


def _plain(texts: pa.Array) -> pa.Array:
    """`plain_words` of each, "" where there are no words."""
    words = pc.replace_substring_regex(pc.ascii_lower(texts), "[^0-9a-z_]+", " ")
    words = pc.if_else(pc.match_substring_regex(texts, _EMPTY), "", pc.ascii_trim(words, " "))
    return _or_each(texts, words, lambda text: "" if text.strip() == EMPTY_TRANSCRIPT else plain_words(text))


def _plain_ids(names: pa.Array) -> pa.Array:
    plain = pc.replace_substring_regex(pc.ascii_lower(names), r"(?s)^.*[/\\]", "")
    return _or_each(names, pc.replace_substring_regex(plain, _ENDING, ""), plain_id)


def _or_each(texts: pa.Array, of_ascii: pa.Array, of_each: Callable[[str], str]) -> pa.Array:
    """What Arrow makes of ASCII, and Python of the others."""
    other = pc.invert(pc.string_is_ascii(texts))
    if not pc.any(other).as_py():
        return of_ascii
    made: Iterator[str] = (of_each(text) for text in texts.filter(other).to_pylist())
    return pc.replace_with_mask(of_ascii, other, pa.array(made, of_ascii.type))


__all__ = [
    "NONE", "first_of_each", "missing_words", "numbered", "numbered_ids", "numbered_recordings", "numbered_words",
    "plain_id", "plain_words",
]  # fmt: skip
