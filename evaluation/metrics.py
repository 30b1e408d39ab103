"""Scores of predicted emotions, and what is said of them over folds and seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..choices import RATINGS

SCALARS = ("accuracy", "uar", "f1_macro", "f1_weighted")


def emotion_scores(references: np.ndarray, predictions: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """All scores of one set of predictions; they equal those of scikit-learn's functions.

    Args:
        references: (n,) true class numbers.
        predictions: (n,) predicted class numbers.
        labels: the C class names in the order of the class numbers.

    Returns:
        n; accuracy, uar, f1_macro and f1_weighted in [0, 1]; recall_per_class {name: recall, or None where the class
        does not occur in the references}; confusion_matrix, C lists of C counts (rows true, columns predicted).
        `uar` is the mean recall of the classes that occur in the references; `f1_macro` is over the classes that occur
        in references or predictions, as scikit-learn has it.

    Raises:
        ValueError: no rows, unequal lengths, or class numbers outside 0 to C - 1.
    """
    references, predictions = np.asarray(references), np.asarray(predictions)
    if references.ndim != 1 or references.shape != predictions.shape:
        raise ValueError(
            f"references and predictions must be (n,) and equally long, got {references.shape} and {predictions.shape}"
        )
    for what, values in (("references", references), ("predictions", predictions)):
        if len(values) and not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{what} must be class numbers, got {values.dtype}")
        bad = np.flatnonzero((values < 0) | (values >= len(labels)))
        if len(bad):
            raise ValueError(f"{what} row {bad[0]} is {values[bad[0]]}, there are classes 0 to {len(labels) - 1}")
    cells = np.bincount(
        references.astype(np.int64) * len(labels) + predictions.astype(np.int64), minlength=len(labels) ** 2
    )
    return scores_of_confusion(cells.reshape(len(labels), len(labels)), labels)


def scores_of_confusion(confusion: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """The scores of `emotion_scores`, from a (C, C) confusion matrix of counts (rows true, columns predicted)."""
    confusion = np.asarray(confusion, dtype=np.int64)
    total = int(confusion.sum())
    if total == 0:
        raise ValueError("there are no rows to score")
    hits, true, predicted = np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    recall = hits / np.maximum(true, 1)
    f1 = 2 * hits / np.maximum(true + predicted, 1)
    return {
        "n": total,
        "accuracy": float(hits.sum() / total),
        "uar": float(recall[true > 0].mean()),
        "f1_macro": float(f1[true + predicted > 0].mean()),
        "f1_weighted": float(f1 @ true / total),
        "recall_per_class": {
            name: float(value) if count else None for name, value, count in zip(labels, recall, true, strict=True)
        },
        "confusion_matrix": confusion.tolist(),
    }


def scalar_scores(scores: dict[str, Any]) -> dict[str, float]:
    """Accuracy, UAR and the two F1 alone: what the Trainer can log."""
    return {name: scores[name] for name in SCALARS}


def reliability(references: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> dict[str, np.ndarray]:
    """How often the most probable class is right, by how probable it was: `bins` equal parts of (0, 1].

    Args:
        references: (n,) true class numbers.
        probabilities: (n, C) class probabilities, rows summing to 1.
        bins: how many; the first is empty where 1 / C is beyond it.

    Returns:
        {"count", "confidence", "accuracy"}, (bins,) each; the latter two are means over the bin's rows, 0 without any.

    Raises:
        ValueError: no rows, other shapes, or rows that are not probabilities.
    """
    references, probabilities = _checked_probabilities(references, probabilities)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == references
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # (low, high] as Guo et al. 2017
    count = np.bincount(place, minlength=bins)
    return {
        "count": count,
        "confidence": np.bincount(place, confidence, bins) / np.maximum(count, 1),
        "accuracy": np.bincount(place, right, bins) / np.maximum(count, 1),
    }


def calibration_error(references: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of the most probable class (Guo et al. 2017): Σ count / n · |accuracy - confidence|.

    Arguments as in `reliability`. 0 is best; it falls with fewer bins and rises by chance with few rows.
    """
    curve = reliability(references, probabilities, bins)
    return float(curve["count"] @ np.abs(curve["accuracy"] - curve["confidence"]) / curve["count"].sum())


