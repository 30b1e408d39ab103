"""In which order the rows of an epoch are trained: pure functions of arrays, an epoch and a seed.

N stands for the number of training rows, B for the batch size.
"""

import numpy as np

from .curricula import ORDER_STREAM

_STRETCH = 50  # batches, at most, within which rows are sorted by length


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
    lengths: np.ndarray | None = None,
    multiple: int = 1,
) -> np.ndarray:
    """The rows of an epoch in the order in which they are trained: (batches · batch_size,) int64 row indices.

    Passes over the pool follow each other until the length is reached, each in a fresh order that only (seed, epoch,
    pass) and the pool decide. Processes take batches in turn. Without speakers a pass is the pool, shuffled. With
    speakers a pass cuts each speaker's shuffled rows into batches, fills a short batch by going round that batch's
    own rows again, and shuffles the batches: a batch holds one speaker, and no row is in two batches of a pass.

    With lengths, the rows of a pass (or of a speaker in it) are shuffled, sorted by length within stretches of some
    batches, and cut into batches, which are shuffled: rows of alike length are together, and with whom each is differs
    from pass to pass. All that is promised of a pass holds. Without speakers what is cut are the rows of a step, so
    that accumulated batches are those of the one large batch that they stand for.

    Args:
        pool: distinct row indices.
        batches: number of batches, as `epoch_batches` gives it.
        speakers: (N,) speaker of every training row (not of the pool alone). Integer codes sort far quicker than
            strings.
        lengths: (N,) how long every training row is.
        multiple: batches of a step: world size × accumulation steps.

    Raises:
        ValueError: an empty pool, or fewer than one batch or row a batch.
    """
    pool = np.asarray(pool, dtype=np.int64)
    if len(pool) == 0 or batches < 1 or batch_size < 1:
        raise ValueError(f"cannot order {len(pool)} rows into {batches} batches of {batch_size}")
    length, of_step = batches * batch_size, batch_size * multiple
    of_pool = None if lengths is None else np.asarray(lengths)[pool]
    cut = None if speakers is None else _SpeakerBatches(pool, np.asarray(speakers)[pool], batch_size, of_pool)
    row_passes: list[np.ndarray] = []
    reached = 0
    while reached < length:
        generator = np.random.default_rng((ORDER_STREAM, seed, epoch, len(row_passes)))
        if cut is not None:
            row_passes.append(cut.shuffled(generator))
        elif of_pool is None:
            row_passes.append(generator.permutation(pool))
        else:
            row_passes.append(pool[_alike(of_pool, of_step, -reached % of_step, generator)])
        reached += len(row_passes[-1])
    return np.concatenate(row_passes)[:length]


def padding_share(order: np.ndarray, batch_size: int, lengths: np.ndarray) -> float:
    """How much of an epoch's batches is padding.

    Args:
        order: (n,) row indices, one batch after the other; the last may be short.
        lengths: (N,) of every training row.
    """
    of_rows = np.asarray(lengths)[order]
    longest = np.maximum.reduceat(of_rows, np.arange(0, len(order), batch_size))
    held = np.full(len(longest), batch_size)
    held[-1] = len(order) - batch_size * (len(longest) - 1)
    whole = int((longest * held).sum())
    return 1 - int(of_rows.sum()) / whole if whole else 0.0


def _alike(lengths: np.ndarray, batch_size: int, first: int, generator: np.random.Generator) -> np.ndarray:
    """Positions of a pass in batches of alike length: (n,).

    The first `first` of them fill a batch that was begun, the last ones begin one: they are drawn from all, or the
    same rows would be in such batches in each epoch.
    """
    mixed = generator.permutation(len(lengths))
    whole = max(len(mixed) - first, 0) // batch_size
    middle = mixed[first : first + whole * batch_size]
    middle = middle[np.lexsort((lengths[middle], _stretch(np.arange(len(middle)), len(middle), batch_size)))]
    batches = middle.reshape(whole, batch_size)[generator.permutation(whole)]
    return np.concatenate([mixed[:first], batches.reshape(-1), mixed[first + len(middle) :]])


def _stretch(position: np.ndarray, rows: np.ndarray | int, batch_size: int) -> np.ndarray:
    """The number of the stretch that a position among so many shuffled rows is in, within which they are sorted: at
    most `_STRETCH` batches long, and a quarter of the rows, so that there are several where they are few."""
    batches = np.clip(rows // (4 * batch_size), 1, _STRETCH)
    return position // (batches * batch_size)


class _SpeakerBatches:
    """Cuts a pool into single-speaker batches. What does not depend on the pass is worked out once.

    Args:
        pool: (n,) row indices.
        speakers: (n,) speaker of each.
        batch_size: B.
        lengths: (n,) of the rows, where alike ones are put together.
    """

    def __init__(self, pool: np.ndarray, speakers: np.ndarray, batch_size: int, lengths: np.ndarray | None = None):
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
        self.lengths = lengths
        if lengths is not None:
            owner = np.repeat(np.arange(len(counts)), counts)  # (n,) of the rows once they are sorted by speaker
            position = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
            # Rows of a short batch come last, in the order in which they were shuffled: each has its turn there.
            self.short = position >= counts[owner] // batch_size * batch_size
            self.stretch = np.where(self.short, len(pool), _stretch(position, counts[owner], batch_size))

    def shuffled(self, generator: np.random.Generator) -> np.ndarray:
        """One pass in a fresh order: (m · B,) row indices."""
        mixed = generator.permutation(len(self.pool))
        sorted_rows = mixed[np.argsort(self.codes[mixed], kind="stable")]
        if self.lengths is not None:
            of_rows = np.where(self.short, 0, self.lengths[sorted_rows])
            sorted_rows = sorted_rows[np.lexsort((of_rows, self.stretch, self.codes[sorted_rows]))]
        by_speaker = self.pool[sorted_rows]
        return by_speaker[self.slots[generator.permutation(len(self.slots))]].reshape(-1)
