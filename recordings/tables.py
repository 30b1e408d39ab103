"""Tables of recordings, as people save them: .csv, .tsv and .jsonl files, in columns as they are."""

import codecs
import csv
import io
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..corpus_specs import DEFAULT_COLUMNS
from ..errors import InputError
from ..names import same_column
from ..names import spelling

TABLES = (".csv", ".tsv", ".jsonl")
"""Endings of the files that are read."""
PATH_COLUMNS = ("path", "file", "file_name", "filename", "audio", "wav")
"""Names of the column that says where a recording lies, the likeliest first."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_KNOWN = {same_column(name) for names in (PATH_COLUMNS, *DEFAULT_COLUMNS.values()) for name in names}
# The longer marks first: UTF-32's begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_table(file: Path) -> pa.Table:
    """A table as it is: .csv and .tsv all as text (speaker 03 is a name), empty values as null.

    Commas, semicolons or tabs stand between the values, whichever the header has; the text is UTF-8, or any other
    Unicode with its mark.

    Raises:
        InputError: not readable, no rows, a line that is no row, text that is no Unicode.
    """
    try:
        content = _unicode(file, file.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    try:
        rows = _json_rows(file, content) if file.suffix.lower() == ".jsonl" else _csv_rows(file, content)
    except csv.Error as error:
        raise InputError(f"cannot read {file}: {error}") from error
    if not rows:
        raise InputError(f"{file} has no rows")
    return table_of(rows)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as columns; a column of mixed types becomes text, what is missing becomes null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({_storable(name): _array([row.get(name) for row in rows]) for name in names})


def find_column(table: pa.Table, candidates: tuple[str, ...] | list[str]) -> str | None:
    """The first of the candidates that is there, as it is written or else whatever its case."""
    same = {same_column(name): name for name in table.column_names}
    exact = [name for name in candidates if name in table.column_names]
    return next(iter(exact + [same[same_column(name)] for name in candidates if same_column(name) in same]), None)


def paths_of(table: pa.Table, column: str) -> list[str]:
    """The paths in a column of text, or of dictionaries with `path` as data sets have them; "" where there is none."""
    values = table[column].to_pylist()
    return [str((value.get("path") if isinstance(value, dict) else value) or "") for value in values]


def _unicode(file: Path, content: bytes) -> str:
    """The text of a file."""
    zeros = f"{file}: it holds zero bytes, as UTF-16 without its mark does: save the table as UTF-8"
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if b"\0" in content:
            raise InputError(zeros) from error
        line = content[: error.start].count(b"\n") + 1
        shown = content.split(b"\n")[line - 1].strip()[:60].decode("cp1252", "replace")
        raise InputError(
            f"{file}, line {line}: not in UTF-8; where the line is {shown!r}, in the Windows encoding cp1252, else in "
            "another one. Save the table as UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(zeros)
    return text


def _separator(file: Path, header: str) -> str:
    """What stands between the names of the header: by how many names it then has that are known here."""
    order = "\t,;" if file.suffix.lower() == ".tsv" else ",;\t"

    def known(separator: str) -> tuple[int, bool]:
        names = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
        return sum(same_column(name) in _KNOWN for name in names), len(names) > 1

    return max(order, key=known)


def _csv_rows(file: Path, content: str) -> list[dict[str, Any]]:
    separator = _separator(file, re.split(r"[\r\n]", content.lstrip("\r\n"), maxsplit=1)[0])
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    header = [spelling(name) for name in next((line for line in reader if line), [])]
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise InputError(f"{file}, line 1: two columns are called {', '.join(twice)}; each must be there once")
    rows = []
    for line in reader:
        if not line:
            continue
        if len(line) != len(header):
            raise InputError(
                f"{file}, line {reader.line_num}: not as many values as the header has names ({len(line)} and "
                f"{len(header)}, separated by {_SEPARATORS[separator]})"
            )
        rows.append({name: value.strip() or None for name, value in zip(header, line, strict=True)})
    return rows


def _json_rows(file: Path, content: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file}, line {number}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{file}, line {number}: no object with a value for each column")
        rows.append({spelling(name): value for name, value in row.items()})
    return rows


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeEncodeError):
        values = [_storable(value) for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError):
        return pa.array([None if _is_nothing(value) else str(value) for value in values])


def _storable(value: Any) -> Any:
    """What Arrow can hold: whole numbers beyond 64 bits as text; half characters (JSON's "\\ud83d") as that text."""
    if isinstance(value, dict):
        return {_storable(name): _storable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


__all__ = ["PATH_COLUMNS", "TABLES", "find_column", "paths_of", "read_table", "table_of"]
