"""Databases in audformat (`db.yaml` and tables beside it), as audEERING's audb publishes them, by its library.

A recording's label is the database's scheme `emotion`, from whichever tables hold it; speaker, words, gender and
ratings are taken where the database has schemes of their names. Its splits are told in a column `split`.
"""

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pyarrow as pa

from ..corpora.spec import DEFAULT_COLUMNS
from ..errors import InputError
from .tables import table_of

if TYPE_CHECKING:
    import audformat
    import pandas as pd

HEADER = "db.yaml"
"""The file that says that a folder is such a database."""

_ROLES = ("speaker", "transcript", "session", "valence", "arousal", "dominance")
_MORE = {"transcript": ["transcription"], "speaker": ["speakers"]}
_OF_SPEAKERS = ("gender", "sex", "age")


def is_database(folder: Path) -> bool:
    """Whether a folder is a database in audformat."""
    return (folder / HEADER).is_file()


def read_database(folder: Path, split: str = "train") -> tuple[pa.Table, list[str]]:
    """The rows of a database, by the names of the schema, with a column `file`, and notes.

    Args:
        split: rows of that split alone; of "train", where nothing says that it is meant, all of them.

    Raises:
        InputError: audformat isn't installed, the database is broken or has no labels, or its tables disagree.
    """
    try:
        import audformat
    except ImportError:
        raise InputError(
            f"{folder} is a database in audformat: install its library to read it, pip install audformat"
        ) from None
    try:
        database = audformat.Database.load(str(folder))
    except Exception as error:  # of YAML, parquet and csv below it, which share no base class
        raise InputError(f"cannot read {folder / HEADER}: {_first_line(error)}") from error
    label = _scheme(database, "label")
    if label is None:
        raise InputError(
            f"{folder / HEADER} has no scheme {', '.join(DEFAULT_COLUMNS['label'])}; its schemes: "
            f"{', '.join(database.schemes)}"
        )
    schemes = {role: name for role in _ROLES if (name := _scheme(database, role)) is not None}
    rows = _rows(database, folder, label, schemes, [split] if split != "train" else None)
    return table_of(sorted(rows, key=lambda row: (row["file"], row.get("start") or 0.0))), _notes(database, label)


def _rows(
    database: "audformat.Database", folder: Path, label: str, schemes: dict[str, str], splits: list[str] | None
) -> list[dict[str, Any]]:
    unknown = [split for split in splits or () if split not in database.splits]
    if unknown:
        raise InputError(f"{folder} has no split {unknown[0]!r}; its splits: {', '.join(database.splits)} (--split)")
    try:
        frame = database.get(label, list(schemes.values()), splits=splits)
    except ValueError as error:  # where two tables say different things of a row
        raise InputError(f"{folder}: the tables disagree about a recording's {label}: {_first_line(error)}") from error
    frame = frame.rename(columns={label: "label", **{name: role for role, name in schemes.items()}})
    of_speakers = _of_speakers(database, schemes.get("speaker"))
    parts = _parts(database)
    rows = []
    for key, told in zip(frame.index, frame.to_dict("records"), strict=True):
        file, start, end = key if isinstance(key, tuple) else (key, None, None)
        row = {"file": file, **{role: _plain(value) for role, value in told.items()}, "split": parts.get(key, "")}
        if start is not None:
            row |= {"start": _seconds(start), "end": _seconds(end)}
        rows.append(row | of_speakers.get(row.get("speaker"), {}))
    if not rows:
        raise InputError(f"{folder}: no recording has a value of the scheme {label!r}")
    return rows


def _scheme(database: "audformat.Database", role: str) -> str | None:
    """The scheme that is called as a role of the schema is."""
    by_letters = {name.lower(): name for name in database.schemes}
    names = [*DEFAULT_COLUMNS[role], *_MORE.get(role, [])]
    return next((by_letters[name.lower()] for name in names if name.lower() in by_letters), None)


def _of_speakers(database: "audformat.Database", scheme: str | None) -> dict[str, dict[str, Any]]:
    """{speaker: gender and age}, where the database has a table of its speakers."""
    labels = None if scheme is None else database.schemes[scheme].labels
    if not isinstance(labels, str) or labels not in database.misc_tables:
        return {}
    frame: pd.DataFrame = database.misc_tables[labels].df
    known = [name for name in frame.columns if name.lower() in _OF_SPEAKERS]
    told = zip(frame.index, frame[known].to_dict("records"), strict=True)
    return {str(speaker): {name.lower(): _plain(row[name]) for name in known} for speaker, row in told}


def _parts(database: "audformat.Database") -> dict[Any, str]:
    """{row: its split} of the tables that have one."""
    tables = (database.tables[name] for name in database.tables)
    return {key: table.split_id for table in tables if table.split_id for key in table.index}


def _plain(value: Any) -> Any:
    """A value as Arrow holds it; None where there is none."""
    missing = value is None or value != value or str(value) in ("<NA>", "NaT")
    return None if missing else value if isinstance(value, int | float) else str(value)


def _seconds(time: Any) -> float | None:
    return None if time != time else time.total_seconds()  # NaT: to the end


def _notes(database: "audformat.Database", label: str) -> list[str]:
    notes = [f"the audformat database {database.name}; labels are its scheme {label!r}"]
    licence = f"{database.license or ''} {database.license_url or ''}".strip()
    return [*notes, f"its licence: {licence}"] if licence else notes


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


__all__ = ["HEADER", "is_database", "read_database"]
