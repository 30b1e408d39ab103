"""Corpora whose file names say who speaks, what and how: one reader for all of them, told by a `Layout` each.

Nothing is asked of the folders but what a layout's pattern names, so that an unpacked release, a copy that somebody
has sorted into folders by label, and one converted to flac are read alike. Capitals of file names don't matter.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..folders import ENDINGS
from ..folders import VIDEOS
from ..folders import walked
from .release import RATINGS
from .release import Release
from .release import entries
from .release import labelled

Row = dict[str, Any]
Joined = Callable[[Path, list[Row]], list[str]]

# Of copies of a recording the first of these is taken: what is lossless, then the rest, then videos.
_LOSSLESS = frozenset(".wav .flac .aif .aiff .aifc .w64 .rf64 .caf".split())
# A folder that nobody has named is a release where that many recordings, and that share of them, are called so.
_LEAST, _SHARE, _LOOKED_AT = 10, 0.9, 400
_TABLES = tuple(f"{name}{ending}" for ending in (".csv", ".tsv", ".jsonl") for name in ("metadata", "manifest"))
_MOST_NAMED = 3


@dataclass(frozen=True)
class Layout:
    """How a corpus names its recordings.

    Args:
        corpus: name of the built-in corpus.
        example: a recording's path in the release, for messages.
        pattern: regular expression of the end of a recording's path without its ending, whatever its case. Named
            groups: `label` and `speaker`, unless `also` tells them; `sentence`, `intensity` and `language`, if they
            are there; all groups but `folder` and `source` tell recordings apart.
        files: how many recordings a complete release has.
        labels: code, in lower case -> the corpus' word for it.
        speakers: speaker as rows have it -> gender (f, m, or "" where the release doesn't tell), of all speakers.
        sessions: speaker -> session.
        style: of all rows.
        sentences: sentence code, in lower case -> its words.
        intensities: code, in lower case -> word.
        language: of all rows, where no group tells it.
        also: what else the match says of a row: any of its values, from the groups in lower case.
        transcript: words with `{}` for the sentence code, where `sentences` is empty.
        broken: name without ending, in lower case -> why that recording of the release is left out.
        pieces: regular expression of recordings of the release that are no rows, as pattern, and what is said of them.
        joined: adds what tables of the release say to the rows; gives notes.
        family: of layouts that one release holds, the first one's name; default the corpus.
    """

    corpus: str
    example: str
    pattern: str
    files: int
    labels: Mapping[str, str]
    speakers: Mapping[str, str]
    sessions: Mapping[str, str]
    style: str = "acted"
    sentences: Mapping[str, str] = field(default_factory=dict)
    intensities: Mapping[str, str] = field(default_factory=dict)
    language: str = ""
    also: Callable[[dict[str, str]], Row] | None = None
    transcript: str = ""
    broken: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[str, str] | None = None
    joined: Joined | None = None
    family: str = ""

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """What the end of a path without its ending matches."""
        return re.compile(rf"(?:^|/)(?:{self.pattern})$", re.IGNORECASE)

    @property
    def said(self) -> str:
        """What a folder of it looks like, in a few words."""
        return f"{self.corpus} ({self.example})"

    def match(self, path: str) -> dict[str, str] | None:
        """The groups of a recording's path, in lower case; None where it is none of the corpus'."""
        found = self.expression.search(os.path.splitext(path)[0])
        return None if found is None else {name: (value or "").lower() for name, value in found.groupdict().items()}

    def has(self, folder: Path) -> bool:
        """Whether any recording below `folder` is named so."""
        return any(self.match(path) is not None for path in _recordings(folder))

    def read(self, folder: Path) -> Release:
        """Reads all recordings below `folder`, by their paths.

        Raises:
            InputError: none of them is the corpus'; a table of the release that is wrong.
        """
        rows: dict[tuple[str, ...], Row] = {}
        found = _Passed()
        for path in sorted(_recordings(folder), key=_preferred):
            self._take(path, rows, found)
        if not rows:
            there = len(found.strangers)
            raise InputError(
                f"{self.corpus}: {folder} holds no recording that is named as in the release, {self.example} "
                f"({there} other recordings are there). Name the folder of the unpacked release"
            )
        ordered = sorted(rows.values(), key=lambda row: str(row["path"]))
        told = self.joined(folder, ordered) if self.joined else []
        return Release(self.corpus, ordered, [*self._counted(ordered, found), *found.notes(self), *told])

    def _take(self, path: str, rows: dict[tuple[str, ...], Row], found: "_Passed") -> None:
        told = self.match(path)
        stem = os.path.splitext(os.path.basename(path))[0]
        if told is None:
            piece = self.pieces and re.search(self.pieces[0], os.path.splitext(path)[0], re.IGNORECASE)
            (found.pieces if piece else found.strangers).append(path)
        elif stem.lower() in self.broken:
            found.broken.setdefault(stem.lower(), path)
        else:
            row = self._row(path, stem, told)
            key = (row["speaker"], row["label"], *(v for k, v in told.items() if k not in ("folder", "source")))
            if key in rows:
                found.doubles.append(path)
            else:
                rows[key] = row

    def _row(self, path: str, stem: str, told: dict[str, str]) -> Row:
        also = self.also(told) if self.also else {}
        speaker = also.get("speaker") or _spelled(told["speaker"], self.speakers)
        sentence = told.get("sentence", "")
        row = labelled(
            utterance_id=stem,
            speaker=speaker,
            session=self.sessions.get(speaker, "unknown"),
            label=also.get("label") or self.labels[told["label"]],
            vad=(math.nan, math.nan, math.nan),
            style=self.style,
            gender=self.speakers.get(speaker, ""),
            split=also.get("split", ""),
        )
        words = self.sentences.get(f"{told.get('language', '')}{sentence}")
        row["transcript"] = words or (self.transcript.format(sentence) if self.transcript else None)
        row["path"] = Path(path)
        row["sentence"] = sentence
        row["intensity"] = self.intensities.get(told.get("intensity", ""), "")
        row["language"] = self.language
        return row | also

    def _counted(self, rows: list[Row], found: "_Passed") -> list[str]:
        """How many there are, of how many, and whose are missing."""
        labels = Counter(row["label"] for row in rows)
        notes = [f"{len(rows)} rows: {', '.join(f'{label} {count}' for label, count in sorted(labels.items()))}"]
        there = len(rows) + len(found.broken)
        lacking = [speaker for speaker in self.speakers if speaker not in {row["speaker"] for row in rows}]
        if there == self.files:
            notes.append(f"the whole release: {there} recordings")
        elif there > self.files:
            notes.append(f"{there} recordings, {there - self.files} more than the {self.files} of the release")
        else:
            whose = f"; none of speaker {', '.join(lacking)}" if lacking else ""
            notes.append(f"not the whole release: {there} of {self.files} recordings{whose}")
        return notes


@dataclass
class _Passed:
    """Recordings that are no rows."""

    strangers: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def notes(self, layout: Layout) -> list[str]:
        """In words, with the first names."""
        told = [
            f"{os.path.basename(path)} is left out: {layout.broken[stem]}"
            for stem, path in sorted(self.broken.items())
        ]
        for paths, what in (
            (self.doubles, "are copies of others and left out"),
            (self.pieces, layout.pieces[1] if layout.pieces else ""),
            (self.strangers, f"aren't named as {layout.corpus}'s and left out"),
        ):
            if paths:
                shown = ", ".join(os.path.basename(path) for path in sorted(paths)[:_MOST_NAMED])
                told.append(f"{len(paths)} recordings {what} ({shown}{', ...' if len(paths) > _MOST_NAMED else ''})")
        return told


def kind_by_names(folder: Path, layouts: Mapping[str, Layout]) -> str | None:
    """Which of the corpora a folder is by the names of its recordings; None where it is none, or where a table of the
    user's own lies beside them.

    Of several layouts that fit alike (speech and songs of one release) it is the first.

    Raises:
        InputError: a folder that can't be read.
    """
    if next(entries(folder, *_TABLES), None) is not None:
        return None
    paths = [path for path, _ in zip(_recordings(folder), range(_LOOKED_AT), strict=False)]
    counts = {name: sum(layout.match(path) is not None for path in paths) for name, layout in layouts.items()}
    alike: dict[str, list[str]] = {}
    for name, layout in layouts.items():
        alike.setdefault(layout.family or name, []).append(name)
    for names in alike.values():
        known = sum(counts[name] for name in names)
        if known >= _LEAST and known >= _SHARE * len(paths):
            return next(name for name in names if counts[name])
    return None


def _recordings(folder: Path) -> Iterator[str]:
    """The absolute paths of all recordings and videos below a folder, with slashes."""
    for parent, names in walked(Path(os.path.abspath(folder))):
        for name in names:
            if os.path.splitext(name)[1].lower() in ENDINGS | VIDEOS:
                yield os.path.join(parent, name).replace(os.sep, "/")


def _preferred(path: str) -> tuple[int, str]:
    ending = os.path.splitext(path)[1].lower()
    return (0 if ending in _LOSSLESS else 2 if ending in VIDEOS else 1, path)


def _spelled(code: str, known: Mapping[str, str]) -> str:
    """A speaker as the corpus spells it."""
    return next((name for name in known if name.lower() == code), code.upper())


__all__ = ["RATINGS", "Layout", "kind_by_names"]
