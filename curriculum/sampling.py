"""The sampler of a training: in which order the Trainer takes the rows of each epoch."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from .order import epoch_batches
from .order import epoch_order
from .order import padding_share
from .pool import Curriculum

_PIECE = 1 << 16


class CurriculumSampler(Sampler[int]):
    """Row indices of an epoch: a plain sampler of constant length over a pool that grows.

    The order is a function of the arguments, the epoch and (for `model_confidence`) the confidence alone: it is the
    same on every rank, and after a resume.

    Args:
        labels: (n,) class numbers of all training rows.
        batch_size: rows a batch, on one device.
        multiple: world size times accumulation steps; the number of batches is a multiple of it.
        curriculum: which rows are in the pool of an epoch.
        num_classes: for the statistics; by default the largest label + 1.
        speakers: (n,) where every batch is to hold one speaker's rows alone, else None.
        difficulty: (n,), for the curricula that order by it.
        preset_order: (n,), for `preset_order`.
        batches: of every epoch; by default those of one pass over all training rows.
        short_last_batch: leave out the rows that would fill the last batch of such a pass. One device alone: of
            several, each takes as many full batches.
        lengths: (n,), for batches of rows of alike length; None: of any.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        multiple: int = 1,
        curriculum: Curriculum | None = None,
        num_classes: int | None = None,
        speakers: np.ndarray | None = None,
        difficulty: np.ndarray | None = None,
        preset_order: np.ndarray | None = None,
        batches: int | None = None,
        short_last_batch: bool = False,
        lengths: np.ndarray | None = None,
    ):
        self.labels = np.asarray(labels)
        self.batch_size, self.multiple = batch_size, multiple
        self.curriculum = Curriculum() if curriculum is None else curriculum
        self.num_classes = int(self.labels.max()) + 1 if num_classes is None else num_classes
        self.speakers = None if speakers is None else np.unique(speakers, return_inverse=True)[1]
        self.difficulty, self.preset_order = difficulty, preset_order
        self.lengths = lengths
        self.confidence: np.ndarray | None = None
        self.epoch = 0
        self._pool: tuple[tuple[int, np.ndarray | None], np.ndarray] | None = None
        self.batches = batches or epoch_batches(len(self.labels), batch_size, multiple, self.speakers)
        self.length = len(self.labels) if short_last_batch and batches is None else self.batches * batch_size

    def set_epoch(self, epoch: int) -> None:
        """The epoch, from 0, that the next iteration gives."""
        self.epoch = epoch

    def pool(self) -> np.ndarray:
        """The rows that this epoch trains on, ascending."""
        if self._pool is None or self._pool[0][0] != self.epoch or self._pool[0][1] is not self.confidence:
            found = self.curriculum.pool(self.epoch, self.labels, self.difficulty, self.confidence, self.preset_order)
            self._pool = (self.epoch, self.confidence), found
        return self._pool[1]

    def __len__(self) -> int:
        return self.length

    def order(self) -> np.ndarray:
        """The rows of this epoch, one batch after the other."""
        order = epoch_order(
            self.pool(),
            self.batches,
            self.batch_size,
            self.curriculum.seed,
            self.epoch,
            self.speakers,
            self.lengths,
            self.multiple,
        )
        return order[: self.length]

    def padding(self) -> float | None:
        """The share of this epoch's batches that is padding; None where lengths are not known."""
        return None if self.lengths is None else padding_share(self.order(), self.batch_size, self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        for first in range(0, len(order), _PIECE):  # of a large corpus, not all numbers as Python objects at once
            yield from order[first : first + _PIECE].tolist()


__all__ = ["CurriculumSampler"]
