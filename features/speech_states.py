"""States of frozen speech encoders: each distinct recording is encoded once, kept on disk, and memory-mapped.

A store is a folder for one (encoder's weights, configuration and feature extractor; layers; precision); what is in it
is found by the hash of a recording's content. mapped_store.py says how its files are written and read.

What a recording is stored as depends on that recording alone, to the last bit, and not on what else is encoded: or
test rows would reach the training rows through the shape of a batch, or through padding that convolutions normalise
over. So each is encoded by itself, in windows where it is longer than the encoder takes.
"""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..errors import InputError
from ..speech_encoders import SpeechEncoder
from ..waveforms import SAMPLING_RATE
from .encoder_states import WhichStates
from .encoder_states import states_of
from .mapped_store import MappedStore
from .mapped_store import StoreWords
from .mapped_store import user_store
from .sequences import Sequences
from .voice_encoders import load_speech_encoder
from .voice_encoders import speech_fingerprint

logger = logging.getLogger(__name__)

_FORMAT = "emomm-speech-states-1"
_WHISPER_SECONDS = 30.0
_RELEASE_BYTES = 64 * 2**20
_WORDS = StoreWords(
    holds="the states of the recordings", again="its recordings are encoded again", key="recording", values="states"
)


class SpeechStateStore:
    """The stored states of one frozen encoder.

    Args:
        model_name: the encoder, as `voice_encoders` finds it.
        which: states.
        dtype: `float16` or `float32` on disk; mean vectors are always float32, as they are small.
        directory: where the stores lie; by default in the Hub's cache folder.
        window_seconds: longer recordings are encoded in equal windows of at most this, one after the other; None,
            whole. Whisper takes 30 s at most.
    """

    def __init__(
        self,
        model_name: str,
        which: WhichStates,
        dtype: str = "float16",
        directory: str | Path | None = None,
        window_seconds: float | None = None,
    ):
        self.model_name, self.which = model_name, which
        self.dtype = np.dtype(np.float32 if which.pooled else dtype)
        self.window_seconds = window_seconds
        identity = f"{_FORMAT} {speech_fingerprint(model_name)} {which} {self.dtype} {window_seconds}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.folder = (user_store("speech-states") if directory is None else Path(directory)) / f"speech-{key}"
        self._store = MappedStore(self.folder, _WORDS, large=True)

    def states(self, recordings: Sequences, keys: np.ndarray) -> Sequences:
        """The states of each recording, (frames, dim), or (1, dim) where they are pooled.

        Encodes what is not there yet.

        Args:
            recordings: n recordings of dim 1, int16 or float32; of length 0 where there is none.
            keys: (n, 16) uint8, a hash of each one's content.

        Raises:
            InputError: the disk is full, the states overflow float16, or a recording is too short for one frame.
        """
        row_keys = [key.tobytes() if length else None for key, length in zip(keys, recordings.length, strict=True)]
        row_of = {key: row for row, key in reversed(list(enumerate(row_keys))) if key is not None}
        return self._store.rows(
            row_keys, lambda missing: self._encoded(recordings, {key: row_of[key] for key in missing})
        )

    def _encoded(self, recordings: Sequences, rows: dict[bytes, int]) -> Iterator[tuple[bytes, np.ndarray]]:
        speech = load_speech_encoder(self.model_name)
        device, read = "cuda" if torch.cuda.is_available() else "cpu", 0
        try:
            speech.model.to(device)
            for key, row in tqdm(rows.items(), desc="encoding recordings", unit="recording", disable=None):
                samples = samples_of(recordings, row)
                yield key, self._checked(self._states(speech, samples), len(samples))
                read += samples.nbytes
                if read > _RELEASE_BYTES:
                    recordings.release()
                    read = 0
        finally:
            speech.model.to("cpu")
        logger.info("%d recordings encoded by %s", len(rows), speech.features.encoder)

    def _states(self, speech: SpeechEncoder, samples: np.ndarray) -> np.ndarray:
        """(frames, dim) float32."""
        seconds = self.window_seconds or len(samples) / SAMPLING_RATE
        if speech.model.config.model_type == "whisper":
            seconds = min(seconds, _WHISPER_SECONDS)
        windows = max(1, -(-len(samples) // int(seconds * SAMPLING_RATE)))
        parts = [encoded(speech, part, self.which) for part in np.array_split(samples, windows)]
        return self.which.of_row(np.concatenate(parts))

    def _checked(self, states: np.ndarray, samples: int) -> np.ndarray:
        with np.errstate(over="ignore"):
            stored = states.astype(self.dtype)
        if not np.isfinite(stored).all():
            raise InputError(
                f"the states of a recording of {samples / SAMPLING_RATE:.2f} s by {self.model_name!r} are not finite "
                f"in {self.dtype}; set store_dtype to float32"
            )
        return stored


def samples_of(recordings: Sequences, row: int) -> np.ndarray:
    """(samples,) float32 of full scale 1."""
    samples = recordings[row][:, 0]
    return samples.astype(np.float32) / 32768 if samples.dtype == np.int16 else samples.astype(np.float32, copy=False)


def encoded(speech: SpeechEncoder, samples: np.ndarray, which: WhichStates) -> np.ndarray:
    """(frames, dim) float32: the states of one recording that fits into the encoder."""
    whisper = speech.model.config.model_type == "whisper"
    given = speech.feature_extractor(
        [samples],
        sampling_rate=SAMPLING_RATE,
        padding="max_length" if whisper else True,
        return_attention_mask=True,
        return_tensors="pt",
    ).to(speech.model.device)
    inputs = given[speech.feature_extractor.model_input_names[0]]
    states, real = states_of(speech.model, inputs, given.get("attention_mask"), which)
    kept = states[0, : speech.frames_of(len(samples))] if real is None else states[0][real[0]]
    return kept.cpu().numpy()


__all__ = ["SpeechStateStore", "encoded", "samples_of"]
