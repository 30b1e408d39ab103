"""Two decisions where a test corpus lacks classes that were trained: among all of them, or among those that it has.

A model of four emotions, tested on rows of two of them, can be asked which of the four it is, as it is used; or which
of the two, by the larger of their two probabilities. The first takes rows for classes that do not occur, the second
can't; so the second is higher, by chance too. Both are scored over the classes that occur: UAR and macro F1 have the
same denominators in both.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .intervals import ci_figures
from .intervals import intervals_of
from .intervals import recall_intervals
from .intervals import resample_tallies
from .intervals import units_of
from .metrics import SCALARS
from .metrics import spread_of
from .metrics import std_of
from .tallies import scores_of_tallies
from .tallies import tally


def decisions(
    labels: Sequence[str],
    references: np.ndarray,
    predictions: np.ndarray,
    probabilities: np.ndarray,
    speakers: np.ndarray,
    seeds: Sequence[int],
    folds: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """The scores of both decisions; {} where all classes occur, and the two are one.

    Args:
        labels: the C class names that were trained, in the order of the class numbers.
        references: (n,) true class numbers.
        predictions: (K, n) most probable class of all, -1 where a seed has not tested the row.
        probabilities: (K, n, C), NaN where a seed has not tested the row.
        speakers: (n,) speaker names or numbers.
        seeds: the K seeds.
        folds: (K, n) name of the fold that tested the row, "" where none did.

    Returns:
        {"all": D, "shared": D}, D: {"classes": names decided among, "chance": UAR and accuracy of guessing evenly
        among them, "recall": {class: as in `experiment_statistics`}, metric: {"mean", "std", "std_over_folds",
        "std_over_seeds", "pooled", "ci95", "ci_method", "ci_units"}} for each metric of `SCALARS`. UAR and macro F1
        are over the classes that occur, in both; so is "recall".
    """
    occurring = np.unique(references)
    if len(occurring) == len(labels):
        return {}
    place = np.full(len(labels), -1)
    place[occurring] = np.arange(len(occurring))
    among = np.nan_to_num(probabilities[..., occurring], nan=-1).argmax(axis=-1)
    shared = [labels[i] for i in occurring]
    given = speakers, seeds, folds
    return {
        "all": _scored(list(labels), references, predictions, *given),
        "shared": _scored(shared, place[references], np.where(predictions < 0, -1, among), *given),
    }


def _scored(
    labels: list[str],
    references: np.ndarray,
    predictions: np.ndarray,
    speakers: np.ndarray,
    seeds: Sequence[int],
    folds: np.ndarray,
) -> dict[str, Any]:
    units, kind = units_of(speakers)
    resampled = resample_tallies(tally(references, predictions, units, len(labels)), kind, f1_of_true_classes=True)
    runs, keys = [], []
    for seed, predicted, of_seed in zip(seeds, predictions, folds, strict=True):
        names, numbers = np.unique(of_seed.astype(str), return_inverse=True)
        of_folds = scores_of_tallies(tally(references, predicted[None], numbers, len(labels))[0], True)
        runs += [scores for name, scores in zip(names, of_folds, strict=True) if name]
        keys += [(seed, str(name)) for name in names if name]
    everything = tally(references, predictions, np.zeros(len(references), int), len(labels))
    of_seeds = scores_of_tallies(everything[:, 0], True)  # (K, M)
    bounds, found = intervals_of(resampled), {}
    for i, metric in enumerate(SCALARS):
        found[metric] = {
            **spread_of([scores[i] for scores in runs], keys),
            "std_over_seeds": std_of(of_seeds[:, i]),
            "pooled": float(resampled.estimate[i]),
            **ci_figures(bounds[metric]),
        }
    recall = recall_intervals(references, predictions, speakers, labels)
    return {
        "classes": labels,
        "chance": 1 / len(labels),
        "recall": {
            name: {"pooled": of_class["pooled"], **ci_figures(of_class)}
            for name, of_class in recall.items()
            if of_class is not None
        },
        **found,
    }


__all__ = ["decisions"]
