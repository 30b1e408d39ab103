"""Words from a recording, by a speech recognition model. Travels to the Hub with the model."""

import re
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import pipeline

from .own_files import code_of_models
from .waveforms import SAMPLING_RATE
from .waveforms import Waveform

_PIECE = 30 * SAMPLING_RATE  # samples: as much as Whisper takes at a time
# What no one says: a phrase five times in a row, a word ten times, a character twenty times.
_LOOP = re.compile(r"(\w+\W+\w[^\n]{0,60}?)\1{4,}|\b(\w+\W+)\2{9,}|(\S)\3{19,}")
_TOKENS = 12  # a second, more than anyone speaks


class Transcriber:
    """A speech recognition model: a recording in, its words out.

    Args:
        name: folder, or id on the Hub, of a model with a CTC or sequence-to-sequence head (Whisper, wav2vec2 ...).
        device: where it runs.
        trust_remote_code: run the code that its repository brings.

    Raises:
        ValueError: it can't be loaded, or takes recordings of another rate.
    """

    def __init__(self, name: str, device: str | torch.device | None = None, trust_remote_code: bool = False):
        try:
            with code_of_models() if trust_remote_code else nullcontext():
                self._pipeline = pipeline(
                    "automatic-speech-recognition",
                    model=name,
                    dtype=torch.float32,
                    device=device,
                    trust_remote_code=trust_remote_code,
                )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"the transcriber {name!r} can't be loaded ({str(error).splitlines()[0]})") from error
        rate = self._pipeline.feature_extractor.sampling_rate
        if rate != SAMPLING_RATE:
            raise ValueError(f"{name} transcribes recordings of {rate} Hz; EmoMM reads {SAMPLING_RATE} Hz")

    def __call__(self, waveform: Waveform) -> str:
        """The words, without white space around them; "" where none were heard.

        One recording at a time: in a batch, some models give other words. Where a model falls into a loop, beams are
        tried; what loops all the same is left out.
        """
        parts = []
        for piece in pieces(waveform.samples):
            words = self._words(piece)
            if _LOOP.search(words):
                words = self._words(piece, num_beams=5)
            parts.append("" if _LOOP.search(words) else words.strip())
        return " ".join(filter(None, parts))

    def _words(self, samples: np.ndarray, num_beams: int = 1) -> str:
        options: dict[str, Any] = {}
        if self._pipeline.type in ("seq2seq", "seq2seq_whisper"):
            most = 16 + int(_TOKENS * len(samples) / SAMPLING_RATE)
            options = {"num_beams": num_beams, "max_length": most}
            if getattr(self._pipeline.model.generation_config, "is_multilingual", False):
                options["task"] = "transcribe"  # unsaid, transformers 5.23 leaves it out of the prompt: Whisper loops
        recording = {"raw": samples, "sampling_rate": SAMPLING_RATE}
        return self._pipeline(recording, **({"generate_kwargs": options} if options else {}))["text"]


def pieces(samples: np.ndarray) -> list[np.ndarray]:
    """A recording in pieces of at most 30 s, cut at the quietest tenth of a second of the last five."""
    found, step = [], SAMPLING_RATE // 10
    while len(samples) > _PIECE:
        last = samples[_PIECE - 50 * step : _PIECE].reshape(50, step)
        cut = _PIECE - 50 * step + int(np.square(last, dtype=np.float64).mean(axis=1).argmin()) * step + step // 2
        found.append(samples[:cut])
        samples = samples[cut:]
    return [*found, samples]


__all__ = ["Transcriber", "pieces"]
