"""Which rows an epoch trains on: pure functions of arrays, an epoch and a seed.

Epochs count from 0. E stands for the epochs that the curriculum lasts, N for the number of training rows. Formulas
without a source here are those of the original system's curriculum.
"""

from dataclasses import dataclass

import numpy as np

from ..choices import PACINGS
from ..choices import check_choice
from ..errors import InputError
from ..registry import Entry
from ..registry import in_a_line
from ..registry import load_own
from ..registry import read_only
from .curricula import CURRICULA
from .curricula import EpochRows
from .curricula import checked_pool
from .curricula import checked_scores


def pacing_fraction(pacing: str, epoch: int, curriculum_epochs: int) -> float:
    """The share of the training rows that epoch `epoch` may see, in (0, 1].

    linear (e+1)/E · sqrt sqrt((e+1)/E) · log log(e+2)/log(E+1) · exponential ((e+1)/E)^1.5 (a power law, in spite of
    its name). 1.0 from epoch E on, and always where E is 0.

    Raises:
        ValueError: an unknown pacing, a negative epoch or E.
    """
    check_choice("pacing", pacing, PACINGS)
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
        check_choice("pacing", self.pacing, PACINGS)
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
