"""Voice features between Arrow and flat arrays: no Python object per value, no copy where none is needed."""

import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..features.sequences import Sequences

# Features are checked and hashed in blocks, so that a memory-mapped corpus is never in memory as a whole.
BLOCK_VALUES = 1 << 22

# Of a vector or list of vectors as text: each vector.
_INNERMOST = re.compile(r"\[([^\[\]]*)\]")

# (row number, what is wrong) -> the error that names the corpus and the row's utterance id.
RowError = Callable[[int, str], InputError]


def read_features(
    pieces: Sequence[pa.ChunkedArray],
    rows: int,
    dim: int | None,
    wrong: RowError,
    kept: np.ndarray | None = None,
    due: str = "",
) -> Sequences:
    """The features as they lie in the Arrow buffers; only what is neither float16 nor float32 is copied, to float32.

    Args:
        pieces: the column, in as many pieces as it lies in, which may differ in type: a vector a row, a list of
            vectors a row, either inside emotion2vec's `[{"feats": ...}]`, or written out as text, as in CSV; null or
            empty where the voice is missing. None at all: no row has features.
        rows: in all pieces.
        dim: width that every vector must have; None takes the first one's.
        wrong: makes the error of a row.
        kept: (rows,) which rows matter; the others may hold what they like. None: all.
        due: what says `dim`, for the message.

    Raises:
        InputError: another layout, or a vector of another width.
    """
    reason = due or ", as in the first row"
    kept = np.ones(rows, bool) if kept is None else kept
    parts, part, start, length = [], [], [], []
    first_row = 0
    for chunk in (chunk for piece in pieces for chunk in piece.chunks):
        stays = kept[first_row : first_row + len(chunk)]
        frames, widths, leaf = peel_features(chunk, stays, lambda row, what, first=first_row: wrong(first + row, what))
        if dim is None:
            dim = next(iter(widths[np.repeat(stays, frames)].tolist()), None)
        others = _rows_of_other_widths(frames, widths, dim)
        if len(others):
            row, width = next(((row, width) for row, width in others if stays[row]), (None, 0))
            if row is not None:
                raise wrong(first_row + row, f"features are {width} wide; expected {dim}{reason}")
            frames, widths, leaf = peel_features(_without(chunk, [row for row, _ in others]), stays, wrong)
        values = leaf.to_numpy(zero_copy_only=False)  # a missing number becomes NaN, and is then refused as such
        if values.dtype not in (np.float16, np.float32):
            values = values.astype(np.float32)
        part.append(np.full(len(chunk), len(parts), np.int32))
        start.append(np.cumsum(frames) - frames)
        length.append(frames)
        parts.append(values)
        first_row += len(chunk)
    if dim is None or not parts:
        nothing = np.zeros(rows, np.int64)
        return Sequences((np.empty((0, dim or 0), np.float32),), nothing.astype(np.int32), nothing, nothing)
    vectors = tuple(values.reshape(-1, dim) for values in parts)
    return Sequences(vectors, np.concatenate(part), np.concatenate(start), np.concatenate(length))


def check_finite(audio: Sequences, wrong: RowError, kept: np.ndarray | None = None) -> None:
    """Raises the row's error where a feature of a row that is kept is NaN or infinite. The rows must lie as they were
    read."""
    for number, values in enumerate(audio.parts):
        step = max(1, BLOCK_VALUES // max(1, values.shape[1]))
        for first in range(0, len(values), step):
            block = values[first : first + step]
            with np.errstate(all="ignore"):  # NaN and infinity survive a sum, which is quicker than a look at each
                suspicious = not np.isfinite(block.sum(dtype=np.float32))
            for vector in np.flatnonzero(~np.isfinite(block).all(axis=1)) + first if suspicious else ():
                rows = np.flatnonzero(audio.part == number)
                ends = audio.start[rows] + audio.length[rows]
                row = int(rows[np.searchsorted(ends, vector, side="right")])
                if kept is None or kept[row]:
                    value = values[vector][~np.isfinite(values[vector])][0]
                    raise wrong(row, f"features hold {value}; every value must be a number")


def features_column(audio: Sequences) -> pa.ChunkedArray:
    """The features as an Arrow column, which shares their memory where the rows lie as they were read: vectors where
    no row has more than one, else lists of vectors; null where the voice is missing."""
    if not _as_read(audio):
        values = np.concatenate([np.empty((0, audio.dim), np.float16), *blocks(audio)])
        audio = Sequences.from_arrays(values, audio.length)
    vectors = int(audio.length.max(initial=0)) <= 1
    width = np.result_type(*{values.dtype for values in audio.parts if len(values)} or {np.float32})
    chunks = []
    for number, values in enumerate(audio.parts):
        lengths = audio.length[audio.part == number]
        flat = pa.array(values.reshape(-1).astype(width, copy=False))
        step = audio.dim if vectors else 1
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]) * step, pa.int32())
        items = flat if vectors else pa.FixedSizeListArray.from_arrays(flat, audio.dim)
        chunks.append(pa.ListArray.from_arrays(offsets, items, mask=pa.array(lengths == 0)))
    return pa.chunked_array(chunks)


