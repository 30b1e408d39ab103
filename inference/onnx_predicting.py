"""Recordings predicted with a model that `emomm export --format onnx` wrote, without torch."""

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from ..errors import InputError
from ..interruption import heed
from .onnx_model import OnnxModel
from .shown_results import why


def predict_recordings(
    model: str,
    recordings: Sequence[str],
    texts: Sequence[str | None] | None = None,
    batch_size: int = 8,
    any_sound: bool = False,
) -> list[dict[str, Any]]:
    """As `predicting.predict_recordings`, with the folder of an ONNX model."""
    emotion = OnnxModel(model)
    if emotion.hears:
        emotion.voice  # noqa: B018 a model that takes no recordings is refused before anything
    rows = (
        {"audio": each, "text": text} for each, text in zip(recordings, texts or [None] * len(recordings), strict=True)
    )
    results = emotion.results(rows, batch_size, any_sound)
    found = list(tqdm(results, total=len(recordings), desc="listening", unit="recording", disable=None))
    heed()  # a decoder may have taken a signal for damage
    found = [{"recording": name, **result} for name, result in zip(recordings, found, strict=True)]
    if all(result["error"] is not None for result in found):
        raise InputError("; ".join(map(why, found)))
    return found


__all__ = ["predict_recordings"]
