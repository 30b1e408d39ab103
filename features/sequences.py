"""Rows in contiguous arrays: what a training step reads, by index, without a Python object per value."""

import mmap
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_DONTNEED = getattr(mmap, "MADV_DONTNEED", None)  # not everywhere
_BLOCK = 4096
"""Vectors that are read at a time."""
_HELD = 64 * 2**20
"""Bytes of pooled vectors up to which they are copied into memory."""


@dataclass(frozen=True)
class Statistics:
    """How the vectors of some rows are spread.

    Args:
        mean: (dim,) float64, of all vectors.
        std: (dim,) float64, their standard deviation, above 0.
        spread: the standard deviation of the rows' mean vectors, in those of the vectors: root mean square over the
            dimensions that vary. 1 where each row is one vector; small where rows differ less than what is in them.
    """

    mean: np.ndarray
    std: np.ndarray
    spread: float


class _Sums:
    """Of vectors and their squares, in float64."""

    def __init__(self, dim: int):
        self.total, self.squares, self.count = np.zeros(dim), np.zeros(dim), 0

    def add(self, vectors: np.ndarray) -> None:
        self.total += vectors.sum(axis=0)
        self.squares += np.einsum("nd,nd->d", vectors, vectors)
        self.count += len(vectors)

    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        mean = self.total / self.count
        return mean, np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))


