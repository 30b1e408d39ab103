"""The curricula, by name: which of the training rows an epoch trains on. A user's own file adds others.

A curriculum is a function of an `EpochRows` that gives the numbers of the rows in the pool: each once, at least one,
in any order. It is asked more than once an epoch, on every process and after a resume, so it must give the same for
the same `EpochRows`: what is drawn is drawn from its seed.
"""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..registry import Registry
from ..registry import read_only

SCORES = ("difficulty", "confidence", "preset_order")

# First word of every generator's seed. NumPy pads seeds with zeros, so that (seed, epoch) and (seed, epoch, 0) are
# the same stream: without these the random pool and the first pass would draw the same numbers.
POOL_STREAM, ORDER_STREAM, NESTED_STREAM = 1, 2, 3

CURRICULA = Registry("curriculum type", __name__, SCORES)


@dataclass(frozen=True, eq=False)
class EpochRows:
    """The N training rows of a run, as a curriculum sees them in an epoch. The arrays can't be written to.

    Args:
        labels: (N,) class numbers.
        epoch: from 0, below `epochs`.
        epochs: how many epochs the curriculum lasts; after them all rows are in.
        fraction: the paced share of the rows (`curriculum_pacing`), in (0, 1].
        seed: of the run.
        class_order: class numbers in the recipe's `class_order`; None where it has none.
        difficulty: (N,) float64, at least 0 where it comes from valence, arousal and dominance; None where it isn't
            among what the curriculum needs, as the other two.
        confidence: (N,) float64, largest probability that the model gave each row at the end of the epoch before;
            None in epoch 0.
        preset_order: (N,) float64, the corpora's `curriculum_order` column.
    """

    labels: np.ndarray
    epoch: int
    epochs: int
    fraction: float
    seed: int
    class_order: tuple[int, ...] | None = None
    difficulty: np.ndarray | None = None
    confidence: np.ndarray | None = None
    preset_order: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """The paced number of rows: int(N · fraction), and at least one."""
        return pool_size(len(self), self.fraction)

    def ascending(self, score: str) -> np.ndarray:
        """(N,) row numbers by rising `score`, one of `SCORES`; equal ones in the order of the rows."""
        return self._sorted(score, 1)

    def descending(self, score: str) -> np.ndarray:
        """(N,) row numbers by falling `score`; equal ones in the order of the rows."""
        return self._sorted(score, -1)

    def random_order(self) -> np.ndarray:
        """(N,) row numbers in a random order, another one in each epoch."""
        return np.random.default_rng((POOL_STREAM, self.seed, self.epoch)).permutation(len(self))

    def one_random_order(self) -> np.ndarray:
        """(N,) row numbers in a random order, the same in every epoch."""
        return np.random.default_rng((NESTED_STREAM, self.seed)).permutation(len(self))

    def _sorted(self, score: str, sign: int) -> np.ndarray:
        values = getattr(self, score)
        if values is None:
            raise ValueError(f"there is no {score} here: register the curriculum with needs=({score!r},)")
        return np.argsort(sign * values, kind="stable")


def register_curriculum(name: str, needs: Sequence[str] = ()) -> Callable[[Callable], Callable]:
    """Decorator: makes a function of an `EpochRows` known as `curriculum_type=name`.

    Args:
        needs: any of `SCORES`. A run whose training rows lack one of them is refused before any training.

    Raises:
        ValueError: the name is taken, or there is no such score.
    """
    return CURRICULA.register(name, needs)


def pool_size(rows: int, fraction: float) -> int:
    """int(N · fraction), and at least one row."""
    return max(1, int(rows * fraction))


def checked_scores(name: str, scores: np.ndarray | None, rows: int) -> np.ndarray:
    """(N,) float64 that can't be written to. Raises ValueError for scores that are missing, not one a row, or NaN."""
    if scores is None:
        raise ValueError(f"this curriculum needs the {name} of every training row, got none")
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (rows,) or np.isnan(scores).any():
        raise ValueError(
            f"{name} must be {rows} numbers, one a training row, got shape {scores.shape} "
            f"with {int(np.isnan(scores).sum())} NaN"
        )
    return read_only(scores)


