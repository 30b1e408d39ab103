"""The scores as a metric of `evaluate`; and what only reads scores doesn't load it."""

import numpy as np
import pytest

from emomm.evaluation.emotion_metric import EmotionMetric
from emomm.evaluation.metrics import emotion_scores

LABELS = ("neutral", "happy", "sad", "anger")


def test_metric_is_the_scores(tmp_path):
    metric = EmotionMetric(LABELS, cache_dir=str(tmp_path))
    true, predicted = np.array([0, 1, 2, 3, 0]), np.array([0, 1, 2, 0, 1])
    expected = emotion_scores(true, predicted, LABELS)
    assert metric.compute(predictions=predicted, references=true) == expected
    assert metric.compute(predictions=predicted.tolist(), references=true.tolist()) == expected  # nothing left over
    metric.add_batch(predictions=predicted[:2], references=true[:2])
    metric.add_batch(predictions=predicted[2:], references=true[2:])
    assert metric.compute() == expected


def test_metric_refuses_and_recovers(tmp_path):
    metric = EmotionMetric(LABELS, cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match="no rows"):
        metric.compute(predictions=[], references=[])
    with pytest.raises(ValueError, match="predictions row 0 is 9"):
        metric.compute(predictions=[9], references=[0])
    with pytest.raises(ValueError, match="Mismatch"):
        metric.compute(predictions=[0], references=[0, 1])
    assert metric.compute(predictions=[0], references=[0])["n"] == 1
