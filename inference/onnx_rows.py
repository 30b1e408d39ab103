"""Every row of a corpus predicted with a model that `emomm export --format onnx` wrote, without torch."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..corpora.corpus import Corpus
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modalities import register_modality
from .corpus_rows import Asked
from .corpus_rows import heard
from .corpus_rows import rows_for
from .corpus_rows import write_rows
from .onnx_inputs import Voice
from .onnx_model import OnnxModel
from .onnx_model import softmax
from .shown_results import prepare_output


def predict(
    model: str, corpus: str, output: str | Path, paths: dict[str, str] | None = None, batch_size: int = 64
) -> int:
    """As `predicting.predict`, with the folder of an ONNX model."""
    prepare_output(output)
    emotion = OnnxModel(model)
    names = [each.name for each in emotion.modalities]
    own = [each for each in emotion.modalities if each.name not in (AUDIO.name, TEXT.name)]
    for modality in own:
        register_modality(modality)
    speech = emotion.description["speech"]
    asked = Asked(
        name=model,
        labels=emotion.labels,
        modalities=names,
        widths=emotion.description["widths"],
        allow_missing=emotion.allow_missing,
        speech_encoder=emotion.description["speech_encoder"],
        audio_encoder=emotion.description["audio_encoder"],
        encoder=emotion.voice if emotion.hears and speech is not None and speech["held"] else None,
    )
    rows = rows_for(asked, corpus, paths or {}, [each.name for each in own])
    probabilities, vad = _predictions(emotion, asked.encoder, rows, batch_size)
    write_rows(output, rows, emotion.labels, probabilities, vad)
    return len(rows)


def _predictions(
    emotion: OnnxModel, encoder: Voice | None, rows: Corpus, batch_size: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Probabilities (rows, classes), and V/A/D (rows, 3) of a model that gives it; of rows in the order of their
    length, so that little is padded. Of recordings in windows, the logits are averaged.

    Args:
        encoder: of the voice, where the corpus holds recordings.
    """
    names = [each.name for each in emotion.modalities]
    tokens = emotion.words.tokenize(rows.transcripts) if emotion.reads else None
    vectors = {name: rows.vectors(name) for name in names if name != TEXT.name}
    lengths = np.array([len(each) for each in tokens]) if tokens is not None else next(iter(vectors.values())).length
    order = np.argsort(lengths, kind="stable")
    probabilities = np.empty((len(rows), len(emotion.labels)), np.float32)
    vad = np.empty((len(rows), 3), np.float32) if emotion.description["gives_vad"] else None
    for start in tqdm(range(0, len(order), batch_size), desc="predicting", unit="batch", disable=None):
        batch = order[start : start + batch_size]
        windows = [[None]] * len(batch) if encoder is None else heard(encoder, vectors[AUDIO.name], batch)
        counts = np.array([len(each) for each in windows])
        of_windows = np.repeat(batch, counts)
        columns = {name: [of_rows[row] for row in of_windows] for name, of_rows in vectors.items()}
        if encoder is not None:
            columns[AUDIO.name] = [window for each in windows for window in each]
        if tokens is not None:
            columns[TEXT.name] = [tokens[row] for row in of_windows]
        found, starts = emotion.outputs(columns), np.cumsum([0, *counts])[:-1]
        probabilities[batch] = softmax(np.add.reduceat(found["logits"], starts, axis=0) / counts[:, None])
        if vad is not None:
            vad[batch] = np.add.reduceat(found["vad"], starts, axis=0) / counts[:, None]
    return probabilities, vad


__all__ = ["predict"]