def checked_pool(where: str, given: object, rows: int) -> np.ndarray:
    """What a curriculum gave as sorted int64 row numbers. Raises InputError for what are no rows among N."""
    pool = np.asarray(given) if isinstance(given, np.ndarray | list | tuple) else np.empty(0, dtype=object)
    right = f"it must give row numbers from 0 to {rows - 1}, each once, at least one"
    if isinstance(given, np.ndarray | list | tuple) and pool.ndim == 1 and not len(pool):
        raise InputError(f"{where} gave no rows: {right}")
    if pool.ndim != 1 or pool.dtype.kind not in "iu":
        hint = "; np.flatnonzero makes them of a mask" if pool.dtype.kind == "b" else ""
        shape = f"{type(given).__name__} of {pool.dtype} {pool.shape}" if len(pool) else repr(given)[:60]
        raise InputError(f"{where} gave {shape}: {right}{hint}")
    pool = np.sort(pool)
    if pool[0] < 0 or pool[-1] >= rows:
        wrong = pool[0] if pool[0] < 0 else pool[-1]
        raise InputError(f"{where} gave row {wrong}, which is not among the {rows} training rows: {right}")
    again = np.flatnonzero(pool[1:] == pool[:-1])
    if len(again):
        raise InputError(f"{where} gave row {pool[again[0]]} more than once: {right}")
    return pool.astype(np.int64)


# ---- EmoMM's own ----------------------------------------------------------------------------------------------------


@register_curriculum("none")
def all_rows(rows: EpochRows) -> np.ndarray:
    """All rows, always."""
    return np.arange(len(rows))


@register_curriculum("difficulty", needs=("difficulty",))
def easiest_first(rows: EpochRows) -> np.ndarray:
    """Easiest first."""
    return rows.ascending("difficulty")[: rows.size]


@register_curriculum("inverse_difficulty", needs=("difficulty",))
def hardest_first(rows: EpochRows) -> np.ndarray:
    """Hardest first."""
    return rows.descending("difficulty")[: rows.size]


@register_curriculum("random")
def any_rows(rows: EpochRows) -> np.ndarray:
    """Any rows, drawn once per (seed, epoch)."""
    return rows.random_order()[: rows.size]


@register_curriculum("random_nested")
def any_rows_nested(rows: EpochRows) -> np.ndarray:
    """Any rows, in one order per seed."""
    return rows.one_random_order()[: rows.size]


@register_curriculum("random_matched", needs=("difficulty",))
def any_rows_of_each_class(rows: EpochRows) -> np.ndarray:
    """As many rows of each class as `difficulty` has in the same epoch: its first in one random order per seed."""
    labels = rows.labels
    wanted = labels[rows.ascending("difficulty")[: rows.size]]
    order = rows.one_random_order()
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    starts = np.repeat(np.cumsum(counts) - counts, counts)  # (N,) where the class of each begins
    entered = np.bincount(wanted, minlength=len(counts))[labels[by_class]]  # (N,) rows of its class that are in
    return by_class[np.arange(len(labels)) - starts < entered]


@register_curriculum("class_balance")
def class_after_class(rows: EpochRows) -> np.ndarray:
    """All rows of the first min(C, int(fraction·C) + 1) of the C classes that occur among the training rows."""
    present = np.unique(rows.labels)
    order = present if rows.class_order is None else np.array(rows.class_order)
    unordered = np.setdiff1d(present, order)
    if len(unordered):
        raise ValueError(f"class_order {rows.class_order} lacks class {unordered.tolist()} of the training rows")
    order = order[np.isin(order, present)]
    entered = min(len(order), int(rows.fraction * len(order)) + 1)
    return np.flatnonzero(np.isin(rows.labels, order[:entered]))


@register_curriculum("model_confidence", needs=("confidence",))
def surest_first(rows: EpochRows) -> np.ndarray:
    """Random in epoch 0, then the rows that the model was surest of."""
    order = rows.random_order() if rows.epoch == 0 else rows.descending("confidence")
    return order[: rows.size]


@register_curriculum("preset_order", needs=("preset_order",))
def lowest_first(rows: EpochRows) -> np.ndarray:
    """Lowest first, by the corpora's column."""
    return rows.ascending("preset_order")[: rows.size]


__all__ = ["CURRICULA", "SCORES", "EpochRows", "pool_size", "register_curriculum"]
