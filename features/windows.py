"""What of its recording a step reads: in training a random window, in evaluation all of it.

A window is a function of (seed, epoch, row) alone: a run that was interrupted reads what it would have read, with
whatever number of processes and workers.
"""

from typing import Protocol

import numpy as np

from .sequences import Sequences

FULL_SCALE = 32768
"""Of samples of int16: 1.0. What was recorded in 16 bits is kept as it is."""

_RATE = 16000
_STREAM, _AUGMENTATION_STREAM = 9, 10  # of random numbers, beside those of the curriculum


class Augmentation(Protocol):
    """Changes a window: samples (n,) float32 of full scale 1, at 16 kHz, to (m,)."""

    def augmented(self, samples: np.ndarray, generator: np.random.Generator) -> np.ndarray: ...


class Windows:
    """The samples of rows, window by window.

    Args:
        waveforms: of dim 1, 16 kHz, int16 or float32; length 0 where a row has no recording.
        seconds: the longest window; None reads whole recordings.
        seed: of the windows that are drawn in training; None for evaluation, where a longer recording is cut into
            windows of equal length, side by side.
        augmentation: of the windows in training.
    """

    def __init__(
        self,
        waveforms: Sequences,
        seconds: float | None = None,
        seed: int | None = None,
        augmentation: Augmentation | None = None,
    ):
        self.waveforms, self.seed, self.augmentation = waveforms, seed, augmentation
        self.longest = None if seconds is None else max(round(seconds * _RATE), 1)
        import torch  # here, as what reads windows alone is used without

        # In shared memory: workers that outlive an epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.waveforms)

    def set_epoch(self, epoch: int) -> None:
        """The epoch, from 0, whose windows are given from now on."""
        self._epoch.fill_(epoch)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) samples of the window of each row, before augmentation; the same in each epoch."""
        length = self.waveforms.length
        return length if self.longest is None else np.minimum(length, self.longest)

    @property
    def cut(self) -> np.ndarray:
        """(n,) whether each row is longer than a window."""
        return np.zeros(len(self), bool) if self.longest is None else self.waveforms.length > self.longest

    def __getitem__(self, row: int) -> np.ndarray | list[np.ndarray] | None:
        """(samples,) float32 of full scale 1; in evaluation a list of such, where there is more than one window. None
        where the row has no recording."""
        length = int(self.waveforms.length[row])
        if not length:
            return None
        samples = self.waveforms[row][:, 0]
        if self.seed is None:
            count = 1 if self.longest is None else -(-length // self.longest)
            pieces = [as_floats(piece) for piece in np.array_split(samples, count)]
            return pieces if count > 1 else pieces[0]
        key = self.seed, int(self._epoch), int(row)
        if self.longest is not None and length > self.longest:
            first = np.random.default_rng((_STREAM, *key)).integers(length - self.longest + 1)
            samples = samples[first : first + self.longest]
        found = as_floats(samples)
        if self.augmentation is None:
            return found
        return self.augmentation.augmented(found, np.random.default_rng((_AUGMENTATION_STREAM, *key)))


def as_floats(samples: np.ndarray) -> np.ndarray:
    """(n,) as they are stored to float32 of full scale 1; always a copy."""
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(FULL_SCALE)
    return samples.astype(np.float32)


__all__ = ["FULL_SCALE", "Augmentation", "Windows", "as_floats"]
