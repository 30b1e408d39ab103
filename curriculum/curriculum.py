"""Which rows an epoch trains on, and in which order: pure functions of arrays, an epoch and a seed.

Epochs count from 0. E stands for the epochs that the curriculum lasts, N for the number of training rows, B for the
batch size. Formulas without a source here are those of the original system's curriculum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..choices import DIFFICULTY_METHODS
from ..choices import PACINGS
from ..errors import InputError
from ..registry import Entry
from ..registry import in_a_line
from ..registry import load_own
from .curricula import CURRICULA
from .curricula import ORDER_STREAM
from .curricula import EpochRows
from .curricula import checked_pool
from .curricula import checked_scores
from .curricula import read_only

# Sign of x - prototype that counts as difficult, per (V, A, D). Classes that are not here: both directions count.
DIFFICULT_DIRECTIONS = {"happy": (-1, -1, -1), "sad": (1, 1, 1), "anger": (1, -1, -1)}


def pacing_fraction(pacing: str, epoch: int, curriculum_epochs: int) -> float:
    """The share of the training rows that epoch `epoch` may see, in (0, 1].

    linear (e+1)/E · sqrt sqrt((e+1)/E) · log log(e+2)/log(E+1) · exponential ((e+1)/E)^1.5 (a power law, in spite of
    its name). 1.0 from epoch E on, and always where E is 0.

    Raises:
        ValueError: an unknown pacing, a negative epoch or E.
    """
    _check_choice("pacing", pacing, PACINGS)
    if epoch < 0 or curriculum_epochs < 0:
        raise ValueError(f"epochs count from 0, got epoch {epoch} of {curriculum_epochs} curriculum epochs")
    if epoch >= curriculum_epochs:
        return 1.0
    done = (epoch + 1) / curriculum_epochs
    if pacing == "linear":
        return done
    if pacing == "sqrt":
        return float(np.sqrt(done))
    if pacing == "log":
        return float(np.log(epoch + 2) / np.log(curriculum_epochs + 1))
    return float(done**1.5)


def vad_difficulty(
    vad: np.ndarray,
    labels: np.ndarray,
    prototypes: np.ndarray,
    method: str = "euclidean_distance",
    weights: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """How far each row's valence, arousal and dominance are from the prototype of its class.

    With d = x - prototype: `euclidean_distance` sqrt(sum d²); `weighted` sqrt(sum w d²); `directional` the euclidean
    norm of those deviations that make a row untypical: for happy only shortfalls, for sad only excesses, for anger
    too high valence and too low arousal or dominance, for neutral and every other class both ways.

    Args:
        vad: (n, 3) ratings, on the prototypes' scale (1 to 5).
        labels: (n,) class numbers.
        prototypes: (C, 3) typical V, A, D of each class.
        method: one of `DIFFICULTY_METHODS`.
        weights: the three weights of `weighted`, for example (0.4, 0.4, 0.2); no other method reads them.
        class_names: the C names, in the order of the class numbers; only `directional` reads them.

    Returns:
        (n,) float64, at least 0; NaN where any of the three ratings is NaN.

    Raises:
        ValueError: an unknown method, shapes that do not agree, a label without a prototype, missing weights or names.
    """
    _check_choice("difficulty method", method, DIFFICULTY_METHODS)
    vad, prototypes = np.asarray(vad, dtype=np.float64), np.asarray(prototypes, dtype=np.float64)
    labels = np.asarray(labels)
    if prototypes.ndim != 2 or prototypes.shape[1] != 3 or not np.isfinite(prototypes).all():
        raise ValueError(f"prototypes must be (classes, 3) finite numbers, got {prototypes.tolist()}")
    if vad.shape != (len(labels), 3):
        raise ValueError(f"vad must be ({len(labels)}, 3), a row a label, got {vad.shape}")
    _check_labels(labels, len(prototypes))
    deviation = vad - prototypes[labels]  # (n, 3)
    if method == "weighted":
        deviation = deviation * np.sqrt(_checked_weights(weights))
    elif method == "directional":
        if class_names is None or len(class_names) != len(prototypes):
            raise ValueError(f"directional difficulty needs the names of {len(prototypes)} classes, got {class_names}")
        signs = np.array([DIFFICULT_DIRECTIONS.get(name, (0, 0, 0)) for name in class_names])[labels]  # (n, 3)
        deviation = np.where(signs == 0, deviation, np.maximum(signs * deviation, 0.0))
    return np.sqrt(np.sum(deviation**2, axis=1))


def fit_prototypes(vad: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The mean (V, A, D) of each class over its rows with all three ratings: (num_classes, 3) float64.

    Give it training rows alone. Raises a ValueError that names the classes without any rated row.
    """
    vad, labels = np.asarray(vad, dtype=np.float64), np.asarray(labels)
    _check_labels(labels, num_classes)
    rated = np.isfinite(vad).all(axis=1)
    counts = np.bincount(labels[rated], minlength=num_classes)
    if (counts == 0).any():
        missing = np.flatnonzero(counts == 0).tolist()
        raise ValueError(f"no row of class {missing} has valence, arousal and dominance: no prototype can be fitted")
    sums = np.stack([np.bincount(labels[rated], vad[rated, axis], minlength=num_classes) for axis in range(3)], axis=1)
    return sums / counts[:, None]


