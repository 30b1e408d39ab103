"""What lies on both sides of a fold: speakers, words and recordings that are tested, and trained on or validated on.

`disjoint_by` drops the training and validation rows that share such with a test row; test rows stay, so that scores on
them can be compared. What is left over is refused, or, where it is allowed, counted, so that every result says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..text_columns import Column
from ..text_columns import coded
from .protocols import ProtocolRows

NONE = -1


@dataclass(frozen=True)
class Overlap:
    """What of a fold's test rows is known from its training and validation rows.

    Args:
        speakers: tested speakers that have training or validation rows, of those that are known; None where that is
            known of none.
        recordings: test rows whose recording is trained on too, under another id.
        unknown: (part, rows of which it isn't known who speaks), of each part that has such: those of one part can be
            of the speakers of another.
    """

    speakers: int | None = 0
    recordings: int = 0
    unknown: tuple[tuple[str, int], ...] = ()

    def __bool__(self) -> bool:
        return self.speakers != 0 or self.recordings > 0 or bool(self.unknown)


def numbers_of(rows: ProtocolRows, key: str) -> np.ndarray:
    """(n,) rows with the same number share what `disjoint_by` calls so; -1 where a row has none, or it isn't known.

    Raises InputError where it is known of no row.
    """
    if key == "speaker":
        numbers = np.where(rows.unknown_speaker, NONE, rows.coded_speakers[1])
    else:
        numbers = {"transcript": rows.sentences, "script": _coded(rows.scripts), "recording": rows.recordings}[key]
    if numbers is None or not np.any(numbers != NONE):
        more = ", or give the corpus a column script, or an id_pattern with that group" if key == "script" else ""
        raise InputError(f"disjoint_by holds {key}, but no row has a {key} that is known: take it out{more}")
    return numbers


def _coded(names: Column | None) -> np.ndarray | None:
    """(n,) a number for each name, `NONE` for ""."""
    if names is None:
        return None
    return np.where(names == "", NONE, coded(names)[1])


def sharing(numbers: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) bool: those of `rows` that share a number with one of `others`; all three (n,), the latter masks."""
    known = np.unique(numbers[others & (numbers != NONE)])
    return rows & np.isin(numbers, known)


def drop(rows: ProtocolRows, keys: Sequence[str], test: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, dict]:
    """(n,) bool, which of the `other` rows are dropped since they share something with a `test` row; and how many
    share each thing: {key: rows}."""
    gone, counts = np.zeros(len(rows), dtype=bool), {}
    for key in keys:
        found = sharing(numbers_of(rows, key), other, test)
        counts[key] = int(found.sum())
        gone |= found
    return gone, counts


def dropped_in_words(counts: dict[str, int], total: int) -> str:
    """`12 training and validation rows are dropped, which share something with a test row (speaker 12)`."""
    shares = ", ".join(f"{key} {count}" for key, count in counts.items())
    return f"{total} training and validation rows are dropped, which share something with a test row ({shares})"


def overlap_in_words(overlap: Overlap) -> list[str]:
    """What a fold's description says of it."""
    said = []
    if overlap.speakers is None:
        return ["it is not known whether tested speakers are trained on"]
    if overlap.speakers:
        said.append(f"tested speakers that are trained on too: {overlap.speakers}")
    if overlap.unknown:
        counts = ", ".join(f"{count} {part} rows" for part, count in overlap.unknown)
        said.append(f"it is not known who speaks in {counts}")
    if overlap.recordings:
        said.append(f"test rows whose recording is trained on too: {overlap.recordings}")
    return said


__all__ = ["NONE", "Overlap", "drop", "dropped_in_words", "numbers_of", "overlap_in_words", "sharing"]
