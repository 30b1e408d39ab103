"""What test rows share with the rows that a model is trained on: the same recordings, the same words.

No split by speaker or session sees either: a recording can be there twice under two names, and where everybody reads
the same sentences, a model that reads words knows the test rows' before.

Recordings are the same where their features are, to the last bit of float16: copies of one extraction, in whatever
precision and under whatever name. Features that were made twice, in batches of other company, may differ in low bits
and are not found. Where there are recordings and no features, they are the same where all samples are, in whatever
kind of file. Words are the same where their letters and digits are.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.folds import Fold as PlannedFold
from ..features.sequences import Sequences
from ..modalities import TEXT

if TYPE_CHECKING:
    from .data import ExperimentData

Fold = tuple[np.ndarray, np.ndarray]

_NONE = -1  # the number of rows without voice, or without words: they share nothing
_BLOCK_ROWS = 1 << 12


@dataclass(frozen=True, eq=False)
class Content:
    """What the rows of an experiment hold, as numbers: rows with the same number hold the same.

    Args:
        recordings: (n,) of the features; -1 where there are none.
        words: (n,) of the transcript; -1 where there is none.
    """

    recordings: np.ndarray
    words: np.ndarray

    @classmethod
    def of(cls, audio: Sequences, transcripts: Sequence[str], is_missing: Callable[[str], bool]) -> "Content":
        """The content of rows with these features and transcripts."""
        return cls(numbered_recordings(audio), numbered_words(transcripts, is_missing))


def numbered_words(transcripts: Sequence[str], is_missing: Callable[[str], bool]) -> np.ndarray:
    """(n,) the same number for the same words (see `plain_words`), -1 for none."""
    texts = [None if is_missing(text) else plain_words(text) for text in transcripts]
    return _numbered(text or None for text in texts)


def plain_words(text: str) -> str:
    """The words, whatever their case, marks and spaces."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def shared_rows(numbers: np.ndarray, folds: Sequence[Fold]) -> list[int]:
    """Of each fold, how many test rows hold what one of its training rows holds.

    Args:
        numbers: (n,) of all rows, from `Content`.
        folds: (rows that are trained on or choose the epoch, test rows) of each.
    """
    found = []
    for train, test in folds:
        known = np.zeros(numbers.max(initial=0) + 1, bool)
        known[numbers[train][numbers[train] != _NONE]] = True
        tested = numbers[test]
        found.append(int(known[tested[tested != _NONE]].sum()))
    return found


def shared_in_words(folds: Sequence[Fold], shared: dict[str, list[int]]) -> str:
    """What test rows share with training rows, over all folds, as the end of a sentence.

    Args:
        folds: as in `shared_rows`.
        shared: what it is -> what `shared_rows` says of it.
    """
    sizes = [len(test) for _, test in folds]
    parts = []
    for what, counts in shared.items():
        total, most = sum(counts) / sum(sizes), max(count / size for count, size in zip(counts, sizes, strict=True))
        fold = f", in one fold {most:.1%}" if most > total + 5e-4 else ""
        parts.append(f"{sum(counts)} ({total:.1%}{fold}) share {what}" if sum(counts) else f"none shares {what}")
    return f"of {sum(sizes)} test rows {' and '.join(parts)} with a training or validation row"


def shared_lines(data: "ExperimentData", folds: Sequence[PlannedFold]) -> tuple[list[str], list[str]]:
    """What test rows of an experiment share with training and validation rows, in words: recordings, and for models
    that read them, words; a line for what is tested, and those lines that say that there is any.

    Args:
        folds: of all seeds; those with the same test rows and the same others count once.
    """
    folds = list({_sides(data, fold): fold for fold in reversed(folds)}.values())[::-1]
    asked = {"their words": data.sentences} if TEXT.name in data.settings.modalities else {}
    if any(corpus.has_audio for corpus in data.corpora):
        same = "features" if data.recordings is None else "samples"
        asked = {f"their recording (the same {same})": data.same_recordings, **asked}
    lines, found = [], []
    for name in dict.fromkeys(part.name for fold in folds for part in fold.test):
        pairs = [
            (data.rows((*fold.train, *fold.validation)), data.rows((part,)))
            for fold in folds
            for part in fold.test
            if part.name == name
        ]
        shared = {what: shared_rows(numbers, pairs) for what, numbers in asked.items()}
        lines.append(f"{name}: {shared_in_words(pairs, shared)}")
        found += [lines[-1]] if any(map(any, shared.values())) else []
    return lines, found


def _sides(data: "ExperimentData", fold: PlannedFold) -> tuple[bytes, ...]:
    """What tells folds apart by their test rows and the other ones."""
    sides = np.sort(data.rows((*fold.train, *fold.validation))), data.rows(fold.test)
    return tuple(hashlib.sha256(rows.tobytes()).digest() for rows in sides)


def _numbered(values: Iterable[object | None]) -> np.ndarray:
    """(n,) the same number for the same value, -1 for None."""
    known: dict[object, int] = {}
    return np.array([_NONE if each is None else known.setdefault(each, len(known)) for each in values], np.int64)


def numbered_recordings(audio: Sequences) -> np.ndarray:
    """(n,) the same number for the same features or samples, -1 for none.

    Rows are told apart by their length and two of their vectors where that is enough, so that of a large corpus little
    is read; those that agree in these are compared whole.
    """
    there = np.flatnonzero(audio.length)
    signs = np.zeros((len(there), 3), np.uint64)
    signs[:, 0] = audio.length[there]
    for first in range(0, len(there), _BLOCK_ROWS):
        rows = there[first : first + _BLOCK_ROWS]
        signs[first : first + _BLOCK_ROWS, 1] = _summed(audio, rows, np.zeros_like(rows))
        signs[first : first + _BLOCK_ROWS, 2] = _summed(audio, rows, audio.length[rows] // 2)
    _, number, counts = np.unique(signs, axis=0, return_inverse=True, return_counts=True)
    number = number.reshape(-1)
    whole = (_hash(audio[row]) if counts[i] > 1 else None for row, i in zip(there, number, strict=True))
    numbers = np.full(len(audio), _NONE, np.int64)
    numbers[there] = _numbered((int(i), same) for i, same in zip(number, whole, strict=True))
    return numbers


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


__all__ = [
    "Content", "numbered_recordings", "numbered_words", "plain_words", "shared_in_words", "shared_lines",
    "shared_rows",
]  # fmt: skip