def brier_score(references: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over rows of the squared distance from the probabilities to the truth, summed over classes (Brier 1950).

    From 0 (best) to 2. scikit-learn's `brier_score_loss(..., scale_by_half=False)`. Arguments as in `reliability`.
    """
    references, probabilities = _checked_probabilities(references, probabilities)
    of_truth = probabilities[np.arange(len(references)), references]
    return float(np.mean((probabilities**2).sum(axis=1) - 2 * of_truth + 1))


def _checked_probabilities(references: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    references, probabilities = np.asarray(references, np.int64), np.asarray(probabilities, np.float64)
    if not len(references) or probabilities.ndim != 2 or len(probabilities) != len(references):
        raise ValueError(
            f"references must be (n,) and probabilities (n, C) with n > 0, got {references.shape} and "
            f"{probabilities.shape}"
        )
    bad = np.flatnonzero((probabilities < 0).any(axis=1) | ~(np.abs(probabilities.sum(axis=1) - 1) < 1e-3))
    if len(bad):
        raise ValueError(
            f"probabilities row {bad[0]} is {probabilities[bad[0]].tolist()}: not from 0 to 1 summing to 1"
        )
    if references.min() < 0 or references.max() >= probabilities.shape[1]:
        raise ValueError(
            f"references reach from {references.min()} to {references.max()}, there are classes 0 to "
            f"{probabilities.shape[1] - 1}"
        )
    return references, probabilities


def concordance(ratings: np.ndarray, predicted: np.ndarray) -> float:
    """Concordance correlation coefficient (Lin 1989): 2 cov / (var + var + (mean - mean)²), from -1 to 1.

    0 where neither varies. (n,) each, without NaN; variances and covariance divide by n.
    """
    ratings, predicted = np.asarray(ratings, np.float64), np.asarray(predicted, np.float64)
    below = ratings.var() + predicted.var() + (ratings.mean() - predicted.mean()) ** 2
    above = 2 * ((ratings - ratings.mean()) * (predicted - predicted.mean())).mean()
    return float(above / below) if below > 0 else 0.0


def vad_scores(ratings: np.ndarray, predicted: np.ndarray) -> dict[str, dict[str, Any]]:
    """How well valence, arousal and dominance are told.

    Args:
        ratings: (n, 3) on 1-5, NaN where unrated.
        predicted: (n, 3).

    Returns:
        {"valence": {"n", "ccc", "rmse"}, "arousal": ..., "dominance": ...}: the rows that are rated, `concordance` and
        root mean square error in points; None where none is rated.
    """
    found = {}
    for i, name in enumerate(RATINGS):
        rated = ~np.isnan(ratings[:, i])
        true, guess = ratings[rated, i].astype(np.float64), predicted[rated, i].astype(np.float64)
        found[name] = {
            "n": int(rated.sum()),
            "ccc": concordance(true, guess) if rated.any() else None,
            "rmse": float(np.sqrt(np.mean((true - guess) ** 2))) if rated.any() else None,
        }
    return found


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """What an experiment's runs say together, for each test corpus and each of `SCALARS`.

    `mean` and `std` (ddof 1; None for a single run) are over all runs, seeds × folds. `std_over_folds` is over the
    folds, each first averaged over its seeds, `std_over_seeds` over the seeds' pooled scores; None where there is one.
    `pooled` is the score of the confusion matrix summed over the folds of a seed, averaged over the seeds. `ci95` is
    None: an interval around `pooled` needs the rows and their speakers, and `experiment_statistics` puts it there.

    Args:
        runs: dicts with `seed`, `fold` and `test`: {corpus: scores of emotion_scores}. A run counts for the corpora
            that it was tested on.

    Returns:
        {corpus: {metric: {"mean", "std", "std_over_folds", "std_over_seeds", "pooled", "ci95": None}}}

    Raises:
        ValueError: the same seed and fold twice for a corpus.
    """
    corpora = dict.fromkeys(corpus for run in runs for corpus in run["test"])
    return {corpus: _summarise_corpus(corpus, [run for run in runs if corpus in run["test"]]) for corpus in corpora}


def _summarise_corpus(corpus: str, runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    keys = [(run["seed"], run["fold"]) for run in runs]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"corpus {corpus} has two results for seed {twice[0]}, fold {twice[1]}")
    by_seed: dict[Any, list[dict[str, Any]]] = {}
    for run in runs:
        by_seed.setdefault(run["seed"], []).append(run["test"][corpus])
    pooled = [
        scores_of_confusion(
            np.sum([score["confusion_matrix"] for score in scores], axis=0), list(scores[0]["recall_per_class"])
        )
        for scores in by_seed.values()
    ]
    return {
        metric: {
            **spread_of([run["test"][corpus][metric] for run in runs], keys),
            "std_over_seeds": std_of([scores[metric] for scores in pooled]),
            "pooled": float(np.mean([scores[metric] for scores in pooled])),
            "ci95": None,
        }
        for metric in SCALARS
    }


def spread_of(values: Sequence[float], keys: Sequence[tuple[Any, Any]]) -> dict[str, float | None]:
    """`mean`, `std` and `std_over_folds` of the values of runs (seed, fold), as `summarise` has them."""
    folds: dict[Any, list[float]] = {}
    for (_, fold), value in zip(keys, values, strict=True):
        folds.setdefault(fold, []).append(value)
    over_folds = std_of([float(np.mean(of_fold)) for of_fold in folds.values()])
    return {"mean": float(np.mean(values)), "std": std_of(values), "std_over_folds": over_folds}


def std_of(values: Sequence[float]) -> float | None:
    """Standard deviation (ddof 1) of n values; None of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean_and_std(figures: dict[str, Any]) -> str:
    """`0.827 ± 0.040`, of a single run `0.827`."""
    return f"{figures['mean']:.3f}" + ("" if figures["std"] is None else f" ± {figures['std']:.3f}")
