"""A large data set on the Hub, its files one by one turned into copies that are mapped.

A file is downloaded, prepared by the builder of `datasets` that reads it, which is told what the whole data set's is
told, and turned into two kinds of copies (copies.py): its columns of plain values in an Arrow file, and each column of
features as mapped_features.py has it. Then what was downloaded goes; what lay in the Hub's cache before stays there.
So the disk holds the copies and one file besides, memory a part of one, and a start that was cut short goes on in the
file that it was cut short in.

A copy is found by the file's hash on the Hub and by how it is read.
"""

import glob
import json
import logging
import os
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import xxhash
from huggingface_hub import constants
from huggingface_hub import hf_hub_download
from huggingface_hub import try_to_load_from_cache
from tqdm import tqdm

from ..files import link_or_copy
from ..files import staging
from .copies import Copies
from .copies import read_arrow
from .copies import write_arrow
from .hub_data_sets import HubDataSet
from .hub_data_sets import HubFile
from .hub_data_sets import NotByFiles
from .hub_data_sets import not_there
from .mapped_features import column_copy
from .mapped_features import column_folder
from .mapped_features import mapped_array
from .mapped_features import write_column
from .names import same_column
from .spec import CorpusSpec
from .tables import DataFile

logger = logging.getLogger(__name__)

_FORMAT = "hub-1"
_ROWS = "rows.arrow"
_FEATURES = b"features"

Wanted = Callable[[list[str]], dict[str, str]]
"""The names of columns that are there -> role -> which of them is asked for."""


def take_data_set(
    data_set: HubDataSet, spec: CorpusSpec, modalities: list[str], wanted: Wanted, copies: Copies
) -> DataFile | None:
    """All rows of a data set, mapped from copies, which are made where they aren't there yet; None where that can't
    be done. Of recordings there are nulls alone: those of a large data set are not kept.

    Args:
        modalities: of the user's own, by name, whose columns are vectors, too.
        wanted: which columns are asked for.

    Raises:
        NotThere: a file can't be had from the Hub. Those before it are kept.
    """
    try:
        return _Taking(data_set, spec, ["features", *modalities], wanted, copies).data_file()
    except NotByFiles as error:
        logger.info("data set %s is not taken file by file (%s): datasets loads it", data_set.hub_id, error)
        return None


