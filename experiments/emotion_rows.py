"""The rows of a run as the Trainer takes them: by index, without a Python object per value."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from ..data_collator import GatheredRows
from ..features.sequences import Sequences
from ..features.windows import Windows

# After so many bytes read of memory-mapped vectors their pages are let go of: memory doesn't grow with the corpus.
# Where the system maps large pages, a look at any vector brings in one.
_RELEASED, _LARGE_PAGE = 24 * 2**20, 2 * 2**20

Row = dict[str, np.ndarray | list[np.ndarray] | int | float | None]


class EmotionRows(Dataset):
    """The rows of one part (training, validation or test) as a map-style data set for the Trainer.

    Args:
        tokens: token ids of each row where the encoder is fine-tuned: a list of int64 arrays, or None.
        labels: (n,) class numbers, or None for prediction alone.
        sample_weights: (n,) weights of the rows in the loss, or None (training alone has them).
        vad: (n, 3) ratings, NaN where unrated, for a model that learns them, or None.
        windows: of the recordings, where the model's encoder reads these.
        plain_windows: of the same rows, as they are evaluated.
        speech_states, text_states: of the lower layers of an encoder, which the model runs the upper ones of.
        lengths: (n,) by which rows that are alike are put into a batch; by default those of the windows. None: no
            such batches.
        vectors: by the name of a modality (`audio`, `text` ...): voice features, states of the frozen text encoder and
            the like, or None where the model is not given it so.
    """

    def __init__(
        self,
        tokens: list[np.ndarray] | None = None,
        labels: np.ndarray | None = None,
        sample_weights: np.ndarray | None = None,
        vad: np.ndarray | None = None,
        windows: Windows | None = None,
        plain_windows: Windows | None = None,
        speech_states: Sequences | None = None,
        text_states: Sequences | None = None,
        lengths: np.ndarray | None = None,
        **vectors: Sequences | None,
    ):
        named = {f"{name}_features": found for name, found in vectors.items()}
        named |= {"speech_states": speech_states, "text_states": text_states}
        self.vectors = {name: found for name, found in named.items() if found is not None}
        self.windows, self.lengths = windows, windows.lengths if lengths is None and windows is not None else lengths
        columns = {
            **vectors,
            "speech_states": speech_states,
            "text_states": text_states,
            "tokens": tokens,
            "labels": labels,
            "sample_weights": sample_weights,
            "vad": vad,
            "windows": windows,
            "plain_windows": plain_windows,
            "lengths": lengths,
        }
        sizes = {name: len(column) for name, column in columns.items() if column is not None}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"every column must have the same number of rows, got {sizes}")
        self.tokens, self.labels, self.sample_weights, self.vad = tokens, labels, sample_weights, vad
        self._plain_windows = plain_windows
        self._length = next(iter(sizes.values()))
        # Of files as small as that all pages may stay: to let go of them costs more than they take.
        self._let_go = {name: found.mapped_bytes > _RELEASED for name, found in self.vectors.items()}
        self._read: int = 0
        self._touched: dict[tuple[int, int], Sequences] = {}

    def set_epoch(self, epoch: int) -> None:
        """The epoch, from 0, whose rows are given from now on."""
        if self.windows is not None:
            self.windows.set_epoch(epoch)

    @property
    def plain(self) -> "EmotionRows":
        """The same rows as they are evaluated."""
        if self._plain_windows is None:
            return self
        found = object.__new__(EmotionRows)
        found.__dict__.update(self.__dict__, windows=self._plain_windows, _plain_windows=None)
        return found

    @property
    def _of_vectors(self) -> bool:
        """Whether a row is vectors that the model takes as they are, and nothing else."""
        states = any(name.endswith("_states") for name in self.vectors)
        return bool(self.vectors) and self.windows is None and self.tokens is None and not states

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> Row:
        row: Row = {}
        for name, vectors in self.vectors.items():
            row[name] = vectors[i] if vectors.length[i] else None
            self._count(vectors, i)
        if self.windows is not None:
            row["input_values"] = self.windows[i]
            self._count(self.windows.waveforms, i)
        if self.tokens is not None:
            row["input_ids"] = self.tokens[i] if len(self.tokens[i]) else None
        if self.labels is not None:
            row["labels"] = self.labels[i]
        if self.sample_weights is not None:
            row["sample_weights"] = self.sample_weights[i]
        if self.vad is not None:
            row["vad"] = self.vad[i]
        return row

    def __getitems__(self, indices: Sequence[int]) -> "GatheredRows | list[Row]":
        """The rows of a batch, as a DataLoader asks for them: read at once where each has one vector of each modality,
        as pooled features are."""
        rows = np.asarray(indices, dtype=np.int64)
        if not self._of_vectors or any((found.length[rows] != 1).any() for found in self.vectors.values()):
            return [self[i] for i in indices]
        columns = {name: _gathered(vectors, rows, self._let_go[name]) for name, vectors in self.vectors.items()}
        for name, values, kind in (
            ("labels", self.labels, np.int64),
            ("sample_weights", self.sample_weights, np.float32),
            ("vad", self.vad, np.float32),
        ):
            if values is not None:
                columns[name] = values[rows].astype(kind, copy=False)
        return GatheredRows(columns)

    def _count(self, vectors: Sequences, row: int) -> None:
        part = int(vectors.part[row])
        self._read += vectors.parts[part].itemsize * vectors.dim * int(vectors.length[row]) + _LARGE_PAGE
        self._touched[id(vectors), part] = vectors
        if self._read > _RELEASED:
            for (_, number), read in self._touched.items():
                read.release([number])
            self._read = 0
            self._touched.clear()


def _gathered(vectors: Sequences, rows: np.ndarray, lets_go: bool) -> np.ndarray:
    """(rows, dim) float32 of rows of one vector each.

    Args:
        lets_go: of what it has read of mapped files, some rows at a time.
    """
    found = np.empty((len(rows), vectors.dim), np.float32)
    part, start = vectors.part[rows], vectors.start[rows]
    for number in np.unique(part).tolist():
        values, of_part = np.asarray(vectors.parts[number]), np.flatnonzero(part == number)
        mapped = lets_go and vectors.mapped(number)
        step = _RELEASED // _LARGE_PAGE if mapped else len(of_part)
        for first in range(0, len(of_part), step):
            some = of_part[first : first + step]
            found[some] = values[start[some]]
            if mapped:
                vectors.release([number])
    return found


__all__ = ["EmotionRows"]
