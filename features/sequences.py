"""Rows in contiguous arrays: what a training step reads, by index, without a Python object per value."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BLOCK = 4096
"""Vectors that are read at a time."""


@dataclass(frozen=True)
class Sequences:
    """n variable-length sequences of vectors, held in a few large arrays (memory-mapped or in memory).

    Row i is `parts[part[i]][start[i] : start[i] + length[i]]`; several rows may share one stretch, as rows with the
    same transcript do. A length of 0 says that the row has no such modality.

    Args:
        parts: arrays of shape (vectors, dim), float16 or float32.
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

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each dimension over all vectors of these rows: (dim,) float64 each.

        A stretch that several rows share counts for each of them. Of a dimension that is constant, or varies less
        than a thousandth of the typical one, the deviation is 1: dividing by it must not blow up rounding errors.
        Read in blocks, so that memory-mapped vectors stay on disk; sums are float64, around the first vector.

        Raises ValueError where no row has a vector.
        """
        rows = np.flatnonzero(self.length)
        if not len(rows):
            raise ValueError("no row has a vector to take statistics of")
        shift = self[rows[0]][0].astype(np.float64)
        total, squares, count = np.zeros(self.dim), np.zeros(self.dim), 0
        for block in self._blocks(rows):
            deviation = block - shift  # float64
            total += deviation.sum(axis=0)
            squares += np.einsum("nd,nd->d", deviation, deviation)
            count += len(deviation)
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        mean += shift
        varies = std > 1e-6 * np.abs(mean)  # more than rounding
        varies &= std > 1e-3 * np.median(std[varies]) if varies.any() else False
        return mean, np.where(varies, std, 1.0)

    def _blocks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The vectors of some rows, about `_BLOCK` at a time: (vectors, dim) each."""
        for number in np.unique(self.part[rows]):
            of_part = rows[self.part[rows] == number]
            ends = np.cumsum(self.length[of_part])
            cuts = np.searchsorted(ends, np.arange(_BLOCK, ends[-1], _BLOCK))
            for some in np.split(of_part, np.unique(cuts)):
                if len(some):
                    length = self.length[some]
                    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
                    yield self.parts[number][np.repeat(self.start[some], length) + within]

    def pooled(self, how: str) -> "Sequences":
        """Each row as one float32 vector: its `mean`, or its first vector (`cls`). Missing rows stay missing.

        Every distinct stretch is pooled once.
        """
        present = self.length > 0
        keys = np.stack([self.part, self.start, self.length], axis=1)[present]
        distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
        values = np.empty((len(distinct), self.dim), dtype=np.float32)
        for row, (part, start, length) in enumerate(distinct):
            vectors = self.parts[part][start : start + length]
            values[row] = vectors[0] if how == "cls" else vectors.mean(axis=0, dtype=np.float32)
        start = np.zeros(len(self), np.int64)
        start[present] = inverse.reshape(-1)
        return Sequences((values,), np.zeros(len(self), np.int32), start, present.astype(np.int64))
