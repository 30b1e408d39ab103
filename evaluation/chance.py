"""What a model gets that knows nothing of its input: the chance of UAR and accuracy, and the lowest training loss."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr
from scipy.special import ndtri


def uar_at_chance(rows: np.ndarray) -> tuple[float, float] | None:
    """UAR of guessing, and its standard error; None where fewer than two classes occur, which can tell nothing.

    Each class' recall is a binomial share of its rows, so that the variance of their mean is Σ p (1 - p) / n_k / K²
    with p = 1 / K. Of a model that always says the same it is 0: this is the error of guessing at random.

    Args:
        rows: (C,) rows of each class; K of them are not 0.
    """
    occurring = rows[rows > 0]
    if len(occurring) < 2:
        return None
    chance = 1 / len(occurring)
    return chance, math.sqrt((chance * (1 - chance) / occurring).sum()) / len(occurring)


def accuracy_at_chance(rows: np.ndarray) -> tuple[float, float]:
    """Accuracy of always saying the most frequent class, and its binomial standard error. (C,) rows of each class."""
    share = float(rows.max() / rows.sum())
    return share, math.sqrt(share * (1 - share) / rows.sum())


def explained_by_chance(scores: Sequence[float], chance: float, error: float) -> bool:
    """Whether the scores of a run's epochs are what chance gives.

    So if the best is not above chance by more than one standard error; or if their mean isn't, and the best is not
    higher than the best of as many independent draws is with the same probability (0.84): of 30 epochs at chance some
    epoch nearly always is above by more than one standard error.
    """
    finite = np.array([score for score in scores if math.isfinite(score)])
    if not len(finite):
        return False
    if finite.max() <= chance + error:
        return True
    best_of_all = ndtri(ndtr(1.0) ** (1 / len(finite)))
    return bool(finite.mean() <= chance + error and finite.max() <= chance + best_of_all * error)


def frequencies_loss(
    labels: np.ndarray,
    num_classes: int,
    loss: str = "cross_entropy",
    focal_gamma: float = 2.0,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    sample_weights: np.ndarray | None = None,
    vad: np.ndarray | None = None,
    vad_loss_weight: float = 0.0,
) -> float:
    """The lowest training loss on some rows of a model that gives every row the same: it can know how frequent the
    classes are (and the mean ratings), and nothing of the input.

    With equally frequent classes it is log C, whatever the class weights' scale. The temperature does not matter: what
    the logits are divided by, such a model can undo.

    Args:
        labels: (n,) class numbers.
        num_classes: C.
        sample_weights: (n,).
        vad: (n, 3) ratings, NaN where unrated.
        The rest is as in `emotion_loss` and the configuration.
    """
    n = len(labels)
    row_weights = np.ones(n) if sample_weights is None else np.asarray(sample_weights, np.float64)
    weights = np.ones(num_classes) if class_weights is None else np.asarray(class_weights, np.float64)
    norm = (np.bincount(labels, minlength=num_classes) / n) @ weights
    shares = np.bincount(labels, row_weights, num_classes) / n
    counted = weights * ((1 - label_smoothing) * shares + label_smoothing / num_classes * shares.sum())
    counted = counted[counted > 0] / (norm or 1)  # (classes that count,): of each -log p_k
    total = 0.0
    if len(counted):
        total = _lowest(counted, focal_gamma if loss == "focal" else 0.0)
    if vad_loss_weight and vad is not None:
        total += vad_loss_weight * _rating_variance(np.asarray(vad, np.float64), row_weights)
    return total


def _lowest(counted: np.ndarray, gamma: float) -> float:
    """The least of Σ a_k (1 - p_k)^gamma (-log p_k) over all distributions p."""
    if gamma == 0 or len(counted) == 1:
        return float(-(counted @ np.log(counted / counted.sum())))
    from scipy.optimize import minimize  # takes half a second to import

    def value_and_gradient(logits: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = logits - np.logaddexp.reduce(logits)
        p, doubt = np.exp(log_p), np.maximum(-np.expm1(log_p), 1e-12)
        by_log_p = counted * (gamma * p * doubt ** (gamma - 1) * log_p - doubt**gamma)
        return float(-(counted * doubt**gamma) @ log_p), by_log_p - p * by_log_p.sum()

    starts = (np.log(counted) / (1 + gamma), np.zeros(len(counted)))
    return min(minimize(value_and_gradient, start, jac=True, method="BFGS").fun for start in starts)


def _rating_variance(vad: np.ndarray, row_weights: np.ndarray) -> float:
    """The V/A/D loss of giving every row the mean ratings."""
    rated = ~np.isnan(vad)
    weights = np.where(rated, row_weights[:, None], 0.0)  # (n, 3)
    ratings = np.nan_to_num(vad)
    mean = (weights * ratings).sum(0) / np.maximum(weights.sum(0), 1e-12)
    return float((weights * (ratings - mean) ** 2).sum() / max(rated.sum(), 1))


__all__ = ["accuracy_at_chance", "explained_by_chance", "frequencies_loss", "uar_at_chance"]