def _as_read(audio: Sequences) -> bool:
    """Whether the rows lie one after the other in all of each array."""
    counts = np.bincount(audio.part, audio.length, minlength=len(audio.parts)) if len(audio) else np.zeros(1)
    ends = np.cumsum(audio.length) - audio.length
    before = np.cumsum([0, *map(len, audio.parts)])
    return bool(
        [*map(len, audio.parts)] == counts.tolist()
        and (audio.start + before[audio.part] == ends)[audio.length > 0].all()
    )


def blocks(audio: Sequences) -> Iterator[np.ndarray]:
    """The vectors of all rows in order, in blocks (vectors, dim): rows that lie side by side come together."""
    present = np.flatnonzero(audio.length)
    if not len(present):
        return
    part, start, end = audio.part[present], audio.start[present], (audio.start + audio.length)[present]
    breaks = np.flatnonzero((part[1:] != part[:-1]) | (start[1:] != end[:-1])) + 1
    step = max(1, BLOCK_VALUES // audio.dim)
    firsts = np.concatenate([[0], breaks])
    lasts = np.concatenate([breaks, [len(present)]]) - 1
    for number, first, last in zip(part[firsts], start[firsts], end[lasts], strict=True):
        for begin in range(first, last, step):
            yield audio.parts[number][begin : min(begin + step, last)]


def peel_features(chunk: pa.Array, kept: np.ndarray, wrong: RowError) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Takes the nesting off: (rows,) vectors of each row, (vectors,) width of each vector, and the flat numbers."""
    chunk = _storage(chunk)
    if pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type):
        chunk = _written_out(chunk, kept, wrong)
    if _is_list(chunk.type) and pa.types.is_struct(chunk.type.value_type):
        counts, inner = _peel(chunk)
        # The first of each row's entries; rows without any become null. Taking copies: only where it must be.
        once = bool((counts == 1).all())
        chunk = inner if once else inner.take(pa.array(np.cumsum(counts) - counts, mask=counts == 0))
    if pa.types.is_struct(chunk.type):
        names = [child.name for child in chunk.type]
        if "feats" not in names:
            raise wrong(0, f'features hold {", ".join(names)}, but no "feats" as emotion2vec has')
        chunk = _storage(pc.struct_field(chunk, "feats"))
    kind, depth = chunk.type, 0
    while _is_list(kind):
        depth, kind = depth + 1, kind.value_type
    if pa.types.is_null(kind):  # a chunk in which no row has features
        return np.zeros(len(chunk), np.int64), np.zeros(0, np.int64), pa.array([], pa.float32())
    if depth not in (1, 2) or not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise wrong(0, f"features are of type {chunk.type}; expected a vector or a list of vectors of numbers")
    counts, inner = _peel(chunk)
    if depth == 1:
        return (counts > 0).astype(np.int64), counts[counts > 0], inner
    # A missing vector is a vector of width 0 here, and is refused as such.
    widths, leaf = _peel(_storage(inner))
    return counts, widths, leaf


def _rows_of_other_widths(frames: np.ndarray, widths: np.ndarray, dim: int | None) -> list[tuple[int, int]]:
    """(row, width) of each vector that isn't `dim` wide."""
    other = np.flatnonzero(widths != dim)
    rows = np.searchsorted(np.cumsum(frames), other, side="right")
    return list(zip(rows.tolist(), widths[other].tolist(), strict=True))


def _without(chunk: pa.Array, rows: list[int]) -> pa.Array:
    """The same with nothing in these rows."""
    gone = np.isin(np.arange(len(chunk)), rows)
    return chunk.take(pa.array(np.arange(len(chunk)), mask=gone))


def _written_out(text: pa.Array, kept: np.ndarray, wrong: RowError) -> pa.Array:
    """Vectors, or lists of vectors, that were written as text: `[0.1, 0.2]`, `[[0.1], [0.2]]`, or as numpy writes
    them, with blanks for commas. Rows that aren't kept become null."""
    values: list[float] = []
    vectors, rows = [0], [0]
    for row, cell in enumerate(text.to_pylist()):
        inner = (_INNERMOST.findall(cell) or [cell]) if cell is not None and kept[row] else []
        for vector in inner if any(map(str.strip, inner)) else []:
            try:
                numbers = [float(each) for each in vector.replace(",", " ").split()]
            except ValueError as error:
                raise wrong(
                    row,
                    f"features are the text {cell if len(cell) <= 60 else cell[:57] + '...'!r} ({error}); expected "
                    "numbers, as json.dumps(vector.tolist()) writes them (numpy's own text leaves numbers out)",
                ) from None
            if len(numbers) == 1 and "[" not in cell:
                raise wrong(
                    row,
                    f"features are the one number {cell.strip()}, where a vector is due; write each row's as "
                    "json.dumps(vector.tolist()) does, in one column",
                )
            values += numbers
            vectors.append(len(values))
        rows.append(len(vectors) - 1)
    flat = pa.ListArray.from_arrays(pa.array(vectors, pa.int32()), pa.array(values, pa.float32()))
    return pa.ListArray.from_arrays(pa.array(rows, pa.int32()), flat)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _storage(array: pa.Array) -> pa.Array:
    """The plain array below an extension type such as `Array2D`."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _peel(array: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """One list level off: (n,) int64 lengths, 0 for null, and the elements; no copy unless there are nulls."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64), array.flatten()
