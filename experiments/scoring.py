"""What a trained model makes of rows: its scores, and its predictions."""

import math
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction

from ..curriculum_trainer import CurriculumTrainer
from ..curriculum_trainer import logits_of
from ..evaluation.metrics import emotion_scores
from ..evaluation.metrics import scalar_scores
from ..evaluation.metrics import vad_scores
from ..evaluation.predictions import Predictions
from ..text_columns import Names
from .data import ExperimentData
from .inputs import Inputs
from .run import RunFailed


def validation_scores(labels: list[str], output: EvalPrediction) -> dict[str, float]:
    """What the Trainer chooses the best epoch by."""
    logits = logits_of(output.predictions)
    scores = scalar_scores(emotion_scores(output.label_ids, logits.argmax(-1), labels))
    # The class of outputs that are not finite is none.
    return scores if np.isfinite(logits).all() else dict.fromkeys(scores, math.nan)


def predict(
    trainer: CurriculumTrainer, inputs: Inputs, rows: np.ndarray
) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
    """Scores, class probabilities (rows, classes) and, of a model that gives it, V/A/D (rows, 3) of some rows.

    Raises RunFailed where the model's outputs are not finite.
    """
    config, data = trainer.model.config, inputs.data
    unread = [name for name in config.keys_to_ignore_at_inference if name != "vad"]
    predictions = trainer.predict(inputs.rows(rows), ignore_keys=unread).predictions
    logits, vad = logits_of(predictions), predictions[1] if config.gives_vad else None
    if not np.isfinite(logits).all() or (vad is not None and not np.isfinite(vad).all()):
        raise RunFailed("training diverged: the model's outputs are not finite; lower learning_rate")
    probabilities = torch.from_numpy(logits).float().softmax(dim=-1).numpy()
    scores = emotion_scores(data.label_ids[rows], logits.argmax(-1), data.labels)
    if vad is not None:
        scores["vad"] = vad_scores(data.vad[rows], vad)
    return scores, probabilities, vad


def predictions_of(
    data: ExperimentData,
    rows: np.ndarray,
    probabilities: np.ndarray,
    vad: np.ndarray | None = None,
    difficulty: np.ndarray | None = None,
    tested_on: np.ndarray | None = None,
    trained_on: np.ndarray | None = None,
) -> Predictions:
    """What is known of some rows, and what was made of them.

    Args:
        data: the corpora.
        rows: (n,) where they are in its arrays.
        probabilities: (n, classes); the most probable class is the prediction.
        vad: (n, 3) predicted ratings, of what gives them.
        difficulty: of *all* rows.
        tested_on: (n,) what their scores stand under; None: their corpora.
        trained_on: where the rows are that were trained on or chose the epoch, of which it is noted whether they have
            the same words.
    """
    sentences = data.sentences if trained_on is not None else np.full(1, -1)
    known = np.isin(sentences, sentences[trained_on]) & (sentences >= 0) if (sentences >= 0).any() else None
    return Predictions.of(
        data.labels,
        utterance_id=data.utterance_ids[rows],
        corpus=data.corpus_names[rows] if tested_on is None else tested_on,
        speaker=data.speakers[rows],
        session=data.sessions[rows],
        label=Names(data.labels, data.label_ids[rows]),
        probabilities=probabilities,
        difficulty=np.full(len(rows), np.nan) if difficulty is None else difficulty[rows],
        ratings=None if vad is None else data.vad[rows],
        predicted_ratings=vad,
        sentence_trained_on=None if known is None else known[rows],
    )


__all__ = ["predict", "predictions_of", "validation_scores"]
