"""Tables of recordings, as people save them: .csv, .tsv and .jsonl files, in columns as they are."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..corpora.csv_tables import MARKS
from ..corpora.csv_tables import read_csv
from ..corpora.names import same_column
from ..corpora.names import spelling
from ..errors import InputError

TABLES = (".csv", ".tsv", ".jsonl")
"""Endings of the files that are read."""
PATH_COLUMNS = ("path", "file", "file_name", "filename", "audio", "wav")
"""Names of the column that says where a recording lies, the likeliest first."""


def read_table(file: Path) -> pa.Table:
    """A table as it is: .csv and .tsv all as text (speaker 03 is a name), empty values as null.

    Raises:
        InputError: not readable, no rows, a line that is no row, text that is no Unicode.
    """
    try:
        table = _read_csv(file) if file.suffix.lower() != ".jsonl" else table_of(_json_rows(file))
    except InputError:
        raise
    except (OSError, ValueError) as error:  # Arrow's are ValueErrors
        raise InputError(f"cannot read {file}: {str(error).splitlines()[0]}") from error
    if not table.num_rows:
        raise InputError(f"{file} has no rows")
    return table


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


def _read_csv(file: Path) -> pa.Table:
    table, _ = read_csv(file)
    names = [name for name in table.column_names if name]  # pandas' row numbers have none
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{file}, line 1: two columns are called {', '.join(twice)}; each must be there once")
    return pa.table({name: _stripped(table[name]) for name in names})


def _stripped(column: pa.ChunkedArray) -> pa.Array:
    """Without blanks around the values, and quotes after a blank; null where nothing is left."""
    unquoted = pc.replace_substring_regex(column.combine_chunks(), r'^\s+"([^"]*)"\s*$', r"\1")
    found = pc.utf8_trim_whitespace(unquoted)
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.string()), found)


def _json_rows(file: Path) -> list[dict[str, Any]]:
    rows = []
    content = file.read_bytes()
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    for number, line in enumerate(content.decode(encoding).removeprefix("\ufeff").split("\n"), start=1):
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
