"""MSP-IMPROV as the MSP lab ships it.

```
Evalution.txt (in other copies Evaluation.txt)   labels and ratings, an utterance and its raters a paragraph
Audio/session1 ... session6/S01A/{P,R,S,T}/MSP-IMPROV-S01A-F01-P-FM01.wav     (or session1/ without Audio/)
All_human_transcriptions/MSP-IMPROV-S01A-F01-P-FM01.txt                       (from Human_transcriptions.zip)
```

An id is sentence and intended emotion, actor, kind of recording, who talks to whom and turn. The label file names the
video, `UTD-IMPROV-....avi`.
"""

import re
from pathlib import Path
from typing import Any

from ...errors import InputError
from .release import Release
from .release import beginning
from .release import entries
from .release import files_by_stem
from .release import finished
from .release import labelled
from .release import number
from .release import numbered_lines
from .release import refuse_twice
from .release import walked
from .release import words_in
from .release import wrong_line

CORPUS = "MSPI"
SCALE = (1, 5)
FIRST_SPEAKER = 947
LABELS = {"A": "anger", "H": "happy", "S": "sad", "N": "neutral", "O": "other", "X": "no agreement"}
# The kinds of Busso et al. (2017): the target sentence read, or said while improvising; the other turns of an
# improvisation; the actors' talk between the recordings.
STYLES = {
    "R": "target read",
    "T": "target improvised",
    "S": "other improvised",
    "P": "natural interaction",
}
LABEL_FILES = ("evalution.txt", "evaluation.txt")

_NAMED = re.compile(r"\s*(?:UTD|MSP)-IMPROV-", re.IGNORECASE)
_FILE = re.compile(
    r"(?:UTD|MSP)-IMPROV-(?P<id>S\d\d[AHSN]-(?P<gender>[FM])0(?P<session>[1-6])-(?P<style>[PRST])-[FM]{2}\w+)"
    r"\.(?:avi|wav|txt)",
    re.IGNORECASE,
)


def label_file(folder: Path) -> Path | None:
    """The release's label file; None where `folder` isn't the release."""
    for file in entries(folder, *LABEL_FILES):
        if _NAMED.search(beginning(file)):
            return file
    return None


def is_release(folder: Path) -> bool:
    """Whether `folder` is the release: it has the label file, and that names MSP-IMPROV's utterances."""
    return label_file(folder) is not None


def read(folder: Path) -> Release:
    """Reads the release. Speakers are numbered from 947, as in the hub's copy: 945 + 2 s is the woman of session s,
    946 + 2 s the man, so that the built-in rule `(speaker - 947) // 2 + 1` gives the session. The speaker is the
    actor whom the id names.

    The release rates activation from 1 (most active) to 5 (least): it is turned round here, `6 - A`.

    Raises:
        InputError: no label file, a line that is no evaluation, an unknown label, an utterance labelled twice, no
            recordings.
    """
    file = label_file(folder)
    if file is None:
        raise InputError(f"{folder}: no {' or '.join(LABEL_FILES)} with MSP-IMPROV's utterances")
    rows = [_evaluation(file, count, line) for count, line in numbered_lines(file) if _NAMED.match(line)]
    refuse_twice(rows, str(file))
    notes = ["activation is turned round (6 - A): the release rates the most active with 1"]
    wavs, doubles = files_by_stem(folder, ".wav")
    if doubles:
        notes.append(f"{doubles} wav files left out: another folder has one of the same name")
    wavs = _by_utterance(wavs)
    texts = _by_utterance(_transcript_files(folder, notes))
    return finished(CORPUS, SCALE, rows, wavs, words_in(texts), notes, str(folder))


def _transcript_files(folder: Path, notes: list[str]) -> dict[str, Path]:
    """{name without ending: file} from the folders, at any depth, whose name says transcriptions."""
    found: dict[str, Path] = {}
    for parent, _ in walked(folder):
        if "transcription" in Path(parent).name.lower():
            found = files_by_stem(Path(parent), ".txt")[0] | found
    packed = [file.name for file in sorted(folder.glob("*.zip")) if "transcription" in file.name.lower()]
    if packed and not found:
        notes.append(f"{packed[0]} is not unpacked")
    return found


def _by_utterance(files: dict[str, Path]) -> dict[str, Path]:
    """{utterance id: file} of those files that are named by an utterance."""
    named = ((_FILE.fullmatch(file.name), file) for file in files.values())
    return {_utterance_id(found): file for found, file in named if found}


def _utterance_id(found: re.Match[str]) -> str:
    return f"MSP-IMPROV-{found['id'].upper()}"


def _evaluation(file: Path, count: int, line: str) -> dict[str, Any]:
    right = "expected 'UTD-IMPROV-S01A-F01-P-FM01.avi; label; A:number; V:number; D:number; N:number;'"
    name, *fields = (part.strip() for part in line.split(";"))
    named = _FILE.fullmatch(name)
    if not named or not fields:
        raise wrong_line(file, count, line, right)
    label = fields[0].upper()
    if label not in LABELS:
        raise wrong_line(file, count, line, f"label {fields[0]!r} is none of {', '.join(LABELS)}")
    try:
        ratings = {key.strip(): number(text) for key, _, text in (part.partition(":") for part in fields[1:]) if key}
        vad = ratings["V"], SCALE[0] + SCALE[1] - ratings["A"], ratings["D"]
    except (KeyError, ValueError):
        raise wrong_line(file, count, line, right) from None
    session, female = int(named["session"]), named["gender"].upper() == "F"
    return labelled(
        utterance_id=_utterance_id(named),
        speaker=str(FIRST_SPEAKER + 2 * session - 1 - female),
        session=str(session),
        label=LABELS[label],
        vad=vad,
        style=STYLES[named["style"].upper()],
        gender="f" if female else "m",
    )
