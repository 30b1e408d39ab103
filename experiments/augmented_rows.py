"""Training rows of vectors as they might have been: stretches masked, and mixed with other rows, labels and all.

All is drawn from (seed, epoch, row), a row's partner too: so it doesn't matter how batches are cut, by which process a
row is read, or whether the run was interrupted in between.
"""

import numpy as np
import torch
from torch.utils.data import Dataset

from .emotion_rows import EmotionRows
from .emotion_rows import Row

_STREAM = 11  # of random numbers, beside those of the windows
_SPAN = 10
"""Vectors that are masked at a stretch, at most."""
_VOICE = ("audio_features", "speech_states")


class AugmentedRows(Dataset):
    """Rows as in `EmotionRows`, changed anew in each epoch.

    Mixup (Zhang et al., ICLR 2018, arXiv 1710.09412): a row is x = m x_i + (1 - m) x_j, its label m y_i + (1 - m) y_j,
    with m from Beta(alpha, alpha), folded to at least 1/2, so that the row itself, which the curriculum has chosen,
    is the greater part. Of the partner, which has the same modalities, as many vectors are read as the row has, spread
    evenly. Weights and ratings are mixed alike (a rating that one of them lacks is missing).

    Args:
        rows: of vectors or states alone; windows and tokens can't be mixed.
        classes: how many.
        seed: of the run.
        time_mask: share of a row's voice vectors, in [0, 1), in whose place the mean of the others stands.
        mixup: alpha; 0 mixes nothing.
    """

    def __init__(self, rows: EmotionRows, classes: int, seed: int, time_mask: float = 0.0, mixup: float = 0.0):
        if rows.windows is not None or rows.tokens is not None:
            raise ValueError("only rows of vectors or states are augmented here, not recordings and tokens")
        self.rows, self.classes, self.seed, self.time_mask, self.mixup = rows, classes, seed, time_mask, mixup
        self.labels, self.sample_weights, self.vad, self.lengths = (
            rows.labels,
            rows.sample_weights,
            rows.vad,
            rows.lengths,
        )
        # In shared memory: workers that outlive an epoch see them change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._in_pool = torch.ones(len(rows), dtype=torch.bool).share_memory_()
        has = np.stack([vectors.length > 0 for vectors in rows.vectors.values()], axis=1)
        self._kind = np.unique(has, axis=0, return_inverse=True)[1].reshape(-1)  # rows of one kind can be mixed
        self._partners: tuple[int, list[np.ndarray]] = (-1, [])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def plain(self) -> EmotionRows:
        """The same rows as they are evaluated."""
        return self.rows.plain

    def set_epoch(self, epoch: int) -> None:
        """The epoch, from 0, whose rows are given from now on."""
        self.rows.set_epoch(epoch)
        self._epoch.fill_(epoch)

    def set_pool(self, pool: np.ndarray) -> None:
        """The rows, by number, that the epoch trains on: partners are taken from these."""
        self._in_pool.fill_(False)
        self._in_pool[torch.from_numpy(np.asarray(pool, dtype=np.int64))] = True
        self._partners = (-1, [])

    def __getitem__(self, i: int) -> Row:
        generator = np.random.default_rng((_STREAM, self.seed, int(self._epoch), int(i)))
        row = self.rows[i]
        if self.mixup:
            row = self._mixed(i, row, generator)
        if self.time_mask:
            for name in _VOICE:
                if row.get(name) is not None:
                    row[name] = masked(row[name], self.time_mask, generator)
        return row

    def _mixed(self, i: int, row: Row, generator: np.random.Generator) -> Row:
        share = generator.beta(self.mixup, self.mixup)
        share = np.float32(max(share, 1 - share))
        partners = self._of_kind(self._kind[i])
        other = self.rows[int(partners[generator.integers(len(partners))])] if len(partners) else row
        mixed = {**row, "labels": np.zeros(self.classes, np.float32)}
        mixed["labels"][row["labels"]] += share
        mixed["labels"][other["labels"]] += 1 - share
        for name in (*self.rows.vectors, "sample_weights", "vad"):
            if row.get(name) is not None:
                mine = np.asarray(row[name], dtype=np.float32)
                theirs = np.asarray(other[name], dtype=np.float32)
                if name in self.rows.vectors:
                    theirs = spread(theirs, len(mine))
                mixed[name] = share * mine + (1 - share) * theirs
        return mixed

    def _of_kind(self, kind: int) -> np.ndarray:
        """The rows of the pool that have the same modalities."""
        epoch = int(self._epoch)
        if self._partners[0] != epoch:
            pool = self._in_pool.numpy()
            kinds = range(self._kind.max() + 1)
            self._partners = (epoch, [np.flatnonzero(pool & (self._kind == each)) for each in kinds])
        return self._partners[1][kind]


def spread(vectors: np.ndarray, count: int) -> np.ndarray:
    """(n, dim) to (count, dim): of as many places spread evenly from the first to the last, the nearest vectors."""
    places = (np.arange(count) + 0.5) * len(vectors) / count
    return vectors[places.astype(np.int64)]


def masked(vectors: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """(n, dim) to (n, dim): at most a share of them, in stretches, replaced by the mean of the others."""
    count = round(share * len(vectors))
    if not count:
        return vectors
    span = min(count, _SPAN)
    starts = generator.integers(len(vectors) - span + 1, size=count // span)
    hidden = np.zeros(len(vectors), bool)
    hidden[(starts[:, None] + np.arange(span)).reshape(-1)] = True
    if hidden.all():
        return vectors
    changed = np.array(vectors, dtype=np.float32)
    changed[hidden] = changed[~hidden].mean(axis=0)
    return changed


__all__ = ["AugmentedRows", "masked", "spread"]
