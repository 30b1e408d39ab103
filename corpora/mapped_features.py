"""The features of a data file as a mapped copy: turned once from parquet, csv or jsonl into plain arrays, row group by
row group, so that of a large corpus little is in memory at a time.

A copy holds what `arrow_features` makes of the column before any row is judged: the numbers of all vectors, how wide
each is, how many each row has. So rows of another width, rows that aren't kept and numbers that are none are found and
said as in the file itself. It is kept by the content of the file and the column's name; float16 and float32 stay what
they are, all else becomes float32.
"""

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from ..errors import InputError
from .arrow_features import peel_features
from .copies import Copies
from .tables import DataFile

logger = logging.getLogger(__name__)

_FORMAT = "features-1"
_BATCH_BYTES = 32 * 2**20
_ROWS, _WIDTHS, _VALUES = "rows.npy", "widths.npy", "values.npy"


class _NoCopy(Exception):
    """A column that can't be copied as it is, for whoever reads it to say why."""


def mapped_column(file: DataFile, column: str, copies: Copies) -> pa.ChunkedArray | None:
    """The column of features of a data file, mapped from its copy, which is made where it isn't there yet; None where
    it can't be copied: then the column is read, and what is wrong with it said."""
    if file.path is None:
        return None
    try:
        digest = copies.digest(file.path)
    except OSError:
        return None

    def fill(target: Path) -> None:
        _write(file, column, target)
        if copies.digest(file.path) != digest:  # replaced since: what was copied is not what the key says
            raise _NoCopy("it has changed meanwhile")

    folder = column_copy(digest, file.source, column, copies, fill, lambda: _size(file, column))
    return None if folder is None else pa.chunked_array([mapped_array(folder, copies)])


def column_copy(
    digest: str, source: str, column: str, copies: Copies, fill: Callable[[Path], None], size: Callable[[], int]
) -> Path | None:
    """The folder of the copy of a column of features; None where it can't be copied.

    Args:
        digest: of what the column lies in.
        source: where that is, for messages.
        fill: makes the copy, as `write_column` does.
        size: of the copy in bytes, about.
    """
    folder = column_folder(digest, column, copies)
    if folder is None:
        try:
            folder = copies.make(_key(digest, column), fill, size())
        except (_NoCopy, ValueError, pa.ArrowException) as error:
            logger.debug("no copy of %s: %s", source, error)
    return folder


def column_folder(digest: str, column: str, copies: Copies) -> Path | None:
    """The folder of the copy of a column of features; None where there is none."""
    return copies.find(_key(digest, column))


def _key(digest: str, column: str) -> str:
    return f"{_FORMAT}-{digest}-{xxhash.xxh3_64_hexdigest(column.encode())}"


def mapped_vectors(folder: Path, dim: int) -> np.ndarray:
    """(vectors, dim) the numbers of a copy, mapped; all its vectors are `dim` wide."""
    return np.asarray(np.load(folder / _VALUES, mmap_mode="r")).reshape(-1, dim)


def mapped_array(folder: Path, copies: Copies) -> pa.Array:
    """Of a copy: lists of lists of numbers that share the memory of the mapped files."""
    counts = np.load(folder / _ROWS)
    widths = np.load(folder / _WIDTHS)
    numbers = np.asarray(np.load(folder / _VALUES, mmap_mode="r"))
    copies.mapped[numbers.ctypes.data] = folder.name
    values = pa.array(numbers)
    vectors = pa.LargeListArray.from_arrays(_offsets(np.broadcast_to(widths, counts.sum())), values)
    return pa.LargeListArray.from_arrays(_offsets(counts), vectors)


def _offsets(lengths: np.ndarray) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.array(offsets)


def _write(file: DataFile, column: str, target: Path) -> None:
    write_column(_chunks(file, column), target)


def write_column(chunks: Iterable[pa.Array], target: Path) -> None:
    """Writes the files of a copy. Raises what `column_copy` takes for a column that can't be copied."""
    counts: list[np.ndarray] = []
    widths: list[np.ndarray] = []
    dtype, total = None, 0
    with open(target / _VALUES, "wb") as opened:
        _write_header(opened, np.dtype(np.float32), 0)
        for chunk in chunks:
            rows, wide, leaf = peel_features(chunk, np.ones(len(chunk), bool), _no_copy)
            values = leaf.to_numpy(zero_copy_only=False)
            if values.dtype not in (np.float16, np.float32):
                values = values.astype(np.float32)
            if len(values) and dtype not in (None, values.dtype):
                raise _NoCopy("its row groups are of different types")
            dtype = values.dtype if len(values) else dtype
            values.tofile(opened)
            total += len(values)
            counts.append(rows.astype(np.int32))
            widths.append(wide.astype(np.int32))
        opened.seek(0)
        _write_header(opened, np.dtype(dtype or np.float32), total)
    wide = np.concatenate(widths or [np.zeros(0, np.int32)])
    np.save(target / _WIDTHS, wide[:1] if len(wide) and (wide == wide[0]).all() else wide)
    np.save(target / _ROWS, np.concatenate(counts or [np.zeros(0, np.int32)]))


def _write_header(opened, dtype: np.dtype, total: int) -> None:
    """The header of a `.npy` of one dimension, of one length whatever it says."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": (total,)}
    text = f"{header!r}".ljust(117) + "\n"
    opened.write(np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text.encode("latin1"))


def _chunks(file: DataFile, column: str) -> Iterator[pa.Array]:
    """The column, some rows at a time, checked."""
    if file.path.suffix.lower() != ".parquet":
        yield from file.table([column]).column(0).chunks
        return
    with pq.ParquetFile(file.path, memory_map=True) as opened:
        rows = max(1, opened.metadata.num_rows)
        batch = max(1, min(rows, _BATCH_BYTES * rows // max(1, _size(file, column))))
        for found in opened.iter_batches(batch, columns=[column], use_threads=False):
            found.validate(full=True)
            yield found.column(0)


def _size(file: DataFile, column: str) -> int:
    """Bytes that the column's numbers take, about."""
    if file.path.suffix.lower() != ".parquet":
        return file.path.stat().st_size
    metadata = pq.read_metadata(file.path)
    return sum(
        group.column(i).total_uncompressed_size
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for i in range(group.num_columns)
        if group.column(i).path_in_schema.split(".")[0] == column
    )


def _no_copy(row: int, what: str) -> InputError:
    raise _NoCopy(what)


__all__ = ["column_copy", "column_folder", "mapped_array", "mapped_column", "mapped_vectors", "write_column"]