@dataclass(frozen=True)
class Sequences:
    """n variable-length sequences of vectors, held in a few large arrays (memory-mapped or in memory).

    Row i is `parts[part[i]][start[i] : start[i] + length[i]]`; several rows may share one stretch, as rows with the
    same transcript do. A length of 0 says that the row has no such modality.

    Args:
        parts: arrays of shape (vectors, dim), float16 or float32; of samples of recordings also int16.
        part: (n,) which array holds row i.
        start: (n,) first vector of row i in it.
        length: (n,) number of vectors of row i.
    """

    parts: tuple[np.ndarray, ...]
    part: np.ndarray
    start: np.ndarray
    length: np.ndarray

    @classmethod
    def from_arrays(cls, values: np.ndarray, lengths: np.ndarray) -> "Sequences":
        """One array (vectors, dim) that holds the rows one after the other, and how long each is."""
        lengths = np.asarray(lengths, dtype=np.int64)
        if lengths.sum() != len(values):
            raise ValueError(f"the lengths sum to {lengths.sum()}, but there are {len(values)} vectors")
        start = np.cumsum(lengths) - lengths
        return cls((values,), np.zeros(len(lengths), np.int32), start, lengths)

    @classmethod
    def concatenate(cls, pieces: "list[Sequences]") -> "Sequences":
        """The rows of several, one after the other; the vectors are shared, not copied."""
        if len(pieces) == 1:
            return pieces[0]
        offsets = np.cumsum([0] + [len(piece.parts) for piece in pieces[:-1]])
        return cls(
            tuple(part for piece in pieces for part in piece.parts),
            np.concatenate([piece.part + offset for piece, offset in zip(pieces, offsets, strict=True)]),
            np.concatenate([piece.start for piece in pieces]),
            np.concatenate([piece.length for piece in pieces]),
        )

    @property
    def dim(self) -> int:
        """Width of each vector."""
        return self.parts[0].shape[1]

    def __len__(self) -> int:
        return len(self.length)

    def __getitem__(self, i: int) -> np.ndarray:
        """The vectors of row i: a view of shape (length, dim)."""
        start = self.start[i]
        return self.parts[self.part[i]][start : start + self.length[i]]

    def take(self, indices: np.ndarray) -> "Sequences":
        """The rows `indices`, in that order; the vectors are shared, not copied."""
        return Sequences(self.parts, self.part[indices], self.start[indices], self.length[indices])

    def release(self, numbers: Iterable[int] | None = None) -> None:
        """Lets go of what was read of memory-mapped arrays: it stays in the system's cache, and counts no longer as
        memory of this process. Vectors that are still held are read again when they are looked at.

        Args:
            numbers: of the arrays; by default all.
        """
        for number in range(len(self.parts)) if numbers is None else numbers:
            mapped = self.mapped(number)
            if mapped is not None:
                let_go(mapped)

    def mapped(self, number: int) -> mmap.mmap | None:
        """The file that an array is mapped from; None of one in memory."""
        mapped = self.parts[number]
        while isinstance(mapped, np.ndarray | memoryview):
            mapped = mapped.base if isinstance(mapped, np.ndarray) else mapped.obj
        return mapped if isinstance(mapped, mmap.mmap) else None

    @property
    def mapped_bytes(self) -> int:
        """Of all files that arrays are mapped from."""
        files = [self.mapped(number) for number in range(len(self.parts))]
        return sum({id(file): len(file) for file in files if file is not None}.values())

    def statistics(self) -> "Statistics":
        """Of all vectors of these rows, a stretch that several rows share counting for each of them.

        Of a dimension that is constant, or varies less than a thousandth of the typical one, the deviation is 1:
        dividing by it must not blow up rounding errors. Read in blocks, so that memory-mapped vectors stay on disk;
        sums are float64, around the first vector.

        Raises ValueError where no row has a vector.
        """
        rows = np.flatnonzero(self.length)
        if not len(rows):
            raise ValueError("no row has a vector to take statistics of")
        shift = self[rows[0]][0].astype(np.float64)
        vectors, means = _Sums(self.dim), _Sums(self.dim)
        single = bool((self.length[rows] == 1).all())  # then the vectors are the means
        for block, length in self._blocks(rows):
            block = block - shift  # float64
            vectors.add(block)
            if not single:
                means.add(np.add.reduceat(block, np.cumsum(length) - length, axis=0) / length[:, None])
        mean, std = vectors.mean_and_std()
        varies = std > 1e-6 * np.abs(mean + shift)  # more than rounding
        varies &= std > 1e-3 * np.median(std[varies]) if varies.any() else False
        of_means = std if single else means.mean_and_std()[1]
        spread = float(np.sqrt(np.mean((of_means[varies] / std[varies]) ** 2))) if varies.any() else 1.0
        return Statistics(mean + shift, np.where(varies, std, 1.0), spread)

    def _blocks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The vectors of some rows, about `_BLOCK` at a time, (vectors, dim), and the lengths of these rows."""
        for number in np.unique(self.part[rows]):
            of_part = rows[self.part[rows] == number]
            ends = np.cumsum(self.length[of_part])
            cuts = np.searchsorted(ends, np.arange(_BLOCK, ends[-1], _BLOCK))
            for some in np.split(of_part, np.unique(cuts)):
                if len(some):
                    length = self.length[some]
                    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
                    yield self.parts[number][np.repeat(self.start[some], length) + within], length

    def pooled(self, how: str) -> "Sequences":
        """Each row as one float32 vector: its `mean`, or its first vector (`cls`). Missing rows stay missing.

        Every distinct stretch is pooled once. Many rows of one vector each are left as they lie, whatever their type.
        """
        present = self.length > 0
        if self.length.max(initial=0) <= 1 and len(self) * self.dim * 4 > _HELD:
            return self
        keys = np.stack([self.part, self.start, self.length], axis=1)[present]
        distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
        values = np.empty((len(distinct), self.dim), dtype=np.float32)
        single = distinct[:, 2] == 1
        for number, vectors in enumerate(self.parts):
            rows = np.flatnonzero(single & (distinct[:, 0] == number))
            values[rows] = vectors[distinct[rows, 1]]
        for row in np.flatnonzero(~single):
            part, start, length = distinct[row]
            vectors = self.parts[part][start : start + length]
            values[row] = vectors[0] if how == "cls" else vectors.mean(axis=0, dtype=np.float32)
        start = np.zeros(len(self), np.int64)
        start[present] = inverse.reshape(-1)
        return Sequences((values,), np.zeros(len(self), np.int32), start, present.astype(np.int64))

    def means(self) -> np.ndarray:
        """(rows, dim) float32: the mean vector of each row, NaN for a row without any."""
        pooled = self.pooled("mean")
        means = np.full((len(pooled), pooled.dim), np.nan, np.float32)
        for number, values in enumerate(pooled.parts):
            rows = np.flatnonzero((pooled.part == number) & (pooled.length > 0))
            means[rows] = values[pooled.start[rows]]
        return means


def let_go(mapped: mmap.mmap) -> None:
    """Gives back the pages of a mapped file; they are read again when they are looked at."""
    if _DONTNEED is not None:
        mapped.madvise(_DONTNEED)
