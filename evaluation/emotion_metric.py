"""`emotion_scores` as a metric of `evaluate`. A module of its own: `evaluate` brings all of transformers with it."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from .metrics import emotion_scores

_DESCRIPTION = "Accuracy (WA), UAR (UA), macro and weighted F1, recall per class and confusion matrix."
_INPUTS = "predictions, references: class numbers, one a row, in the order of the class names."


class EmotionMetric(evaluate.Metric):
    """`emotion_scores` as an `evaluate.Metric`: built directly, needs no network.

    `EmotionMetric(["neutral", "happy"]).compute(predictions=[0, 1], references=[0, 0])`; see `emotion_scores` for what
    it gives and raises. Batches can be added with `add_batch`.

    Args:
        labels: the class names in the order of the class numbers.
        cache_dir: where `evaluate` makes its folder; predictions are held in memory.
    """

    def __init__(self, labels: Sequence[str], cache_dir: str | None = None):
        self.labels = tuple(labels)
        super().__init__(keep_in_memory=True, cache_dir=cache_dir)

    def _info(self) -> evaluate.MetricInfo:
        column = datasets.Value("int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": column, "references": column}),
            format="numpy",
        )

    def _compute(self, predictions: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        return emotion_scores(references, predictions, self.labels)


__all__ = ["EmotionMetric"]
