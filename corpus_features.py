"""Voice features between Arrow and flat arrays: no Python object per value, no copy where none is needed."""

from collections.abc import Callable
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .errors import InputError
from .rows import Sequences

# Features are checked and hashed in blocks, so that a memory-mapped corpus is never in memory as a whole.
BLOCK_VALUES = 1 << 22

# (row number, what is wrong) -> the error that names the corpus and the row's utterance id.
RowError = Callable[[int, str], InputError]


def read_features(column: pa.ChunkedArray | None, rows: int, dim: int | None, wrong: RowError) -> Sequences:
    """The features as they lie in the Arrow buffers; only what is neither float16 nor float32 is copied, to float32.

    Args:
        column: a vector a row, a list of vectors a row, or either inside emotion2vec's `[{"feats": ...}]`; null or
            empty where the voice is missing. None: no row has features.
        dim: width that every vector must have; None takes the first one's.

    Raises:
        InputError: another layout, or a vector of another width.
    """
    reason = ' (the corpus\' "audio_dim")' if dim else ", as in the first row"
    parts, part, start, length = [], [], [], []
    first_row = 0
    for chunk in column.chunks if column is not None else []:
        frames, widths, leaf = _peel_features(chunk, lambda what, row=first_row: wrong(row, what))
        dim = int(widths[0]) if dim is None and len(widths) else dim
        other = np.flatnonzero(widths != dim)
        if len(other):
            row = first_row + int(np.searchsorted(np.cumsum(frames), other[0], side="right"))
            raise wrong(row, f"features are {widths[other[0]]} wide; expected {dim}{reason}")
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


def check_finite(audio: Sequences, wrong: RowError) -> None:
    """Raises the row's error where a feature is NaN or infinite. The rows must lie as they were read."""
    for number, values in enumerate(audio.parts):
        step = max(1, BLOCK_VALUES // max(1, values.shape[1]))
        for first in range(0, len(values), step):
            block = values[first : first + step]
            with np.errstate(all="ignore"):  # NaN and infinity survive a sum, which is quicker than a look at each
                suspicious = not np.isfinite(block.sum(dtype=np.float32))
            bad = np.flatnonzero(~np.isfinite(block).all(axis=1)) if suspicious else ()
            if len(bad):
                vector = first + int(bad[0])
                rows = np.flatnonzero(audio.part == number)
                ends = audio.start[rows] + audio.length[rows]
                row = int(rows[np.searchsorted(ends, vector, side="right")])
                value = values[vector][~np.isfinite(values[vector])][0]
                raise wrong(row, f"features hold {value}; every value must be a number")


def features_column(audio: Sequences) -> pa.ChunkedArray:
    """The features as an Arrow column that shares their memory: vectors where no row has more than one, else lists
    of vectors; null where the voice is missing. The rows must lie as they were read."""
    vectors = int(audio.length.max(initial=0)) <= 1
    chunks = []
    for number, values in enumerate(audio.parts):
        lengths = audio.length[audio.part == number]
        flat = pa.array(values.reshape(-1))
        step = audio.dim if vectors else 1
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]) * step, pa.int32())
        items = flat if vectors else pa.FixedSizeListArray.from_arrays(flat, audio.dim)
        chunks.append(pa.ListArray.from_arrays(offsets, items, mask=pa.array(lengths == 0)))
    return pa.chunked_array(chunks)


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


def _peel_features(chunk: pa.Array, refuse: Callable[[str], InputError]) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Takes the nesting off: (rows,) vectors of each row, (vectors,) width of each vector, and the flat numbers."""
    chunk = _storage(chunk)
    if _is_list(chunk.type) and pa.types.is_struct(chunk.type.value_type):
        counts, inner = _peel(chunk)
        # The first of each row's entries; rows without any become null. Taking copies: only where it must be.
        once = bool((counts == 1).all())
        chunk = inner if once else inner.take(pa.array(np.cumsum(counts) - counts, mask=counts == 0))
    if pa.types.is_struct(chunk.type):
        names = [child.name for child in chunk.type]
        if "feats" not in names:
            raise refuse(f'features hold {", ".join(names)}, but no "feats" as emotion2vec has')
        chunk = _storage(pc.struct_field(chunk, "feats"))
    kind, depth = chunk.type, 0
    while _is_list(kind):
        depth, kind = depth + 1, kind.value_type
    if pa.types.is_null(kind):  # a chunk in which no row has features
        return np.zeros(len(chunk), np.int64), np.zeros(0, np.int64), pa.array([], pa.float32())
    if depth not in (1, 2) or not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise refuse(f"features are of type {chunk.type}; expected a vector or a list of vectors of numbers")
    counts, inner = _peel(chunk)
    if depth == 1:
        return (counts > 0).astype(np.int64), counts[counts > 0], inner
    # A missing vector is a vector of width 0 here, and is refused as such.
    widths, leaf = _peel(_storage(inner))
    return counts, widths, leaf


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _storage(array: pa.Array) -> pa.Array:
    """The plain array below an extension type such as `Array2D`."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _peel(array: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """One list level off: (n,) int64 lengths, 0 for null, and the elements; no copy unless there are nulls."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64), array.flatten()
