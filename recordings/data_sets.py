"""Data sets with recordings: parquet files, a `save_to_disk` folder, the Hub; as a table and a column of recordings.

Each parquet file is read by what it says of itself: of two, the class numbers may stand for other classes.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from ..corpora.tables import DataFile
from ..corpora.tables import named
from ..corpora.tables import open_data_file
from ..errors import InputError
from ..hub_access import reach_hub
from .table_columns import is_plain
from .table_columns import text

_CHILDREN = {"bytes", "path", "array"}  # one of them has whatever holds a recording
_SHARD = re.compile(r"(.+?)(-\d+)+(-of-\d+)?\.parquet", re.IGNORECASE)
_SPLITS = {"train", "test", "validation", "valid", "val", "dev", "development", "eval"}


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set of which no recording is read yet.

    Args:
        table: its columns of text, numbers and truth values, a row each; classes by their names.
        audio: the same rows' recordings, in a single column `audio`, as Arrow; None where there is no such column.
        left_out: its columns of other kinds.
        columns: the names of all its columns.
    """

    table: pa.Table
    audio: datasets.Dataset | None = None
    left_out: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    """A parquet file, by its schema alone."""

    path: Path
    rows: int
    schema: pa.Schema
    opened: DataFile
    classes: dict[str, list[str]]
    audio: str | None

    @property
    def plain(self) -> list[str]:
        return [field.name for field in self.schema if is_plain(field.type)]


def read_parquet(files: list[Path], shown: str) -> DataSet:
    """Parquet files as one data set.

    Args:
        files: in their order; none of the names is taken for a pattern.
        shown: what they are, for messages.

    Raises:
        InputError: not readable; a column with class numbers whose names one of the files has and another hasn't;
            recordings in some of the files alone.
    """
    found = [file for file in map(_file, files) if file.rows]
    if not found:
        raise InputError(f"{shown} has no rows")
    with_audio = [file for file in found if file.audio is not None]
    if with_audio and len(with_audio) < len(found):
        lacking = next(file for file in found if file.audio is None)
        raise InputError(
            f"{shown}: {with_audio[0].path.name} has recordings in its column {with_audio[0].audio!r}, and "
            f"{lacking.path.name} has none; its columns: {', '.join(lacking.schema.names)}"
        )
    _refuse_unnamed(found, shown)
    alike: dict[tuple[Any, ...], list[_File]] = {}
    for file in found:
        kind = None if file.audio is None else file.schema.field(file.audio).type
        alike.setdefault((file.audio, str(kind)), []).append(file)
    ordered = [file for group in alike.values() for file in group]
    table = _stacked([_plain_columns(file) for file in ordered])
    audio = _joined([_recordings(group, shown) for group in alike.values()], shown) if with_audio else None
    names = dict.fromkeys(name for file in ordered for name in file.schema.names)
    taken = {*table.column_names, *(file.audio for file in ordered)}
    return DataSet(table, audio, [name for name in names if name not in taken], list(names))


def read_saved(path: Path, split: str) -> DataSet:
    """What `save_to_disk` wrote.

    Raises:
        InputError: not readable, no such split.
    """
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # the library's errors share no base class
        raise _unreadable(str(path), error) from error
    if isinstance(loaded, datasets.DatasetDict):
        if split not in loaded:
            raise InputError(f"{path} has no split {split!r}; its splits: {', '.join(loaded)} (--split)")
        loaded = loaded[split]
    return _loaded(loaded, str(path))


def read_hub(name: str, split: str, revision: str | None = None) -> DataSet:
    """A data set on the Hub.

    Raises:
        InputError: not there, not reachable.
    """
    reach_hub(name)
    try:
        loaded = datasets.load_dataset(name, split=split, revision=revision)
    except Exception as error:  # network, access, cache, disk: the libraries below share no base class
        raise _unreadable(name, error, "no such folder or file, and the Hub gives no such data set") from error
    return _loaded(loaded, name)


def files_of_split(tables: list[Path], source: Path, split: str) -> list[Path]:
    """Those of the split, by their names or the folders they lie in; all for "train", where nothing tells a split.

    Raises:
        InputError: none is of it.
    """
    told = [_told_split(file, source) for file in tables]
    begins = re.compile(rf"{re.escape(split)}(?![^\W_])")  # train_1, train.clean
    chosen = [file for file, name in zip(tables, told, strict=True) if name == split]
    chosen = chosen or [file for file, name in zip(tables, told, strict=True) if begins.match(name)]
    splits = sorted(set(told) - {""})
    untold = not splits or (len(splits) == 1 and _first_word(splits[0]) not in _SPLITS)  # as part-0.parquet
    if not chosen and split == "train" and untold:
        return tables
    if not chosen:
        listed = ", ".join(splits) or "its file names tell none"
        raise InputError(f"{source} has no split {split!r}; its splits: {listed} (--split)")
    return chosen


def _told_split(file: Path, source: Path) -> str:
    """The split that train-0-of-2.parquet, train.parquet or train/0.parquet says; "" where nothing does."""
    shard = _SHARD.fullmatch(file.name)
    if shard is not None:
        return shard[1]
    folders = file.relative_to(source).parent.parts if file != source else ()
    return next((name for name in (file.stem, *reversed(folders)) if _first_word(name) in _SPLITS), "")


def _first_word(name: str) -> str:
    return re.split(r"[\W_]", name.lower())[0]


def _unreadable(shown: str, error: Exception, what: str = "can't read") -> InputError:
    reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return InputError(f"{shown}: {what} ({reason})")


