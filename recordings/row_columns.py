"""The columns beside extracted features: whatever a table says of its recordings, by the names of the schema."""

import csv
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..corpus_specs import DEFAULT_COLUMNS
from ..errors import InputError

TEXTS = ("utterance_id", "speaker", "session", "label", "transcript", "gender", "style", "split")
NUMBERS = ("valence", "arousal", "dominance", "difficulty", "curriculum_order", "start", "end")
PATH_COLUMNS = ("path", "file", "file_name", "filename", "audio", "wav")
"""Names of the column that says where a recording lies, the likeliest first."""

ABSOLUTE = r"^(?:file:/|[A-Za-z]:[\\/]|\\\\[^\\\s]|(?:~[\w.-]*)?/(?:[^/\s][^/]*/[^/\s]|[^/\s]+$))"
"""A path of this or another machine, as Arrow's and Python's regular expressions; not a word /in slashes/."""

_NAMES = {**DEFAULT_COLUMNS, "gender": ["gender", "sex"]}
# What the output has of its own; features that were there are replaced by those extracted.
_REPLACED = {"audio_notes", "seconds", *DEFAULT_COLUMNS["features"], *DEFAULT_COLUMNS["audio"]}


def read_table(file: Path) -> pa.Table:
    """A CSV or JSONL file as it is: CSV all as text (speaker 03 is a name), empty values as null.

    Raises:
        InputError: not readable, no rows, or a line that is no row.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = _csv_rows(file, opened) if file.suffix.lower() == ".csv" else _json_rows(file, opened)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
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
    folded = {name.lower(): name for name in table.column_names}
    exact = [name for name in candidates if name in table.column_names]
    return next(iter(exact + [folded[name.lower()] for name in candidates if name.lower() in folded]), None)


def schema_columns(raw: pa.Table, source: str) -> tuple[pa.Table, list[str]]:
    """What is known of the recordings: the schema's columns by its names and types, others as they are, and notes.

    Columns of another kind than text, numbers and truth values stay behind, and so do old features and paths of this
    machine, which are nobody else's.

    Args:
        source: where the table comes from, for messages.

    Raises:
        InputError: text where a number must be.
    """
    raw = raw.drop_columns([name for name in ("", "Unnamed: 0") if name in raw.column_names])  # pandas' row numbers
    left_out = [name for name in raw.column_names if name.lower() not in PATH_COLUMNS and _has_paths(raw, name)]
    raw = raw.drop_columns(left_out)
    used: dict[str, str] = {}
    columns: dict[str, pa.Array] = {}
    for role in (*TEXTS, *NUMBERS):
        name = find_column(raw, _NAMES.get(role, [role]))
        if name is not None:
            used[name] = role
            columns[role] = text(raw[name]) if role in TEXTS else _numbers(raw[name], name, source)
    for name in raw.column_names:
        kind = raw.schema.field(name).type
        if name in used or name.lower() in PATH_COLUMNS:
            continue
        if name in _REPLACED or not _plain(kind):
            left_out.append(name)
        elif name not in columns:
            columns[name] = text(raw[name]) if pa.types.is_null(kind) else raw[name]
    notes = [f"columns not taken along: {', '.join(left_out)}"] if left_out else []
    return pa.table(columns), notes


def text(column: pa.ChunkedArray) -> pa.Array:
    """As strings without blanks around them, null where nothing is left; whole numbers without a fraction, and null
    for those that aren't finite.
    """
    array = column.combine_chunks()
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    if pa.types.is_floating(array.type):
        array = pc.cast(array, pa.float32()) if pa.types.is_float16(array.type) else array
        array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type))
        whole = pc.and_(pc.equal(array, pc.floor(array)), pc.less(pc.abs(array), 2.0**53))
        array = pc.cast(array, pa.int64()) if pc.all(whole).as_py() else array
    array = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)


def _numbers(column: pa.ChunkedArray, name: str, source: str) -> pa.Array:
    array = column.combine_chunks()
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = text(column)
    try:
        return pc.cast(array, pa.float64())
    except pa.ArrowException as error:
        raise InputError(f"{source}: column {name} must hold numbers ({error})") from error


def _plain(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating)
    return any(test(kind) for test in (*tests, pa.types.is_boolean, pa.types.is_null))


def _has_paths(table: pa.Table, name: str) -> bool:
    """Whether a value of the column is an absolute path; never of the transcripts, which may begin with anything."""
    column = table[name]
    column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not is_text or name == find_column(table, _NAMES["transcript"]):
        return False
    return bool(pc.any(pc.match_substring_regex(pc.utf8_trim_whitespace(column), ABSOLUTE)).as_py())


def _csv_rows(file: Path, opened: Any) -> list[dict[str, Any]]:
    reader = csv.DictReader(opened, strict=True)
    header = reader.fieldnames or []
    for sign, what in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and sign in header[0]:
            raise InputError(f"{file}, line 1: its columns are separated by {what}; save it with commas")
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise InputError(f"{file}, line 1: two columns are called {', '.join(twice)}; each must be there once")
    rows = []
    for row in reader:
        if None in row or None in row.values():
            raise InputError(f"{file}, line {reader.line_num}: not as many values as the header has names")
        rows.append({name: value.strip() or None for name, value in row.items()})
    return rows


def _json_rows(file: Path, opened: Any) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(opened, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{file}, line {number}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{file}, line {number}: no object with a value for each column")
        rows.append(row)
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
