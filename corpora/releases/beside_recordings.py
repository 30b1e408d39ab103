"""What tables and texts of a release say of recordings whose file names say the rest."""

import csv
import io
import math
import os
import re
import statistics
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..folders import walked
from .release import RATINGS
from .release import read_text
from .release import split_lines

Row = dict[str, Any]

VOTES = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "s": "sad",
}
NO_MAJORITY = "no agreement"

# The bytes 80-9F of Windows' encoding, where somebody has taken them for Latin-1.
_WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}


def crema_d_votes(folder: Path, rows: list[Row]) -> list[str]:
    """Adds the listeners' votes of processedResults/summaryTable.csv: `voice_vote` of those who only heard,
    `face_vote` of those who only saw, `multimodal_vote` of those who did both; ties are "no agreement"."""
    columns = {"voicevote": "voice_vote", "facevote": "face_vote", "multimodalvote": "multimodal_vote"}
    file = next(_named(folder, "summarytable.csv"), None)
    if file is None:
        return ["no listeners' votes: processedResults/summaryTable.csv isn't there"]
    votes = {told["filename"].strip().lower(): told for _, told in table_rows(file, ["FileName", "VoiceVote"])}
    missing = 0
    for row in rows:
        told = votes.get(row["utterance_id"].lower())
        missing += told is None
        for column, name in columns.items():
            vote = (told or {}).get(column, "").strip().lower()
            row[name] = VOTES.get(vote, NO_MAJORITY) if vote else None
    notes = [f"listeners' votes from {file.name}"]
    return [*notes, f"{missing} recordings are not in {file.name}"] if missing else notes


def nemo_texts(folder: Path, rows: list[Row]) -> list[str]:
    """Adds words, gender and age of data.tsv."""
    file = next(_named(folder, "data.tsv"), None)
    if file is None:
        return ["no transcripts and genders: data.tsv isn't there"]
    told = {
        os.path.splitext(line["file_id"].strip())[0].lower(): line
        for _, line in table_rows(file, ["file_id", "raw_text"])
    }
    missing = 0
    for row in rows:
        line = told.get(row["utterance_id"].lower(), {})
        missing += not line
        row["transcript"] = line.get("raw_text", "").strip() or None
        row["gender"] = {"female": "f", "male": "m"}.get(line.get("gender", "").strip().lower(), "")
        row["age"] = line.get("age", "").strip()
    return [f"{missing} recordings are not in {file.name}"] if missing else []


def emotale_ratings(folder: Path, rows: list[Row]) -> list[str]:
    """Adds the mean of the annotators' ratings of annotations.csv."""
    file = next(_named(folder, "annotations.csv"), None)
    if file is None:
        return ["no ratings: annotations.csv isn't there"]
    told = {
        os.path.splitext(line["file"].strip())[0].lower(): (count, line) for count, line in table_rows(file, ["file"])
    }
    for row in rows:
        count, line = told.get(row["utterance_id"].lower(), (0, {}))
        for rating in RATINGS:
            given = [
                _rating(file, count, line[name])
                for name in line
                if re.fullmatch(rf"a\d+_{rating[0]}", name) and line[name].strip()
            ]
            row[rating] = statistics.fmean(given) if given else math.nan
    missing = sum(row["utterance_id"].lower() not in told for row in rows)
    return [f"{missing} recordings are not in {file.name}"] if missing else []


def esd_texts(folder: Path, rows: list[Row]) -> list[str]:
    """Adds the words of SPEAKER/SPEAKER.txt, which come in many encodings."""
    words: dict[str, str] = {}
    for parent, names in walked(folder):
        for name in names:
            if re.fullmatch(r"00[012]\d\.txt", name, re.IGNORECASE):
                for line in split_lines(_decoded(Path(parent, name))):
                    found = re.match(r"\ufeff?\s*(\d{4}_\d{6})\s+(.*?)(?:\s*\t.*)?$", line)
                    if found and found[2].strip():
                        words[found[1]] = found[2].strip()
    return _add_words(rows, words.get)


def jl_texts(folder: Path, rows: list[Row]) -> list[str]:
    """Adds the words of the .txt file beside each recording."""

    def words(utterance_id: str) -> str | None:
        file = beside.get(utterance_id)
        return None if file is None else read_text(file).strip() or None

    beside = {row["utterance_id"]: _text_beside(row["path"]) for row in rows}
    return _add_words(rows, words)


def table_rows(file: Path, needed: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, {column, lower case: field}) of a table of the release, comma- or tab-separated by its ending.

    Raises:
        InputError: a column that is missing, a line with more fields than the first.
    """
    mark = "\t" if file.suffix.lower() == ".tsv" else ","
    quoting = csv.QUOTE_NONE if mark == "\t" else csv.QUOTE_MINIMAL
    text = "\n".join(split_lines(read_text(file))).translate(_WINDOWS)
    reader = csv.reader(io.StringIO(text), delimiter=mark, quoting=quoting)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in needed if name.lower() not in header]
        if missing:
            raise InputError(f"{file}, line 1: no column {', '.join(missing)}; columns there: {', '.join(header)}")
        for fields in reader:
            if len(fields) > len(header):
                raise InputError(
                    f"{file}, line {reader.line_num}: it has {len(fields)} fields; expected {len(header)}: "
                    f"{mark.join(header)}"
                )
            if any(field.strip() for field in fields):
                yield reader.line_num, dict(zip(header, [*fields, *[""] * (len(header) - len(fields))], strict=True))
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: {error}") from error


def _rating(file: Path, count: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value <= 5:
        raise InputError(f"{file}, line {count}: {text!r} is no rating from 1 to 5")
    return value


def _add_words(rows: list[Row], words_of: Callable[[str], str | None]) -> list[str]:
    for row in rows:
        row["transcript"] = words_of(row["utterance_id"])
    missing = sum(row["transcript"] is None for row in rows)
    return [f"{missing} rows have no transcript"] if missing else []


def _text_beside(path: Path) -> Path | None:
    names = (path.with_suffix(ending) for ending in (".txt", ".TXT"))
    return next((file for file in names if file.is_file()), None)


def _named(folder: Path, name: str) -> Iterator[Path]:
    """The files of that lower-case name, whatever their case, in `folder` and below it."""
    for parent, names in walked(folder):
        yield from (Path(parent, each) for each in names if each.lower() == name)


def _decoded(file: Path) -> str:
    """ESD's texts: UTF-16 with a mark, UTF-8, or GB 2312 of the Mandarin speakers, else Latin-1."""
    raw = file.read_bytes()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    for encoding in ("utf-8-sig", *(["gb18030"] if file.stem < "0011" else [])):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("cp1252", "replace")


__all__ = [
    "NO_MAJORITY",
    "VOTES",
    "crema_d_votes",
    "emotale_ratings",
    "esd_texts",
    "jl_texts",
    "nemo_texts",
    "table_rows",
]
