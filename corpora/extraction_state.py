"""How far an extraction of voice features has come, by what lies in its folder: for whoever takes its rows."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from ..errors import InputError

JOB = "extraction.json"
"""Of which recordings; written before the first of them."""
FAILED = "failed.jsonl"
"""Those that could not be read, a line each; written once all are done."""
SHARDS = "data/*.parquet"
"""The rows."""


def refuse_unfinished(place: Path, files: Iterable[Path], corpus: str) -> None:
    """Nothing trains on a part of the recordings as if it were all: it is the longest ones, which are done first.

    Args:
        place: where the corpus lies: the folder of an extraction, its folder of rows, or one above several.
        files: the data files found there. One that is `place` itself was meant alone.
        corpus: its name, for the message.

    Raises:
        InputError: rows are missing there that aren't listed as failures.
    """
    folders = [place, *(file.parent.parent for file in files if file != place)]
    for folder in dict.fromkeys(folder.absolute() for folder in folders):
        _refuse_unfinished(folder, corpus)


def _refuse_unfinished(folder: Path, corpus: str) -> None:
    try:
        total = int(json.loads((folder / JOB).read_text(encoding="utf-8"))["input"]["rows"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # no extraction's
        return
    try:
        rows = sum(pq.read_metadata(file).num_rows for file in folder.glob(SHARDS))
        failed = len((folder / FAILED).read_text(encoding="utf-8").splitlines()) if (folder / FAILED).exists() else 0
    except (OSError, ValueError):  # said with the file's name when it is read
        return
    if rows + failed < total:
        raise InputError(
            f"corpus {corpus}: {folder} is an extraction that isn't finished: {rows} of {total} recordings are there. "
            "The command that began it does the rest; to take what is there, copy its folder data and "
            "speech_encoder.json into a folder of their own"
        )


__all__ = ["FAILED", "JOB", "SHARDS", "refuse_unfinished"]
