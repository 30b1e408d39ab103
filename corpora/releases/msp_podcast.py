"""MSP-Podcast as the MSP lab ships it, releases 1.x and 2.0.

```
Labels/labels_consensus.csv     FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
                                (labels_concensus.csv up to 1.8; Labels.txt, without speakers and partitions, before)
Audios/MSP-PODCAST_0001_0008.wav
Transcripts/MSP-PODCAST_0001_0008.txt
Speaker_ids.txt                 MSP-PODCAST_0001_0008.wav; 30      and      Speaker_30; Male
Partitions.txt                  Test1; MSP-PODCAST_0001_0008.wav
```
"""

import csv
import io
import re
from collections.abc import Iterator
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
from .release import read_text
from .release import refuse_twice
from .release import split_lines
from .release import words_in
from .release import wrong_line

CORPUS = "MSPP"
SCALE = (1, 7)
SPEAKERS_A_SESSION = 500
UNKNOWN = "unknown"
LABELS = {
    "N": "neutral",
    "H": "happy",
    "S": "sad",
    "A": "anger",
    "C": "contempt",
    "D": "disgust",
    "F": "fear",
    "U": "surprise",
    "O": "other",
    "X": "no agreement",
}
GENDERS = {"female": "f", "male": "m"}
STYLE = "spontaneous"
LABEL_FILES = ("labels_consensus.csv", "labels_concensus.csv", "labels.txt")
COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom")

_WAV = re.compile(r"MSP-PODCAST_\w+\.wav", re.IGNORECASE)
_NAMED = re.compile(r"MSP-PODCAST_\d", re.IGNORECASE)
_SPEAKER = re.compile(r"(?:[A-Za-z]+_?)?(\d+)(?:\.0)?")  # 30.0: as pandas writes numbers beside gaps


def label_file(folder: Path) -> Path | None:
    """The release's label file, the newest kind there is; None where `folder` isn't the release."""
    if folder.name.lower() == "labels":  # a part of the release
        return None
    places = [folder]
    for _ in range(2):  # unpacking may make Labels/Labels
        places += entries(places[-1], "labels")
    for name in LABEL_FILES:
        for place in places:
            for file in entries(place, name):
                if _NAMED.search(beginning(file)):
                    return file
    return None


def is_release(folder: Path) -> bool:
    """Whether `folder` is the release: it has a label file, and that names MSP-Podcast's recordings."""
    return label_file(folder) is not None


def read(folder: Path) -> Release:
    """Reads the release. Speakers keep the lab's numbers; the session is that of the built-in rule,
    `(speaker - 1) // 500 + 1`. Where the lab doesn't know the speaker, both are "unknown".

    Raises:
        InputError: no label file, a line or column that is missing or wrong, an unknown label, an utterance labelled
            twice, no recordings.
    """
    file = label_file(folder)
    if file is None:
        raise InputError(f"{folder}: no {', '.join(LABEL_FILES)} with MSP-Podcast's recordings, in Labels/ or there")
    speakers, genders = _speaker_ids(folder)
    partitions = _partitions(folder)
    rows, unlabelled = [], 0
    for count, line, told in _consensus(file) if file.suffix.lower() == ".csv" else _labels_txt(file):
        stem = told["filename"].strip()[: -len(".wav")]
        if not told["emoclass"].strip():  # a partition whose labels the lab keeps to itself
            unlabelled += 1
            continue
        speaker = told.get("spkrid") or speakers.get(stem, UNKNOWN)
        gender = told.get("gender") or genders.get(speaker, "")
        split = told.get("split_set") or partitions.get(stem, "")
        rows.append(_row(file, count, line, stem, {**told, "spkrid": speaker, "gender": gender, "split_set": split}))
    refuse_twice(rows, str(file))
    notes = [f"labels from {file.name}"]
    if unlabelled:
        notes.append(f"{unlabelled} utterances left out: they have no label")
    nameless = sum(row["speaker"] == UNKNOWN for row in rows)
    if nameless:
        notes.append(
            f"{nameless} labelled utterances are of unknown speakers (speaker and session {UNKNOWN!r}): not for "
            "speaker batches or splits by speaker"
        )
    wavs: dict[str, Path] = {}
    for place in entries(folder, "audios", "audio"):
        wavs |= files_by_stem(place, ".wav")[0]
    texts: dict[str, Path] = {}
    for place in entries(folder, "transcripts"):
        texts |= files_by_stem(place, ".txt")[0]
    return finished(CORPUS, SCALE, rows, wavs, words_in(texts), notes, str(folder / "Audios"))