def _file(path: Path) -> _File:
    try:
        opened = open_data_file(path)
        with pq.ParquetFile(os.fspath(path)) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
        names = {name: opened.class_names(name) for name in schema.names}
    except Exception as error:  # of any kind, where a file is damaged
        raise _unreadable(str(path), error) from error
    classes = {name: found for name, found in names.items() if found is not None}
    return _File(path, rows, schema, opened, classes, _audio_column(schema, opened.features))


def _audio_column(schema: pa.Schema, features: Mapping[str, Any]) -> str | None:
    """The column of recordings, with bytes, path or samples; `audio` before others."""
    kinds = {name: kind.get("_type") for name, kind in features.items() if isinstance(kind, Mapping)}
    found = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and _CHILDREN & {child.name for child in field.type}
        and kinds.get(field.name, "Audio") in ("Audio", None)  # not Image, Video
    ]
    return next((name for name in found if name == "audio"), found[0] if found else None)


def _refuse_unnamed(files: list[_File], shown: str) -> None:
    """Raises InputError where a column's class numbers have names in one file, and none in another."""
    for name in dict.fromkeys(name for file in files for name in file.classes):
        named = next(file for file in files if name in file.classes)
        for file in files:
            there = name in file.schema.names and name not in file.classes
            if there and pa.types.is_integer(file.schema.field(name).type):
                raise InputError(
                    f"{shown}: {named.path.name} says what the numbers in its column {name!r} stand for "
                    f"({', '.join(named.classes[name])}), and {file.path.name} doesn't; write the names into both"
                )


def _plain_columns(file: _File) -> pa.Table:
    try:
        table = file.opened.table(file.plain)
    except Exception as error:  # of any kind, where a file is damaged
        raise _unreadable(str(file.path), error) from error
    return _with_names(table, file.classes, str(file.path))


def _with_names(table: pa.Table, classes: dict[str, list[str]], shown: str) -> pa.Table:
    """The class names in place of their numbers."""
    for place, name in enumerate(table.column_names):
        if name in classes:
            try:
                table = table.set_column(place, name, named(table[name], classes[name]))
            except ValueError as error:
                raise InputError(f"{shown}: column {name!r}: {error}") from error
    return table.replace_schema_metadata(None)


def _stacked(tables: list[pa.Table]) -> pa.Table:
    """One table of all; a column that is text in one of them becomes text in all, one that is missing null."""
    for name in dict.fromkeys(name for table in tables for name in table.column_names):
        kinds = {table.schema.field(name).type for table in tables if name in table.column_names}
        numbers = [kind for kind in kinds if pa.types.is_integer(kind) or pa.types.is_floating(kind)]
        if len(kinds - {pa.null()}) < 2 or len(numbers) == len(kinds - {pa.null()}):
            continue
        for i, table in enumerate(tables):
            if name in table.column_names:
                tables[i] = table.set_column(table.column_names.index(name), name, text(table[name]))
    return pa.concat_tables(tables, promote_options="permissive")


def _recordings(files: list[_File], shown: str) -> datasets.Dataset:
    """The column of recordings of files that hold them alike; by `datasets`, which keeps them on the disk."""
    column = files[0].audio
    field = files[0].schema.field(column).remove_metadata()
    changed = [os.stat(file.path) for file in files]
    # A list of files and not of patterns: [, ] and ? in a name are nothing but themselves.
    listed = datasets.data_files.DataFilesList(
        [os.path.abspath(file.path) for file in files],
        [(str(each.st_mtime_ns), str(each.st_size)) for each in changed],
    )
    try:
        features = datasets.Features.from_arrow_schema(pa.schema([field]))
        loaded = datasets.load_dataset(
            "parquet", data_files={"train": listed}, columns=[column], features=features, split="train"
        )
    except Exception as error:  # cache, disk: the libraries below share no base class
        raise _unreadable(shown, error) from error
    return _one_column(loaded, column)


def _joined(parts: list[datasets.Dataset], shown: str) -> datasets.Dataset:
    """Recordings that are held in several ways, as those of the first."""
    try:
        parts = [part.with_format(None).cast(parts[0].features) for part in parts] if len(parts) > 1 else parts
        return datasets.concatenate_datasets(parts).with_format("arrow")
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{shown}: its files hold recordings in different ways ({error}); give one by one") from error


def _one_column(loaded: datasets.Dataset, column: str) -> datasets.Dataset:
    if isinstance(loaded.features[column], datasets.Audio):
        loaded = loaded.cast_column(column, datasets.Audio(decode=False))
    return (loaded if column == "audio" else loaded.rename_column(column, "audio")).with_format("arrow")


def _loaded(loaded: datasets.Dataset, shown: str) -> DataSet:
    """What `datasets` has read, with one schema for all of it."""
    try:
        loaded.data.validate(full=True)  # following the offsets of a damaged file would end the process
    except pa.ArrowException as error:
        raise InputError(f"{shown} is damaged ({str(error).splitlines()[0]}); copy or make it again") from error
    schema = loaded.features.arrow_schema
    column = _audio_column(schema, loaded.features.to_dict())
    plain = [field.name for field in schema if is_plain(field.type) and field.name != column]
    table = loaded.select_columns(plain).with_format("arrow")[:] if plain else pa.table({})
    classes = {name: kind.names for name, kind in loaded.features.items() if isinstance(kind, datasets.ClassLabel)}
    audio = None if column is None else _one_column(loaded.select_columns([column]), column)
    left_out = [name for name in loaded.column_names if name not in {*plain, column}]
    return DataSet(_with_names(table, classes, shown), audio, left_out, list(loaded.column_names))


__all__ = ["DataSet", "files_of_split", "read_hub", "read_parquet", "read_saved"]
