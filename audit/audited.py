"""What is audited, the rows and their folds, and what is found."""

from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np

from ..features.numbering import numbered_ids
from ..features.sequences import Sequences
from ..text_columns import Column

NONE = -1
"""The number of a row that has no recording, or no words."""

TRAIN, VALIDATION = "training", "validation"
"""Names of parts; the others are tested: `test`, or `test1`, `test2`, ..."""


@dataclass(frozen=True, eq=False)
class AuditedRows:
    """The n rows of some corpora.

    Args:
        corpora: (n,) name of each row's corpus.
        labels: (n,) class numbers.
        label_names: class names in the order of the class numbers.
        speakers, sessions: (n,) names; speakers' are unique across corpora.
        unknown_speaker: (n,) bool, where it isn't known who speaks.
        utterance_ids: (n,) unique within a corpus.
        sentences, recordings: (n,) the same number for the same words, or the same features or samples; `NONE`.
        vad: (n, 3) valence, arousal, dominance on 1-5, NaN where they are not rated.
        audio: features, or samples of recordings, of length 0 where the voice is missing; None where nothing has any.
        recorded: whether `audio` holds samples.
        reads_words: whether a model is to read the words, so that it can know those of test rows.
        encoders: what is found of what encoders had seen before.
    """

    corpora: Column
    labels: np.ndarray
    label_names: tuple[str, ...]
    speakers: Column
    sessions: Column
    unknown_speaker: np.ndarray
    utterance_ids: Column
    sentences: np.ndarray
    recordings: np.ndarray
    vad: np.ndarray
    audio: Sequences | None = None
    recorded: bool = False
    reads_words: bool = False
    encoders: tuple["Finding", ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) vectors, or samples, of each row's voice; 0 where it is missing."""
        return np.zeros(len(self), np.int64) if self.audio is None else self.audio.length

    @cached_property
    def alike_ids(self) -> np.ndarray:
        """(n,) the same number for utterance ids that are written alike but for capitals, folders and endings."""
        return numbered_ids(self.utterance_ids)

    def row(self, row: int) -> str:
        """`'utterance' of CORPUS`."""
        return f"{str(self.utterance_ids[row])!r} of {self.corpora[row]}"


@dataclass(frozen=True, eq=False)
class AuditedFold:
    """A fold.

    Args:
        name: its name, and its seed where another seed's is not the same.
        parts: the row numbers of each part.
        again: whether one before it tests the same rows against the same others, which it but divides otherwise into
            training and validation.
    """

    name: str
    parts: dict[str, np.ndarray]
    again: bool = False

    @property
    def tests(self) -> list[str]:
        """Names of the parts that are tested."""
        return [name for name in self.parts if name not in (TRAIN, VALIDATION)]

    def rows(self, *names: str) -> np.ndarray:
        """The rows of some parts."""
        return np.concatenate([self.parts[name] for name in names if name in self.parts] or [np.zeros(0, np.int64)])


@dataclass(frozen=True)
class Finding:
    """One thing that is found.

    Args:
        check: what was looked at: `speakers`, `sentences`, `recordings`, ...
        text: in words.
        problem: whether scores can't be taken at their face value for it; otherwise it is good to know.
        numbers: the same as numbers.
    """

    check: str
    text: str
    problem: bool = True
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Audit:
    """All that is found.

    Args:
        name: of what was audited.
        rows: how many.
        findings: problems first.
        pairs: of each fold and pair of parts, what both have, as `parts.pair_counts` gives it.
        parts: of each part of each fold, rows, speakers and rows of each class.
        speakers: of each speaker, rows of each class.
        probes: what labels could be told from, as `shortcuts.Probe`.
        lengths: of each class, as `content.class_lengths` gives them.
    """

    name: str
    rows: int
    findings: list[Finding]
    pairs: list[dict[str, Any]]
    parts: list[dict[str, Any]]
    speakers: list[dict[str, Any]]
    probes: list[dict[str, Any]]
    lengths: list[dict[str, Any]]

    @property
    def problems(self) -> list[Finding]:
        """What is a problem."""
        return [finding for finding in self.findings if finding.problem]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return {**asdict(self), "problems": len(self.problems)}


__all__ = ["NONE", "TRAIN", "VALIDATION", "Audit", "AuditedFold", "AuditedRows", "Finding"]
