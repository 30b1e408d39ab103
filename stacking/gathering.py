"""The vectors of rows as batches of a whole stack, by index, on the device."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..features.sequences import Sequences


class Vectors:
    """The vectors of one modality of all rows.

    On a GPU they lie in its memory where they fit, and a batch is one gather there; else they stay where they are, and
    each batch is sent.

    Args:
        sequences: N rows.
        device: where batches are wanted.
        budget: bytes of the device that they may take.
    """

    def __init__(self, sequences: Sequences, device: torch.device, budget: float):
        self.sequences, self.device = sequences, device
        self.length = np.asarray(sequences.length)
        self.single = bool((self.length == 1).all())
        self.longest = int(self.length.max()) if len(self.length) else 0
        self._start, self._held = np.asarray(sequences.start), None
        if device.type != "cpu":
            self._hold(budget)

    def _hold(self, budget: float) -> None:
        """Puts each distinct stretch on the device, once."""
        rows = self.sequences
        keys = np.stack([rows.part, rows.start, rows.length], axis=1)
        distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
        sizes = distinct[:, 2]
        if int(sizes.sum()) * rows.dim * max(part.itemsize for part in rows.parts) > budget:
            return
        stretches = [rows.parts[part][start : start + length] for part, start, length in distinct]
        self._start = (np.cumsum(sizes) - sizes)[inverse.reshape(-1)]
        self._held = torch.from_numpy(np.concatenate([*stretches, np.zeros_like(stretches[0][:1])])).to(self.device)
        self._device_start = torch.from_numpy(self._start).to(self.device)
        self._device_length = torch.from_numpy(self.length.astype(np.int64)).to(self.device)

    def batch(self, rows: np.ndarray, on_device: Tensor, real: np.ndarray | None) -> tuple[Tensor, Tensor | None]:
        """float32 vectors (K, B, dim) and None where each row has one, else (K, B, longest, dim) and (K, B, longest)
        bool: which of them are real.

        Args:
            rows: (K, B) row numbers.
            on_device: the same, on the device.
            real: (K, B), rows that are no padding; None: all. Of padding, the lengths don't count.
        """
        if self.single:
            return self._single(rows, on_device), None
        length = self.length[rows] if real is None else self.length[rows] * real
        longest = max(int(length.max()), 1)
        if self._held is not None:
            places = torch.arange(longest, device=self.device)
            mask = places < self._device_length[on_device].unsqueeze(-1)
            found = self._held[(self._device_start[on_device].unsqueeze(-1) + places) * mask].float()
        else:
            mask, found = self._read(rows, longest)
        return found * mask.unsqueeze(-1), mask

    def _single(self, rows: np.ndarray, on_device: Tensor) -> Tensor:
        if self._held is not None:
            return self._held[self._device_start[on_device]].float()
        return self._sent(self._taken(rows, self._start[rows]))

    def _read(self, rows: np.ndarray, longest: int) -> tuple[Tensor, Tensor]:
        places = np.arange(longest)
        mask = places < self.length[rows][..., None]
        index = (self._start[rows][..., None] + places) * mask
        return self._sent(mask), self._sent(self._taken(np.broadcast_to(rows[..., None], index.shape), index))

    def _taken(self, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        parts = self.sequences.parts
        if len(parts) == 1:
            return parts[0][index].astype(np.float32, copy=False)
        found, part = np.zeros((*index.shape, self.sequences.dim), np.float32), self.sequences.part[rows]
        for number in np.unique(part):
            there = part == number
            found[there] = parts[number][np.minimum(index[there], len(parts[number]) - 1)]
        return found

    def _sent(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


class Batches:
    """The inputs of a model for rows of several runs at once.

    Args:
        vectors: by the name of the input (`audio_features`), those of all N rows.
        device: where they are wanted.
        budget: bytes of the device that vectors may take.
    """

    def __init__(self, vectors: Mapping[str, Sequences], device: torch.device, budget: float = 0.0):
        self.device = device
        self.vectors = {name: Vectors(found, device, budget / len(vectors)) for name, found in vectors.items()}

    @property
    def widths(self) -> dict[str, int]:
        """The width of each input's vectors."""
        return {name: found.sequences.dim for name, found in self.vectors.items()}

    @property
    def single(self) -> bool:
        """Whether each row has one vector of each modality."""
        return all(found.single for found in self.vectors.values())

    def sizes(self, rows: np.ndarray) -> tuple[int, ...]:
        """Of a run's own batch: its rows, and where there are sequences, the longest of each modality in it."""
        if self.single:
            return (len(rows),)
        return (len(rows), *(max(int(found.length[rows].max()), 1) for found in self.vectors.values()))

    def inputs(self, rows: np.ndarray, on_device: Tensor | None = None, real: np.ndarray | None = None) -> dict:
        """(K, B) row numbers to the features and masks of the model, (K, B, ...) each; see `Vectors.batch`."""
        if on_device is None:
            on_device = torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)
        found = {}
        for name, vectors in self.vectors.items():
            found[name], mask = vectors.batch(rows, on_device, real)
            if mask is not None:
                found[name.replace("features", "mask")] = mask
        return found

    def bytes_of_row(self) -> int:
        """How much a row of a batch takes, at most."""
        return 4 * sum(found.sequences.dim * max(found.longest, 1) for found in self.vectors.values())


__all__ = ["Batches", "Vectors"]
