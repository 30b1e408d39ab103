"""One data file as a table that can be trusted: the columns that are asked for, checked, classes by their names.

Columns that nobody asks for are not read, whatever their type. What is read is validated, since a damaged file gives
arrays whose offsets point anywhere, and following them ends the process. That looks at offsets, text and indices, not
at the features' values, so it costs next to nothing: 2 ms for 1.2 GB of frames in a memory-mapped file.
"""

import json
import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet

from .csv_tables import read_csv
from .names import spelling

# A line of jsonl with frames is megabytes long, and a block must hold at least one.
_JSON_BLOCK_BYTES = 1 << 26
# Far beyond any data; Arrow's JSON reader follows brackets until the process ends.
_DEEPEST = 100
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class DataFile:
    """A file, opened: its columns are known, none is read yet.

    Args:
        source: where it lies, for messages.
        columns: their names, as they are written there.
        read: gives the columns of these names, as a table that may hold others too.
        features: what `datasets` says of the columns, by name.
        notes: what is to be said of how it is read.
        path: of the file; None where it is none.
    """

    source: str
    columns: list[str]
    read: Callable[[list[str]], pa.Table]
    features: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    path: Path | None = None

    def table(self, names: Sequence[str]) -> pa.Table:
        """The columns of these names, checked; class numbers as they are (`class_names` has their names).

        Raises:
            Exception: of any kind that Arrow or a codec has for a damaged file; ValueError for damage found here, and
                for two columns of one name.
        """
        twice = next((name for name in names if self.columns.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two columns are called {twice!r}; each must be there once")
        table = self.read(list(names)).select(list(names))
        try:
            table.validate(full=True)
        except pa.ArrowException as error:
            raise ValueError(f"it is damaged ({str(error).splitlines()[0]}); copy or make it again") from error
        return table

    def class_names(self, column: str) -> list[str] | None:
        """The names of the classes whose numbers the column holds, spelled; None where it is no ClassLabel.

        Raises:
            ValueError: a ClassLabel without names.
        """
        feature = self.features.get(column)
        if not isinstance(feature, Mapping) or feature.get("_type") != "ClassLabel":
            return None
        names, count = feature.get("names"), feature.get("num_classes")
        if names is None and type(count) is int:
            names = [str(number) for number in range(count)]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"column {column} holds class numbers, and the names of its classes are no list of names")
        return [spelling(name) for name in names]


def open_data_file(file: Path, features: Mapping[str, Any] | None = None) -> DataFile:
    """Opens a file by its ending.

    Args:
        features: what is known of the columns elsewhere, in place of what the file says.

    Raises:
        Exception: of any kind; what is said of a damaged file depends on the library that reads it.
    """
    opened = replace(_OPENERS[file.suffix.lower()](file), path=file)
    return opened if features is None else replace(opened, features=features)


def named(column: pa.ChunkedArray, names: list[str]) -> pa.ChunkedArray:
    """Class numbers as names; null for -1, which is how `datasets` writes a label that isn't known.

    Raises:
        ValueError: a number that no class has.
    """
    numbers = pc.cast(column, pa.int64())
    unknown = pc.if_else(pc.equal(numbers, -1), pa.scalar(None, pa.int64()), numbers)
    wrong = pc.filter(unknown, pc.or_(pc.less(unknown, 0), pc.greater_equal(unknown, len(names))))
    if len(wrong):
        raise ValueError(f"class number {wrong[0].as_py()} has no name; the names there are {', '.join(names)}")
    return pc.take(pa.chunked_array([pa.array(names, pa.string())]), unknown)


def _open_parquet(file: Path) -> DataFile:
    opened = pa.parquet.ParquetFile(file, memory_map=True)
    schema = opened.schema_arrow
    return DataFile(str(file), schema.names, lambda names: opened.read(columns=names), _told(schema))


def _open_arrow(file: Path) -> DataFile:
    """An Arrow file, or the stream format that `datasets` writes; memory-mapped."""

    def opened(options: pa.ipc.IpcReadOptions | None = None) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        source = pa.memory_map(str(file))
        try:
            return pa.ipc.open_file(source, options=options)
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source, options=options)

    schema = opened().schema

    def read(names: list[str]) -> pa.Table:
        if not names:
            return pa.table({})
        fields = [schema.names.index(name) for name in names]
        return opened(pa.ipc.IpcReadOptions(included_fields=fields)).read_all()

    return DataFile(str(file), schema.names, read, _told(schema))


def _open_json_lines(file: Path) -> DataFile:
    _check_nesting(file)
    table = _read_json_lines(file)
    return DataFile(str(file), table.column_names, table.select)


def _open_csv(file: Path) -> DataFile:
    table, notes = read_csv(file)
    return DataFile(str(file), table.column_names, table.select, notes=notes)


_OPENERS: dict[str, Callable[[Path], DataFile]] = {
    ".parquet": _open_parquet,
    ".arrow": _open_arrow,
    ".jsonl": _open_json_lines,
    ".csv": _open_csv,
    ".tsv": _open_csv,
}


def _told(schema: pa.Schema) -> dict[str, Any]:
    """What `datasets` wrote into a schema of its columns; {} where it wrote nothing."""
    written = (schema.metadata or {}).get(b"huggingface")
    if written is None:
        return {}
    try:
        told = json.loads(written)
    except (ValueError, RecursionError):
        told = None
    info = told.get("info", {}) if isinstance(told, dict) else None
    features = (info.get("features") or {}) if isinstance(info, dict) else None
    if not isinstance(features, dict):
        raise ValueError("what `datasets` wrote into it of its columns is damaged; copy or make it again")
    return features


def _read_json_lines(file: Path) -> pa.Table:
    """Columns of the types that Arrow finds; text that looks like a time stays text, and a column that holds numbers
    here and text there is text."""
    options = pa.json.ReadOptions(block_size=_JSON_BLOCK_BYTES)
    try:
        table = pa.json.read_json(file, options)
    except pa.ArrowInvalid as error:
        if "changed from" not in str(error):
            raise
        return _read_mixed_json_lines(file)
    times = [column.name for column in table.schema if pa.types.is_timestamp(column.type)]
    if times:
        schema = pa.schema([(name, pa.string()) for name in times])
        table = pa.json.read_json(file, options, pa.json.ParseOptions(explicit_schema=schema))
    return table


def _read_mixed_json_lines(file: Path) -> pa.Table:
    """The same without Arrow's reader, which knows one type a column."""
    with file.open(encoding="utf-8-sig") as opened:
        rows = [json.loads(line) for line in opened if line.strip()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _array([row.get(name) for row in rows]) for name in names})


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError):
        return pa.array(
            [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
        )


def _check_nesting(file: Path) -> None:
    """Raises ValueError for a line whose brackets are nested beyond all sense."""
    with file.open("rb") as opened:
        for number, line in enumerate(opened, start=1):
            if _depth(line) > _DEEPEST and _depth(_STRINGS.sub(b"", line)) > _DEEPEST:
                raise ValueError(f"line {number}: it is nested too deeply")


def _depth(line: bytes) -> int:
    """How deep the brackets of a line are nested at most, those in its text included."""
    brackets = np.frombuffer(line.translate(None, _NO_BRACKETS), np.uint8)
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opening, 1, -1)).max(initial=0))


__all__ = ["DataFile", "named", "open_data_file"]
