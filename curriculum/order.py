"""In which order the rows of an epoch are trained: pure functions of arrays, an epoch and a seed.

N stands for the number of training rows, B for the batch size.
"""

import numpy as np

from .curricula import ORDER_STREAM


def epoch_batches(rows: int, batch_size: int, multiple: int, speakers: np.ndarray | None = None) -> int:
    """The number of batches of every epoch, whatever its pool.

    ceil(N / B), or with single-speaker batches the sum over all speakers of ceil(n_s / B), rounded up to a multiple.

    Args:
        rows: N, all training rows.
        batch_size: B, rows a batch and process.
        multiple: world size × gradient accumulation steps.
        speakers: (N,) speaker of each training row, for single-speaker batches.

    Raises:
        ValueError: a number below 1, or not one speaker a row.
    """
    if min(rows, batch_size, multiple) < 1:
        raise ValueError(f"rows, batch_size and multiple must be at least 1, got {rows}, {batch_size}, {multiple}")
    if speakers is None:
        batches = -(-rows // batch_size)
    else:
        if len(speakers) != rows:
            raise ValueError(f"one speaker a row is needed, got {len(speakers)} speakers for {rows} rows")
        counts = np.unique(speakers, return_counts=True)[1]
        batches = int(np.sum(-(-counts // batch_size)))
    return -(-batches // multiple) * multiple


def epoch_order(
    pool: np.ndarray,
    batches: int,
    batch_size: int,
    seed: int,
    epoch: int,
    speakers: np.ndarray | None = None,
) -> np.ndarray:
    """The rows of an epoch in the order in which they are trained: (batches · batch_size,) int64 row indices.

    Passes over the pool follow each other until the length is reached, each in a fresh order that only (seed, epoch,
    pass) and the pool decide. Processes take batches in turn. Without speakers a pass is the pool, shuffled. With
    speakers a pass cuts each speaker's shuffled rows into batches, fills a short batch by going round that batch's
    own rows again, and shuffles the batches: a batch holds one speaker, and no row is in two batches of a pass.

    Args:
        pool: distinct row indices.
        batches: number of batches, as `epoch_batches` gives it.
        speakers: (N,) speaker of every training row (not of the pool alone). Integer codes sort far quicker than
            strings.

    Raises:
        ValueError: an empty pool, or fewer than one batch or row a batch.
    """
    pool = np.asarray(pool, dtype=np.int64)
    if len(pool) == 0 or batches < 1 or batch_size < 1:
        raise ValueError(f"cannot order {len(pool)} rows into {batches} batches of {batch_size}")
    length = batches * batch_size
    cut = None if speakers is None else _SpeakerBatches(pool, np.asarray(speakers)[pool], batch_size)
    row_passes: list[np.ndarray] = []
    reached = 0
    while reached < length:
        generator = np.random.default_rng((ORDER_STREAM, seed, epoch, len(row_passes)))
        row_passes.append(generator.permutation(pool) if cut is None else cut.shuffled(generator))
        reached += len(row_passes[-1])
    return np.concatenate(row_passes)[:length]


class _SpeakerBatches:
    """Cuts a pool into single-speaker batches. What does not depend on the pass is worked out once.

    Args:
        pool: (n,) row indices.
        speakers: (n,) speaker of each.
        batch_size: B.
    """

    def __init__(self, pool: np.ndarray, speakers: np.ndarray, batch_size: int):
        _, codes, counts = np.unique(speakers, return_inverse=True, return_counts=True)
        self.pool = pool
        # The narrowest type: NumPy sorts 16-bit integers by radix, in a fifth of the time.
        self.codes = codes.reshape(-1).astype(np.min_scalar_type(len(counts)))
        of_speaker = -(-counts // batch_size)  # batches of each speaker
        owner = np.repeat(np.arange(len(counts)), of_speaker)  # (m,) the speaker of each batch
        number = np.arange(len(owner)) - (np.cumsum(of_speaker) - of_speaker)[owner]  # (m,) 0, 1, 2... in the speaker
        first = (np.cumsum(counts) - counts)[owner] + number * batch_size  # (m,) where it starts among sorted rows
        held = np.minimum(batch_size, counts[owner] - number * batch_size)  # (m,) distinct rows in it
        self.slots = first[:, None] + np.arange(batch_size) % held[:, None]  # (m, B)

    def shuffled(self, generator: np.random.Generator) -> np.ndarray:
        """One pass in a fresh order: (m · B,) row indices."""
        mixed = generator.permutation(len(self.pool))
        by_speaker = self.pool[mixed[np.argsort(self.codes[mixed], kind="stable")]]
        return by_speaker[self.slots[generator.permutation(len(self.slots))]].reshape(-1)
