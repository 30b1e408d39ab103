"""How difficult a row is: pure functions of arrays. The formulas are those of the original system's curriculum."""

from collections.abc import Sequence

import numpy as np

from ..choices import DIFFICULTY_METHODS
from ..choices import check_choice

# Sign of x - prototype that counts as difficult, per (V, A, D). Classes that are not here: both directions count.
DIFFICULT_DIRECTIONS = {"happy": (-1, -1, -1), "sad": (1, 1, 1), "anger": (1, -1, -1)}


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
    check_choice("difficulty method", method, DIFFICULTY_METHODS)
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


def _check_labels(labels: np.ndarray, num_classes: int) -> None:
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(bad):
        raise ValueError(f"row {bad[0]} has label {labels[bad[0]]}, there are classes 0 to {num_classes - 1}")


def _checked_weights(weights: Sequence[float] | None) -> np.ndarray:
    values = np.asarray([] if weights is None else weights, dtype=np.float64)
    if values.shape != (3,) or not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(f"weighted difficulty needs three weights of at least 0, not all 0, got {weights}")
    return values
