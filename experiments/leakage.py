"""What test rows share with the rows that a model is trained on: the same recordings, the same words.

No split by speaker or session sees either: a recording can be there twice under two names, and where everybody reads
the same sentences, a model that reads words knows the test rows' before.

Recordings are the same where their features are, to the last bit of float16: copies of one extraction, in whatever
precision and under whatever name. Features that were made twice, in batches of other company, may differ in low bits
and are not found. Where there are recordings and no features, they are the same where all samples are, in whatever
kind of file. Words are the same where their letters and digits are.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.folds import Fold as PlannedFold
from ..features.numbering import NONE
from ..features.numbering import numbered_recordings
from ..features.numbering import numbered_words
from ..features.numbering import plain_words
from ..features.sequences import Sequences
from ..modalities import TEXT
from ..text_columns import Column

if TYPE_CHECKING:
    from .data import ExperimentData

Fold = tuple[np.ndarray, np.ndarray]


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
    def of(cls, audio: Sequences, transcripts: Column) -> "Content":
        """The content of rows with these features and transcripts."""
        return cls(numbered_recordings(audio), numbered_words(transcripts))


def shared_rows(numbers: np.ndarray, folds: Sequence[Fold]) -> list[int]:
    """Of each fold, how many test rows hold what one of its training rows holds.

    Args:
        numbers: (n,) of all rows, from `Content`.
        folds: (rows that are trained on or choose the epoch, test rows) of each.
    """
    found = []
    for train, test in folds:
        known = np.zeros(numbers.max(initial=0) + 1, bool)
        known[numbers[train][numbers[train] != NONE]] = True
        tested = numbers[test]
        found.append(int(known[tested[tested != NONE]].sum()))
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


__all__ = [
    "Content", "numbered_recordings", "numbered_words", "plain_words", "shared_in_words", "shared_lines",
    "shared_rows",
]  # fmt: skip
