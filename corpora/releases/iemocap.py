"""IEMOCAP as SAIL ships it: `IEMOCAP_full_release`.

```
Session1 ... Session5/
    dialog/EmoEvaluation/Ses01F_impro01.txt     labels and ratings, an utterance and its raters a paragraph
    dialog/transcriptions/Ses01F_impro01.txt    words, an utterance a line
    sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
```

Who speaks is the letter of the id's last part, not that of its first: `Ses01F_impro01_M003` is the man of session 1.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from .release import Release
from .release import entries
from .release import files_by_stem
from .release import finished
from .release import labelled
from .release import number
from .release import numbered_lines
from .release import refuse_twice
from .release import wrong_line

CORPUS = "IEMO"
SESSIONS = (1, 2, 3, 4, 5)
SCALE = (1, 5)
LABELS = {
    "neu": "neutral",
    "hap": "happy",
    "sad": "sad",
    "ang": "anger",
    "exc": "excited",
    "fru": "frustration",
    "sur": "surprise",
    "fea": "fear",
    "dis": "disgust",
    "oth": "other",
    "xxx": "no agreement",
}
STYLES = {"impro": "improvised", "script": "scripted"}
# Utterances of the usual four classes in the whole release, excited counted as happy: 5531.
FOUR_CLASSES = {"neutral": 1708, "happy": 1636, "sad": 1084, "anger": 1103}

# A script is played in parts, script01_1 and script01_2, and takes with letters, script01_1b: all are script01.
_ID = re.compile(r"Ses0(?P<session>[1-5])[FM]_(?P<script>(?P<style>impro|script)\d*)\w*_(?P<voice>[FM])[X\d]+")
_EVALUATION = re.compile(r"\[-?[\d.]+ *- *-?[\d.]+\]\s+(?P<id>\S+)\s+(?P<label>\S+)\s+\[(?P<vad>[^\]]*)\]")
_RATERS = re.compile(r"\s*(%|[CA]-\w+:)")
_WORDS = re.compile(r"(?P<id>Ses\w+)\s*\[[^\]]*\]\s*:(?P<words>.*)")


def is_release(folder: Path) -> bool:
    """Whether `folder` is the release: it has a session's EmoEvaluation folder."""
    return any((session / "dialog" / "EmoEvaluation").is_dir() for session in _sessions(folder).values())


def read(folder: Path) -> Release:
    """Reads the release. Speakers are numbered 1-10: 2 s - 1 is the woman of session s, 2 s the man, so that the
    built-in rule `(speaker - 1) // 2 + 1` gives the session.

    Raises:
        InputError: a line that is no evaluation, an unknown label, an utterance labelled twice, no recordings.
    """
    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    wavs: dict[str, Path] = {}
    words: dict[str, str] = {}
    sessions = _sessions(folder)
    for session in sessions.values():
        for file in _texts(session / "dialog" / "EmoEvaluation"):
            rows += _evaluations(file, notes)
        for file in _texts(session / "dialog" / "transcriptions"):
            words |= _transcripts(file)
        wavs |= files_by_stem(session / "sentences" / "wav", ".wav")[0]
    refuse_twice(rows, str(folder))
    missing = [str(session) for session in SESSIONS if session not in sessions]
    if missing:
        notes.append(f"not the whole release: no Session{', no Session'.join(missing)}")
    where = str(folder / "Session*" / "sentences" / "wav")
    release = finished(CORPUS, SCALE, rows, wavs, words.get, notes, where)
    return release if missing else replace(release, notes=[*release.notes, *_compared(release.rows)])


def _sessions(folder: Path) -> dict[int, Path]:
    """{session number: its folder}, of those that are there."""
    named = {session: next(entries(folder, f"session{session}"), None) for session in SESSIONS}
    return {session: path for session, path in named.items() if path is not None and path.is_dir()}


def _texts(folder: Path) -> list[Path]:
    """The dialogues' files right in `folder`: what lies deeper are single raters' files."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".txt" and not file.name.startswith("."))


def _evaluations(file: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The rows of one dialogue."""
    rows = []
    strangers = 0
    for count, line in numbered_lines(file):
        if line.lstrip().startswith("["):
            rows.append(_evaluation(file, count, line))
        elif not _RATERS.match(line):
            strangers += 1
    if strangers:
        notes.append(f"{file.name}: {strangers} lines left out that are neither evaluations nor raters'")
    return rows


def _evaluation(file: Path, count: int, line: str) -> dict[str, Any]:
    right = "expected '[start - end]<TAB>utterance id<TAB>label<TAB>[valence, activation, dominance]'"
    found = _EVALUATION.fullmatch(line.strip())
    if not found:
        raise wrong_line(file, count, line, right)
    named = _ID.fullmatch(found["id"])
    if not named:
        raise wrong_line(file, count, line, f"{found['id']!r} is no utterance id such as 'Ses01F_impro01_F000'")
    if found["label"].lower() not in LABELS:
        raise wrong_line(file, count, line, f"label {found['label']!r} is none of {', '.join(LABELS)}")
    try:
        valence, arousal, dominance = (number(text) for text in found["vad"].split(","))
    except ValueError:
        raise wrong_line(file, count, line, right) from None
    session, female = int(named["session"]), named["voice"] == "F"
    return labelled(
        utterance_id=found["id"],
        speaker=str(2 * session - female),
        session=str(session),
        label=LABELS[found["label"].lower()],
        vad=(valence, arousal, dominance),
        style=STYLES[named["style"]],
        gender="f" if female else "m",
    ) | {"script": named["script"]}


def _transcripts(file: Path) -> dict[str, str]:
    """{utterance id: words} of one dialogue. Lines without an id (`M: ...`) belong to no utterance."""
    found = (_WORDS.fullmatch(line.strip()) for _, line in numbered_lines(file))
    return {line["id"]: line["words"].strip() for line in found if line and line["words"].strip()}


def _compared(rows: list[dict[str, Any]]) -> list[str]:
    """A note where the four classes are not those that papers on the whole release report."""
    merged = [{"excited": "happy"}.get(row["label"], row["label"]) for row in rows]
    here = {label: merged.count(label) for label in FOUR_CLASSES}
    if here == FOUR_CLASSES:
        return []
    usual = ", ".join(f"{label} {count}" for label, count in FOUR_CLASSES.items())
    return [
        f"four classes, excited counted as happy: {sum(here.values())} rows; the whole release has "
        f"{sum(FOUR_CLASSES.values())} ({usual})"
    ]
