"""What each training row weighs in the loss."""

import numpy as np


def difficulty_weights(difficulty: np.ndarray) -> np.ndarray:
    """Loss weights (1 + d) / mean(1 + d): harder rows count more, and the mean over the rows is 1. (n,) float32.

    Over the pool of an epoch of a curriculum it is not: `CurriculumTrainer` brings it back to 1 there.

    Raises a ValueError for a difficulty that is negative, NaN or infinite.
    """
    difficulty = np.asarray(difficulty, dtype=np.float64)
    bad = np.flatnonzero(~(np.isfinite(difficulty) & (difficulty >= 0)))
    if len(bad):
        raise ValueError(f"difficulty must be finite and at least 0, row {bad[0]} has {difficulty[bad[0]]}")
    weights = 1.0 + difficulty
    return (weights / weights.mean()).astype(np.float32)


__all__ = ["difficulty_weights"]