def fill_unrated(difficulty: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Gives unrated rows (NaN) the median difficulty of their class, or of all rows where the class has none rated.

    Returns:
        A (n,) float64 copy without NaN, and how many rows were filled. Raises ValueError if no row is rated.
    """
    filled, labels = np.array(difficulty, dtype=np.float64), np.asarray(labels)
    unrated = np.isnan(filled)
    if unrated.all():
        raise ValueError("no row has a difficulty: the corpus has no valence, arousal and dominance, nor a column")
    overall = np.median(filled[~unrated])
    for label in np.unique(labels[unrated]):
        of_class = labels == label
        rated = filled[of_class & ~unrated]
        filled[of_class & unrated] = np.median(rated) if len(rated) else overall
    return filled, int(unrated.sum())


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


@dataclass(frozen=True)
class Curriculum:
    """Which rows each epoch trains on.

    The controls of `difficulty`, each of pools as large as its own: `inverse_difficulty` turns the order round.
    `random_matched` holds as many rows of each class as `difficulty` does in the same epoch, but any of them: what
    differs is which rows of a class come first. `random_nested` leaves the class mix to chance, too. Both are nested,
    as `difficulty` is: a pool holds all of the one before. `random` draws each pool anew, so that far more rows are
    seen early (after three of ten epochs paced `sqrt` 83 %, where nested pools have let in 55 %).

    Args:
        type: one of `CURRICULUM_TYPES`, or a name that a user's own file registers. `difficulty` easiest first;
            `inverse_difficulty` hardest first; `random` any rows, drawn once per (seed, epoch); `random_nested` any
            rows, in one order per seed; `random_matched` any rows of each class, in one order per seed, with the class
            mix of `difficulty`; `class_balance` class after class; `model_confidence` random in epoch 0, then the rows
            that the model was surest of; `preset_order` lowest first; `none` all rows, always.
        pacing: one of `PACINGS`: how the pool grows.
        epochs: how many epochs the curriculum lasts; 0 means none.
        class_order: class numbers in the order in which `class_balance` lets them in; None for 0, 1, 2...
        seed: seed of the random pools.
        module: path of a Python file that registers curricula of the user's own.

    Raises:
        ValueError: a value that is not allowed; the message lists the choices.
    """

    type: str = "none"
    pacing: str = "sqrt"
    epochs: int = 0
    class_order: tuple[int, ...] | None = None
    seed: int = 0
    module: str | None = None

    def __post_init__(self) -> None:
        if self.module is not None:
            load_own(self.module, again=False)
        CURRICULA.get(self.type, self.module)  # raises where there is none
        _check_choice("pacing", self.pacing, PACINGS)
        if self.epochs < 0 or self.seed < 0:
            raise ValueError(f"epochs and seed must be at least 0, got epochs {self.epochs} and seed {self.seed}")
        if self.class_order is not None and len(set(self.class_order)) != len(self.class_order):
            raise ValueError(f"class_order must hold each class once, got {self.class_order}")

    def active(self, epoch: int) -> bool:
        """Whether the curriculum still holds rows back, or would if its pool were not full yet, in this epoch."""
        return self.type != "none" and epoch < self.epochs

    def needs(self, score: str) -> bool:
        """Whether it reads one of `curricula.SCORES`."""
        return score in self._entry.needs

    @property
    def _entry(self) -> Entry:
        return CURRICULA.get(self.type, self.module)

    def fraction(self, epoch: int) -> float:
        """The paced share of the training rows in this epoch: 1.0 where the curriculum is not active."""
        return pacing_fraction(self.pacing, epoch, self.epochs) if self.active(epoch) else 1.0

    def pool(
        self,
        epoch: int,
        labels: np.ndarray,
        difficulty: np.ndarray | None = None,
        confidence: np.ndarray | None = None,
        preset_order: np.ndarray | None = None,
    ) -> np.ndarray:
        """The rows of this epoch: sorted int64 indices, at least one. Equal scores enter in the order of the rows.

        Args:
            labels: (N,) class numbers of the training rows.
            difficulty: (N,) without NaN, where this type needs it, as the next two.
            confidence: (N,) largest probability that the model gave in the epoch before; not read in epoch 0.
            preset_order: (N,) without NaN.

        Raises:
            ValueError: scores that this type needs are missing, not one a row, or NaN.
            InputError: a user's own curriculum failed, or gave what are no rows.
        """
        rows = len(labels)
        if rows == 0:
            raise ValueError("there are no training rows")
        if not self.active(epoch):
            return np.arange(rows, dtype=np.int64)
        entry = self._entry
        given = {"difficulty": difficulty, "confidence": confidence, "preset_order": preset_order}
        known = [name for name in entry.needs if epoch > 0 or name != "confidence"]
        request = EpochRows(
            read_only(np.asarray(labels)),
            epoch,
            self.epochs,
            self.fraction(epoch),
            self.seed,
            self.class_order,
            **{name: checked_scores(name, given[name], rows) for name in known},
        )
        if entry.file is None:
            return checked_pool(self.type, entry.function(request), rows)
        where = f"curriculum {self.type!r} in epoch {epoch}"
        try:
            pool = entry.function(request)
        except Exception as error:
            raise InputError(f"{where}: {in_a_line(error, entry.file)}") from error
        return checked_pool(f"{where} ({entry.file})", pool, rows)


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


def pool_statistics(
    pool: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    difficulty: np.ndarray | None = None,
    speakers: np.ndarray | None = None,
) -> dict[str, float]:
    """What is logged of each epoch's pool, as plain floats.

    `curriculum/pool_size` rows, `curriculum/pool_fraction` of all rows, `curriculum/class_<i>` the share of class i in
    the pool; with difficulty (N,) `curriculum/mean_difficulty`, with speakers (N,) `curriculum/speakers`, the number
    of distinct ones. `labels` (N,) are those of all training rows.
    """
    labels = np.asarray(labels)
    shares = np.bincount(labels[pool], minlength=num_classes) / len(pool)
    statistics = {
        "curriculum/pool_size": float(len(pool)),
        "curriculum/pool_fraction": len(pool) / len(labels),
        **{f"curriculum/class_{label}": float(share) for label, share in enumerate(shares)},
    }
    if difficulty is not None:
        statistics["curriculum/mean_difficulty"] = float(np.mean(np.asarray(difficulty, dtype=np.float64)[pool]))
    if speakers is not None:
        statistics["curriculum/speakers"] = float(len(np.unique(np.asarray(speakers)[pool])))
    return statistics


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"unknown {what} {value!r}: choose one of {', '.join(choices)}")


def _check_labels(labels: np.ndarray, num_classes: int) -> None:
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(bad):
        raise ValueError(f"row {bad[0]} has label {labels[bad[0]]}, there are classes 0 to {num_classes - 1}")


def _checked_weights(weights: Sequence[float] | None) -> np.ndarray:
    values = np.asarray([] if weights is None else weights, dtype=np.float64)
    if values.shape != (3,) or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(f"weighted difficulty needs three weights of at least 0, not all 0, got {weights}")
    return values
