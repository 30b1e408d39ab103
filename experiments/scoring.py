"""What a trained model makes of rows: its scores, and the table of its predictions."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import EvalPrediction

from ..curriculum_trainer import CurriculumTrainer
from ..curriculum_trainer import logits_of
from ..evaluation.metrics import RATINGS
from ..evaluation.metrics import emotion_scores
from ..evaluation.metrics import scalar_scores
from ..evaluation.metrics import vad_scores
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


def prediction_table(
    data: ExperimentData,
    rows: np.ndarray,
    probabilities: np.ndarray,
    vad: np.ndarray | None = None,
    difficulty: np.ndarray | None = None,
) -> pa.Table:
    """predictions.parquet: what is known of some rows, and what was made of them.

    Args:
        data: the corpora.
        rows: (n,) where they are in its arrays.
        probabilities: (n, classes); the most probable class is the prediction.
        vad: (n, 3) predicted ratings, of what gives them.
        difficulty: of *all* rows.
    """
    names = np.array(data.labels, dtype=object)
    flat = pa.array(probabilities.astype(np.float32).reshape(-1))
    hard = np.full(len(rows), np.nan) if difficulty is None else difficulty[rows]
    columns = {
        "utterance_id": data.utterance_ids[rows],
        "corpus": data.corpus_names[rows],
        "speaker": data.speakers[rows],
        "session": data.sessions[rows],
        "label": names[data.label_ids[rows]],
        "prediction": names[probabilities.argmax(-1)],
        "probabilities": pa.FixedSizeListArray.from_arrays(flat, len(names)),
        "difficulty": hard.astype(np.float32),
    }
    if vad is not None:
        columns |= {name: data.vad[rows, i] for i, name in enumerate(RATINGS)}
        columns |= {f"predicted_{name}": vad[:, i].astype(np.float32) for i, name in enumerate(RATINGS)}
    return pa.table(columns).replace_schema_metadata({"labels": json.dumps(data.labels)})


__all__ = ["predict", "prediction_table", "validation_scores"]