def _row(file: Path, count: int, line: str, stem: str, told: dict[str, Any]) -> dict[str, Any]:
    """The row of one recording: its fields by the csv's column names, lower case."""
    label = told["emoclass"].strip()
    if label.upper() not in LABELS:
        raise wrong_line(file, count, line, f"label {label!r} is none of {', '.join(LABELS)}")
    try:
        vad = tuple(number(told[name]) for name in ("emoval", "emoact", "emodom"))
    except ValueError:
        raise wrong_line(file, count, line, "ratings must be numbers, or empty where there are none") from None
    speaker, session = told["spkrid"].strip(), UNKNOWN
    if speaker.lower() == UNKNOWN:
        speaker = UNKNOWN
    else:
        found = _SPEAKER.fullmatch(speaker)
        if not found or int(found[1]) < 1:
            raise wrong_line(file, count, line, f"speaker {speaker!r} is neither a number from 1 on nor 'Unknown'")
        speaker = str(int(found[1]))
        session = str((int(speaker) - 1) // SPEAKERS_A_SESSION + 1)
    return labelled(
        utterance_id=stem,
        speaker=speaker,
        session=session,
        label=LABELS[label.upper()],
        vad=vad,
        style=STYLE,
        gender=GENDERS.get(told["gender"].strip().lower(), ""),
        split=told["split_set"].strip(),
    )


def _consensus(file: Path) -> list[tuple[int, str, dict[str, str]]]:
    """(line number, line, {column, lower case: field}) of each recording in the csv."""
    # Line ends are brought to one kind first: the reader would take a lone \r for an error.
    reader = csv.reader(io.StringIO("\n".join(split_lines(read_text(file)))))
    rows = _counted(file, reader)
    header = [name.strip().lower() for name in next(rows)[1]]
    missing = [name for name in COLUMNS if name.lower() not in header]
    if missing:
        raise InputError(f"{file}, line 1: no column {', '.join(missing)}; columns there: {', '.join(header)}")
    found = []
    for count, fields in rows:
        if not any(field.strip() for field in fields):
            continue
        line = ",".join(fields)
        if len(fields) != len(header):
            right = f"it has {len(fields)} fields; expected {len(header)}: {','.join(header)}"
            raise wrong_line(file, count, line, right)
        told = dict(zip(header, fields, strict=True))
        if not _WAV.fullmatch(told["filename"].strip()):
            raise wrong_line(file, count, line, "FileName must be such as 'MSP-PODCAST_0001_0008.wav'")
        found.append((count, line, told))
    return found


def _counted(file: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of each line of a csv reader."""
    try:
        for fields in reader:
            yield reader.line_num, fields
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: {error}; expected comma-separated fields") from error


def _labels_txt(file: Path) -> list[tuple[int, str, dict[str, str]]]:
    """The same of the oldest releases' `name; label; A:number; V:number; D:number;`; other lines are raters'."""
    found = []
    for count, line in numbered_lines(file):
        name, *fields = (part.strip() for part in line.split(";"))
        if not name.upper().startswith("MSP-PODCAST"):
            continue
        ratings = {key.strip(): text for key, _, text in (part.partition(":") for part in fields[1:])}
        if not _WAV.fullmatch(name) or not {"A", "V", "D"} <= set(ratings):
            right = "expected 'MSP-PODCAST_0001_0008.wav; label; A:number; V:number; D:number;'"
            raise wrong_line(file, count, line, right)
        told = {"emoact": ratings["A"], "emoval": ratings["V"], "emodom": ratings["D"]}
        found.append((count, line, {"filename": name, "emoclass": fields[0], **told}))
    return found


def _pairs(folder: Path, name: str) -> list[tuple[str, str]]:
    """The `first; second` lines of a file of the release; none where there is no such file."""
    pairs = []
    for file in entries(folder, name):
        for _, line in numbered_lines(file):
            fields = [field.strip() for field in line.split(";") if field.strip()]
            if len(fields) == 2:
                pairs.append((fields[0], fields[1]))
    return pairs


def _speaker_ids(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """{utterance id: speaker number} and {speaker number: gender} of Speaker_ids.txt."""
    speakers, genders = {}, {}
    for first, second in _pairs(folder, "speaker_ids.txt"):
        if _WAV.fullmatch(first):
            speakers[first[: -len(".wav")]] = second
        elif found := _SPEAKER.fullmatch(first):
            genders[found[1]] = second
    return speakers, genders


def _partitions(folder: Path) -> dict[str, str]:
    """{utterance id: partition} of Partitions.txt."""
    return {second[: -len(".wav")]: first for first, second in _pairs(folder, "partitions.txt") if _WAV.match(second)}