class _Taking:
    """A data set on its way into copies."""

    def __init__(
        self, data_set: HubDataSet, spec: CorpusSpec, vector_roles: list[str], wanted: Wanted, copies: Copies
    ):
        self.data_set, self.spec, self.copies = data_set, spec, copies
        self.vector_roles, self.wanted = vector_roles, wanted
        self.features = data_set.features
        self.as_vectors = sorted({same_column(name) for name in spec.candidates("features")})
        self.downloads = copies.folder / f"{_FORMAT}-{_hash(data_set.hub_id, data_set.commit)}.downloads"

    def data_file(self) -> DataFile:
        data_set = self.data_set
        numbers = range(len(data_set.files))
        new = any(self.copies.find(self._rows_key(number)) is None for number in numbers)
        for number in tqdm(numbers, data_set.hub_id, unit="file", disable=None if new else True):
            self._take(number)
        if new:
            shutil.rmtree(self.downloads, ignore_errors=True)
        tables = [self._rows(number) for number in numbers]
        count = sum(table.num_rows for table in tables)
        if data_set.rows not in (None, count):
            raise NotByFiles(f"it has {count} rows, and says that it has {data_set.rows}")
        rows = pa.concat_tables(table.replace_schema_metadata() for table in tables)
        self._check_plain(rows.column_names)
        features = {name: of for name, of in self.features.items() if name in {*rows.column_names, *self._vectors()}}
        source = f"data set {data_set.hub_id}"
        return DataFile(source, list(self.features), lambda names: self._columns(rows, names), features)

    def _columns(self, rows: pa.Table, names: list[str]) -> pa.Table:
        found = {}
        for name in names:
            if name in self._vectors():
                found[name] = _joined([self._mapped(number, name) for number in range(len(self.data_set.files))])
            elif name in rows.column_names:
                found[name] = rows.column(name)
            else:
                found[name] = pa.nulls(rows.num_rows)
        return pa.table(found)

    def _take(self, number: int) -> None:
        """Makes the copies of a file that are not there yet."""
        rows = self.copies.find(self._rows_key(number))
        if rows is not None and self.features is None:
            self.features = json.loads(read_arrow(rows / _ROWS).schema.metadata[_FEATURES])
        if rows is not None and all(self._mapped(number, name) is not None for name in self._vectors()):
            return
        with self._prepared(number) as prepared:
            self.features = self.features or prepared.features.to_dict()
            table = prepared.data.table
            plain = [each.name for each in table.schema if self._is_plain(each)]
            self._check_plain(plain)
            if rows is None:
                self._keep_rows(number, table.select(plain))
            for name in self._vectors():
                self._keep_vectors(number, table.column(name), name)

    def _check_plain(self, plain: list[str]) -> None:
        """Raises NotByFiles where another column than those of features and recordings is not kept as it is."""
        kept = {*plain, *self._vectors()}
        lacking = [name for role, name in self._wanted().items() if role != "audio" and name not in kept]
        if lacking:
            raise NotByFiles(f"its column {lacking[0]} is no plain text or numbers")

    def _keep_rows(self, number: int, table: pa.Table) -> None:
        table = table.replace_schema_metadata({_FEATURES: json.dumps(self.features)})
        key = self._rows_key(number)
        if self.copies.make(key, lambda folder: write_arrow(folder / _ROWS, table), table.nbytes) is None:
            raise NotByFiles("there is no place for its copy")

    def _keep_vectors(self, number: int, column: pa.ChunkedArray, name: str) -> None:
        def fill(folder: Path) -> None:
            write_column(column.chunks, folder)

        digest, source = self._digest(number), self.data_set.files[number].path
        if column_copy(digest, source, name, self.copies, fill, lambda: column.nbytes) is None:
            raise NotByFiles(f"its column {name} can't be copied")

    @contextmanager
    def _prepared(self, number: int) -> Iterator[datasets.Dataset]:
        """The rows of a file as `datasets` reads them; what was downloaded for it goes at the end."""
        data_set = self.data_set
        file = self._downloaded(data_set.files[number])
        told = self._told(number)
        with staging(self.copies.folder / "prepared") as folder:
            linked = folder / f"file{file.suffix.lower()}"
            link_or_copy(Path(os.path.realpath(file)), linked)
            try:
                with _without_bars():
                    builder = datasets.load_dataset_builder(
                        data_set.kind,
                        data_files={data_set.split: [glob.escape(str(linked))]},
                        cache_dir=str(folder / "cache"),
                        **data_set.settings,
                    )
                    if told is not None:
                        builder.info.features = datasets.Features.from_dict(told)
                    builder.download_and_prepare()
                    prepared = builder.as_dataset(split=data_set.split)
            except Exception as error:  # of whatever kind, `datasets` meets it again and says it
                raise NotByFiles(f"{data_set.files[number].path}: {type(error).__name__}: {error}") from error
            yield prepared
        if self.downloads in file.parents:
            file.unlink()

    def _downloaded(self, file: HubFile) -> Path:
        """Where a file lies: in the Hub's cache, else downloaded, which goes on where it was cut short."""
        of_repository = {"repo_type": "dataset", "revision": self.data_set.commit}
        try:
            there = try_to_load_from_cache(self.data_set.hub_id, file.path, **of_repository)
            if isinstance(there, str):
                return Path(there)
            return Path(hf_hub_download(self.data_set.hub_id, file.path, local_dir=self.downloads, **of_repository))
        except Exception as error:
            if constants.is_offline_mode():
                raise NotByFiles("there is no connection") from error
            raise not_there(self.spec, self.data_set.hub_id, error) from error

    def _rows(self, number: int) -> pa.Table:
        folder = self.copies.find(self._rows_key(number))
        if folder is None:
            raise NotByFiles("a copy of it is gone")
        return read_arrow(folder / _ROWS)

    def _mapped(self, number: int, column: str) -> pa.Array | None:
        folder = column_folder(self._digest(number), column, self.copies)
        return None if folder is None else mapped_array(folder, self.copies)

    def _is_plain(self, column: pa.Field) -> bool:
        """Whether a column is kept as it is: text, numbers and times, but no features that are written out as text."""
        kind = column.type
        other = pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType) or _is_binary(kind)
        return not other and same_column(column.name) not in self.as_vectors

    def _wanted(self) -> dict[str, str]:
        return self.wanted(list(self.features))

    def _vectors(self) -> list[str]:
        """The columns of features that are asked for; none before it is known what columns there are."""
        wanted = {} if self.features is None else self._wanted()
        return [wanted[role] for role in self.vector_roles if role in wanted]

    def _told(self, number: int) -> dict[str, Any] | None:
        """What the builder of a file is told of its columns: where nothing else says it, what the first file has."""
        return self.data_set.features if number == 0 else self.features

    def _digest(self, number: int) -> str:
        file = self.data_set.files[number]
        return _hash(file.digest, self.data_set.kind, self.data_set.settings, self._told(number))

    def _rows_key(self, number: int) -> str:
        return f"{_FORMAT}-{_hash(self._digest(number), self.as_vectors)}"


def _joined(arrays: list[pa.Array]) -> pa.ChunkedArray:
    """The features of all files. Files in which no row has any say nothing of their width in bits."""
    kind = next((array.type for array in arrays if len(array.values.values)), arrays[0].type)
    return pa.chunked_array([array if array.type == kind else array.cast(kind) for array in arrays])


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _hash(*of: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(of, sort_keys=True).encode())


@contextmanager
def _without_bars() -> Iterator[None]:
    """Within, `datasets` shows no progress: it has one for each file."""
    there = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if there:
            datasets.enable_progress_bars()


__all__ = ["Wanted", "take_data_set"]
