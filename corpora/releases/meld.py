"""MELD as its authors ship it: MELD.Raw, or its audio alone in one folder a part.

```
train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv       words, speakers and labels; anywhere in the folder
train_splits/dia0_utt0.mp4    dev_splits_complete/...         output_repeated_splits_test/...
```

What a recording's folder is called says its part: `dia0_utt0` is there in each of the three.
"""

import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..folders import ENDINGS
from ..folders import VIDEOS
from ..folders import walked
from .beside_recordings import table_rows
from .release import Release
from .release import labelled

CORPUS = "MELD"
EXAMPLE = "train_sent_emo.csv, train_splits/dia0_utt0.mp4"
FILES = 13_708
"""Utterances of the three tables; two have no recording that can be read."""
PARTS = ("train", "dev", "test")
LABELS = {label: label for label in ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")}
STYLE = "acted"
COLUMNS = ["Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"]
BROKEN = {("train", 125, 3): "it is damaged in the release"}
MAIN = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")
WOMEN = ("Monica", "Phoebe", "Rachel")
OTHERS = "others"
# Two spellings of one name.
SAME = {"Dr. Leedbetter": "Dr. Ledbetter", "Phoebe Sr": "Phoebe Sr."}

_TABLE = re.compile(r"(train|dev|test)_sent_emo\.csv", re.IGNORECASE)
_CLIP = re.compile(r"dia(\d+)_utt(\d+)", re.IGNORECASE)
_MOST_NAMED = 3

Key = tuple[str, int, int]


def tables(folder: Path) -> dict[str, Path]:
    """{part: its table} of those below `folder`."""
    found: dict[str, Path] = {}
    for parent, names in walked(folder):
        for name in names:
            if (part := _TABLE.fullmatch(name)) is not None:
                found.setdefault(part[1].lower(), Path(parent, name))
    return found


def is_release(folder: Path) -> bool:
    """Whether `folder` is the release: one of its tables lies right in it, or in its train/, dev/ or test/."""
    places = (folder, *(folder / part for part in PARTS))
    return any((place / f"{part}_sent_emo.csv").is_file() for place in places for part in PARTS)


def read(folder: Path) -> Release:
    """Reads the release. A session is one of the six main characters, and all others are one together, so that those
    who are left out are not trained on; `split` is the authors' part.

    Raises:
        InputError: no tables, a line that is wrong, an unknown label, no recordings.
    """
    there = tables(folder)
    if not there:
        raise InputError(f"{folder}: no {', '.join(f'{part}_sent_emo.csv' for part in PARTS)}")
    clips, strangers = _clips(folder)
    rows: dict[Key, dict[str, Any]] = {}
    for part in (part for part in PARTS if part in there):
        rows |= _utterances(part, there[part])
    kept = [row | {"path": clips[key]} for key, row in rows.items() if key in clips and key not in BROKEN]
    if not kept:
        raise InputError(
            f"{CORPUS}: none of the {len(rows)} labelled utterances has a recording below {folder}, such as "
            "train_splits/dia0_utt0.mp4; unpack the release's recordings there"
        )
    missing = [key for key in rows if key not in clips]
    unlabelled = [*strangers, *(path.name for key, path in clips.items() if key not in rows)]
    return Release(CORPUS, kept, _notes(kept, rows, missing, unlabelled, clips, there))


def _notes(
    kept: list[dict[str, Any]],
    rows: dict[Key, dict[str, Any]],
    missing: list[Key],
    unlabelled: list[str],
    clips: dict[Key, Path],
    there: dict[str, Path],
) -> list[str]:
    labels = Counter(row["label"] for row in kept)
    notes = [f"{len(kept)} rows: {', '.join(f'{label} {count}' for label, count in sorted(labels.items()))}"]
    usable = FILES - 1 - len(BROKEN)  # dev_dia110_utt7 isn't in the release
    if len(kept) < usable:
        absent = [part for part in PARTS if part not in there]
        lacking = f"; no {', no '.join(f'{part}_sent_emo.csv' for part in absent)}" if absent else ""
        notes.append(f"not the whole release: {len(kept)} of {usable} recordings{lacking}")
    else:
        notes.append(f"the whole release: {len(kept)} recordings that can be read")
    broken = [f"{_id(key)} is left out: {why}" for key, why in BROKEN.items() if key in clips and key in rows]
    notes += broken
    for names, what in (
        ([_id(key) for key in missing], "labelled utterances left out: their recording is missing"),
        (unlabelled, "recordings left out: the tables don't have them"),
    ):
        if names:
            more = ", ..." if len(names) > _MOST_NAMED else ""
            notes.append(f"{len(names)} {what} ({', '.join(names[:_MOST_NAMED])}{more})")
    return notes


def _id(key: Key) -> str:
    return f"{key[0]}_dia{key[1]}_utt{key[2]}"


def _clips(folder: Path) -> tuple[dict[Key, Path], list[str]]:
    """{utterance: recording}, audio before video, and the names of those that are none."""
    found: dict[Key, Path] = {}
    strangers: list[str] = []
    for parent, names in walked(Path(os.path.abspath(folder))):
        part = _part(parent)
        for name in sorted(names, key=lambda name: os.path.splitext(name)[1].lower() in VIDEOS):
            stem, ending = os.path.splitext(name)
            if ending.lower() not in ENDINGS | VIDEOS:
                continue
            clip = _CLIP.fullmatch(stem)
            if clip is None or part is None:
                strangers.append(name)
                continue
            key = (part, int(clip[1]), int(clip[2]))
            kept = found.get(key)
            if kept is None or (kept.suffix.lower() in VIDEOS and ending.lower() not in VIDEOS):
                found[key] = Path(parent, name)
    return found, strangers


def _part(folder: str) -> str | None:
    """The part that the nearest folder above names."""
    for name in reversed(Path(folder).parts):
        told = re.search(r"train|dev|test|val", name.lower())
        if told:
            return {"val": "dev"}.get(told[0], told[0])
    return None


def _utterances(part: str, file: Path) -> dict[Key, dict[str, Any]]:
    found: dict[Key, dict[str, Any]] = {}
    for count, told in table_rows(file, COLUMNS):
        try:
            key = (part, int(told["dialogue_id"]), int(told["utterance_id"]))
        except ValueError:
            raise InputError(f"{file}, line {count}: Dialogue_ID and Utterance_ID must be whole numbers") from None
        if key in found:
            raise InputError(f"{file}, line {count}: {_id(key)} is there twice")
        label = told["emotion"].strip().lower()
        if label not in LABELS:
            raise InputError(f"{file}, line {count}: emotion {told['emotion']!r} is none of {', '.join(LABELS)}")
        speaker = told["speaker"].strip() or "unknown"
        speaker = SAME.get(speaker, speaker)
        main = speaker in MAIN
        found[key] = labelled(
            utterance_id=_id(key),
            speaker=speaker,
            session=speaker if main else OTHERS,
            label=LABELS[label],
            vad=(math.nan, math.nan, math.nan),
            style=STYLE,
            gender=("f" if speaker in WOMEN else "m") if main else "",
            split=part,
        ) | {"transcript": told["utterance"].strip() or None, "sentiment": told.get("sentiment", "").strip()}
        found[key] |= {"dialogue": f"{part}_{key[1]}", "language": "en"}
    return found
