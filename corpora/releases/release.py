"""What the parsers of release folders share: the result, the files of a folder, the last step from labels to rows."""

import math
import os
import re
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...errors import InputError
from ..folders import passed_over as passed_over
from ..folders import walked as walked

RATINGS = ("valence", "arousal", "dominance")


@dataclass(frozen=True)
class Release:
    """A release folder, read.

    Args:
        corpus: name of the built-in corpus.
        rows: one dictionary an utterance that has a recording, in the order of the label files: utterance_id,
            path (absolute, of the wav), speaker, session, label (a word), transcript (None where there is none),
            valence, arousal, dominance (floats on the corpus' own scale, more is more; NaN where unrated), style,
            gender ("f", "m" or "" where unknown), split (the lab's own partition, "" where there is none).
        notes: what was found, missing or left out, in words.
        folder: where it lies.
    """

    corpus: str
    rows: list[dict[str, Any]]
    notes: list[str]
    folder: Path = Path()


def labelled(
    utterance_id: str,
    speaker: str,
    session: str,
    label: str,
    vad: tuple[float, float, float],
    style: str,
    gender: str,
    split: str = "",
) -> dict[str, Any]:
    """A row as the label files tell it; `finished` adds recording and transcript."""
    return {
        "utterance_id": utterance_id,
        "path": None,
        "speaker": speaker,
        "session": session,
        "label": label,
        "transcript": None,
        **dict(zip(RATINGS, vad, strict=True)),
        "style": style,
        "gender": gender,
        "split": split,
    }


def finished(
    corpus: str,
    scale: tuple[int, int],
    rows: list[dict[str, Any]],
    wavs: dict[str, Path],
    transcript_of: Callable[[str], str | None],
    notes: list[str],
    where: str,
) -> Release:
    """Gives each row its recording and transcript, leaves out those without a recording, and says what is missing.

    Args:
        scale: lowest and highest rating.
        wavs: utterance id -> recording.
        transcript_of: utterance id -> words, None where there are none.
        where: where the recordings should lie, for the message.

    Raises:
        InputError: no row has a recording.
    """
    kept = [{**row, "path": wavs[row["utterance_id"]]} for row in rows if row["utterance_id"] in wavs]
    if not kept:
        example = f", such as {rows[0]['utterance_id']}.wav" if rows else ""
        raise InputError(
            f"{corpus}: none of the {len(rows)} labelled utterances has a recording in {where}{example}; "
            f"there are {len(wavs)} wav files. Unpack the release's audio there"
        )
    for row in tqdm(kept, desc=f"{corpus} transcripts", unit="row", disable=None):
        row["transcript"] = transcript_of(row["utterance_id"])
    labels = Counter(row["label"] for row in kept)
    counts = ", ".join(f"{label} {count}" for label, count in sorted(labels.items()))
    unlabelled = len(wavs.keys() - {row["utterance_id"] for row in rows})
    ratings = [[row[name] for name in RATINGS] for row in kept]
    low, high = scale
    told = [f"{len(kept)} rows: {counts}", *notes]
    for count, what in (
        (len(rows) - len(kept), "labelled utterances left out: their wav is missing"),
        (unlabelled, "wav files left out: the label files don't have them"),
        (sum(row["transcript"] is None for row in kept), "rows have no transcript"),
        (sum(any(map(math.isnan, row)) for row in ratings), "rows lack a rating of valence, arousal or dominance"),
        (sum(any(x < low or x > high for x in row) for row in ratings), f"rows have a rating outside {low}-{high}"),
    ):
        if count:
            told.append(f"{count} {what}")
    return Release(corpus, kept, told)


def wrong_line(file: Path, number: int, line: str, right: str) -> InputError:
    """The error of one line of a label file."""
    return InputError(f"{file}, line {number}: {line.strip()!r}; {right}")


def refuse_twice(rows: list[dict[str, Any]], where: str) -> None:
    """Each utterance has one label.

    Raises:
        InputError: an utterance is labelled more than once.
    """
    counts = Counter(row["utterance_id"] for row in rows)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise InputError(
            f"{where}: utterance {twice[0]!r} is labelled {counts[twice[0]]} times; each must be there once "
            f"({len(twice)} are not)"
        )


def read_text(file: Path) -> str:
    """The file as UTF-8, or where it isn't, in the Windows encoding that older releases have.

    Raises:
        InputError: not readable.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def beginning(file: Path) -> str:
    """The first 64 kB, to tell what a file is before all of it is read; "" where it isn't readable."""
    try:
        with file.open("rb") as opened:
            return opened.read(1 << 16).decode("utf-8", errors="replace")
    except OSError:  # nobody has said yet that it is ours
        return ""


def numbered_lines(file: Path) -> list[tuple[int, str]]:
    """(line number from 1, line without its end) of each line that isn't blank."""
    return [(number, line) for number, line in enumerate(split_lines(read_text(file)), start=1) if line.strip()]


def split_lines(text: str) -> list[str]:
    """The lines, whichever system's ends they have. Unlike `str.splitlines`, leaves whole a line in which there are
    form feeds or Unicode's own line separators.
    """
    return re.split(r"\r\n|\r|\n", text)


def number(text: str) -> float:
    """A rating, NaN where the text is empty or says so.

    Raises:
        ValueError: neither a finite number nor NaN.
    """
    value = float(text.strip() or "nan")
    if math.isinf(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def files_by_stem(folder: Path, suffix: str) -> tuple[dict[str, Path], int]:
    """{name without ending: file} of all files below `folder` with that ending, whatever its case, and how many are
    left out as second files of a name.

    Raises:
        InputError: a folder that can't be read.
    """
    found: dict[str, Path] = {}
    doubles = 0
    for parent, names in walked(folder):
        for name in names:
            stem, ending = os.path.splitext(name)
            if ending.lower() != suffix:
                continue
            if stem in found:
                doubles += 1
            else:
                found[stem] = Path(parent, name)
    return found, doubles


def words_in(files: dict[str, Path]) -> Callable[[str], str | None]:
    """Utterance id -> words, of files that hold an utterance each; None where the file is missing or empty."""

    def words(utterance_id: str) -> str | None:
        return (read_text(files[utterance_id]).strip() or None) if utterance_id in files else None

    return words


def entries(folder: Path, *names: str) -> Iterator[Path]:
    """Entries of `folder` with one of these lower-case names, whatever their case, in the order of `names`."""
    try:
        there = {entry.lower(): entry for entry in sorted(os.listdir(folder), reverse=True)}
    except OSError:  # not a folder, or not ours to read: nothing there
        return
    for name in names:
        if name in there:
            yield folder / there[name]
