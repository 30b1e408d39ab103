"""Columns of text without a Python object, and without a copy, for each row: names by number, texts in Arrow.

A column of a corpus is a NumPy array of strings (or a list) where the corpus is small, and one of these where it is
mapped from disk. All give `len`, `column[row]`, `column[rows]`, iteration and `np.asarray`; what is asked of a whole
column goes through `coded`, `joined` and `pieces`, which are quick for each of them.
"""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_PIECE = 1 << 14
"""Rows that are Python objects at a time."""


class _Column:
    """What both have in common with an array of strings."""

    __hash__ = None

    ndim = 1

    @property
    def shape(self) -> tuple[int]:
        """(rows,)"""
        return (len(self),)

    @property
    def size(self) -> int:
        """Rows."""
        return len(self)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _PIECE):
            yield from self[first : first + _PIECE].tolist()

    def __getattr__(self, name: str) -> Any:
        """What else an array can do, by one that is made for it: a protocol of the user's asks for what it likes."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(np.asarray(self), name)

    def __ne__(self, other: object) -> np.ndarray:
        return np.logical_not(self == other)

    def __lt__(self, other: object) -> np.ndarray:
        return np.asarray(self) < np.asarray(other)

    def __le__(self, other: object) -> np.ndarray:
        return np.asarray(self) <= np.asarray(other)

    def __gt__(self, other: object) -> np.ndarray:
        return np.asarray(self) > np.asarray(other)

    def __ge__(self, other: object) -> np.ndarray:
        return np.asarray(self) >= np.asarray(other)

    def astype(self, kind: Any, copy: bool = True) -> np.ndarray:
        """As an array of strings or objects."""
        return np.asarray(self, dtype=kind)


class Names(_Column):
    """(n,) names, of which few are different.

    Args:
        names: (k,) the different ones, each once.
        codes: (n,) int32, which of them each row has.
    """

    def __init__(self, names: np.ndarray, codes: np.ndarray):
        self.names, self.codes = np.asarray(names, dtype=str), codes

    @property
    def dtype(self) -> np.dtype:
        """That of the names."""
        return self.names.dtype

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> "Names | np.str_ | np.ndarray":
        codes = self.codes[rows]
        return Names(self.names, codes) if np.ndim(codes) == 1 else self.names[codes]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.names[self.codes].astype(dtype or self.names.dtype, copy=False)

    def __eq__(self, other: object) -> np.ndarray:
        if isinstance(other, str):
            return (self.names == other)[self.codes]
        return np.asarray(self) == np.asarray(other)

    def tolist(self) -> list[str]:
        """All of them; rows with the same name hold the same object."""
        names = self.names.tolist()
        return [names[code] for code in self.codes.tolist()]


class Texts(_Column, Sequence):
    """(n,) texts, mostly different, as Arrow holds them.

    Args:
        column: strings without nulls.
    """

    def __init__(self, column: pa.Array | pa.ChunkedArray):
        self.column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, rows: Any) -> "Texts | str | np.ndarray":
        if rows is None or rows is Ellipsis or isinstance(rows, tuple):
            return np.asarray(self)[rows]
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if step == 1:
                return Texts(self.column.slice(first, max(0, last - first)))
            rows = np.arange(first, last, step)
        if np.ndim(rows) == 0:
            return self.column[int(rows)].as_py()
        rows = np.asarray(rows)
        if rows.ndim > 1:
            return np.asarray(self)[rows]
        return Texts(self.column.take(pa.array(self._numbers(rows), pa.int64())))

    def _numbers(self, rows: np.ndarray) -> np.ndarray:
        """Rows as an array takes them, counted from 0. Raises IndexError."""
        if rows.dtype == bool:
            if len(rows) != len(self):
                raise IndexError(f"a mask of {len(rows)} rows for {len(self)} rows")
            return np.flatnonzero(rows)
        if len(rows) and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)} rows")
        return np.where(rows < 0, rows + len(self), rows)

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and pc.index(self.column, pa.scalar(text, self.column.type)).as_py() >= 0

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.column.to_numpy(zero_copy_only=False).astype(dtype or str)

    def __eq__(self, other: object) -> np.ndarray:
        if isinstance(other, str):
            return pc.equal(self.column, pa.scalar(other, self.column.type)).to_numpy()
        if isinstance(other, list):  # as of the list that it stands for
            return self.tolist() == other
        return np.asarray(self) == np.asarray(other)

    def tolist(self) -> list[str]:
        """All of them."""
        return self.column.to_pylist()


Column = np.ndarray | Names | Texts | list


def coded(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """The different names of a column that occur, sorted, and (n,) int64, the number of each row's among them: what
    `np.unique(column, return_inverse=True)` gives."""
    if not isinstance(column, Names):
        names, codes = np.unique(np.asarray(column, dtype=str), return_inverse=True)
        return names, codes.reshape(-1)
    there = np.bincount(column.codes, minlength=len(column.names)) > 0
    names, place = np.unique(column.names[there], return_inverse=True)
    numbers = np.zeros(len(column.names), np.int64)
    numbers[there] = place.reshape(-1)
    return names, numbers[column.codes]


def joined(columns: Sequence[Column]) -> Column:
    """The rows of several columns of text, one after the other: of one column that column; Names or Texts where one of
    them is that, a list of lists, else an array."""
    if len(columns) == 1:
        return columns[0]
    if all(isinstance(each, list) for each in columns):
        return [text for each in columns for text in each]
    if any(isinstance(each, Texts) for each in columns):
        chunks = [each.column if isinstance(each, Texts) else _strings(each) for each in columns]
        return Texts(pa.chunked_array([chunk for each in chunks for chunk in each.cast(pa.large_string()).chunks]))
    if not any(isinstance(each, Names) for each in columns):
        return np.concatenate([np.asarray(each, dtype=str) for each in columns])
    parts = [(each.names, each.codes) if isinstance(each, Names) else coded(each) for each in columns]
    names, place = np.unique(np.concatenate([found for found, _ in parts]), return_inverse=True)
    first = np.cumsum([0, *(len(found) for found, _ in parts)])
    places = [place.reshape(-1)[begin:] for begin in first[:-1]]
    codes = [numbers[of_part].astype(np.int32) for numbers, (_, of_part) in zip(places, parts, strict=True)]
    return Names(names, np.concatenate(codes))


def constant(name: str, rows: int) -> Names:
    """The same name in every row."""
    return Names(np.array([name]), np.zeros(rows, np.int32))


def pieces(column: Column) -> Iterator[pa.Array]:
    """The texts of a column as Arrow arrays, some rows at a time."""
    for first in range(0, len(column), _PIECE):
        some = column[first : first + _PIECE]
        found = some.column if isinstance(some, Texts) else _strings(some)
        yield pa.concat_arrays(found.chunks) if found.num_chunks != 1 else found.chunk(0)


def arrow(column: Column) -> pa.Array | pa.ChunkedArray | np.ndarray:
    """The column as a table of Arrow takes it: names as strings."""
    if isinstance(column, Texts):
        return column.column.cast(pa.string())
    if isinstance(column, Names):
        return pa.array(column.names.tolist(), pa.string()).take(pa.array(column.codes))
    return column


def _strings(column: Column) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(column.tolist() if not isinstance(column, list) else column, pa.string())])


__all__ = ["Column", "Names", "Texts", "arrow", "coded", "constant", "joined", "pieces"]
