"""Recordings and words to what the graphs of an exported model take, in numpy: without torch and transformers."""

import hashlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ..answers import Spans
from ..errors import InputError
from ..modalities import EMPTY_TRANSCRIPT
from ..modalities import beginning
from ..modalities import is_missing
from ..speech_features import SpeechFeatures
from ..speech_features import average_frames

_FLOOR, _RANGE = 1e-10, 8.0  # of Whisper's mel spectrogram: the least power, and powers of ten below the most


def normalized(waveform: np.ndarray) -> np.ndarray:
    """(samples,) float32 of mean 0 and variance 1, as `Wav2Vec2FeatureExtractor` makes it with `do_normalize`."""
    return ((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)).astype(np.float32)


def padded(waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms (samples,) to (batch, longest) float32, zeros where they end, and (batch, longest) int64, 1 where they
    are real."""
    lengths = np.array([len(each) for each in waveforms])
    found = np.zeros((len(waveforms), lengths.max()), np.float32)
    for row, each in zip(found, waveforms, strict=True):
        row[: len(each)] = each
    return found, (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)


def log_mel(waveform: np.ndarray, filters: np.ndarray, fft: int, hop: int, longest: int) -> np.ndarray:
    """(samples,) to Whisper's features (mels, longest // hop), as `WhisperFeatureExtractor` makes them: the logarithm
    of the power in each band of the mel scale, of a window that is filled with silence.

    Args:
        filters: (fft // 2 + 1, mels).
        fft: samples of a frame.
        hop: from one frame to the next.
        longest: samples of the window.
    """
    window = np.zeros(longest, np.float32)
    window[: len(waveform)] = waveform
    around = np.pad(window, fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(around, fft)[::hop][: longest // hop]
    weights = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)  # Hann, periodic
    power = np.abs(np.fft.rfft(frames * weights.astype(np.float32), axis=1)) ** 2  # (frames, fft // 2 + 1)
    mel = np.log10(np.maximum(filters.T @ power.T.astype(np.float32), _FLOOR))
    return ((np.maximum(mel, mel.max() - _RANGE) + 4) / 4).astype(np.float32)


class Words:
    """The tokenizer of a model.

    Args:
        folder: with tokenizer.json.
        max_length: tokens of a transcript, special ones included.
        cut: the side at which a longer one is cut.
        allow_missing: whether the model can do without words.
    """

    def __init__(self, folder: Path, max_length: int, cut: str, allow_missing: bool):
        self._max_length, self._allow_missing = max_length, allow_missing
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(max_length, direction=cut)
        self._tokenizer.no_padding()

    def tokenize(self, transcripts: Sequence[str | None]) -> list[np.ndarray]:
        """Token ids of each transcript, int64, as the model's processor gives them: empty where the words are missing
        and may be."""
        missing = [is_missing(transcript) for transcript in transcripts]
        texts = [EMPTY_TRANSCRIPT if gone else text for text, gone in zip(transcripts, missing, strict=True)]
        encoded = self._tokenizer.encode_batch([beginning(text, self._max_length) for text in texts])
        return [
            np.zeros(0, np.int64) if gone and self._allow_missing else np.array(each.ids, dtype=np.int64)
            for each, gone in zip(encoded, missing, strict=True)
        ]

    def spans(self, text: str) -> Spans:
        """Where the tokens of a transcript lie."""
        encoded = self._tokenizer.encode(beginning(text, self._max_length))
        return encoded.word_ids, encoded.offsets


class Voice:
    """The speech encoder of a model: waveforms in, out what the head takes of them.

    Args:
        described: `speech` of the folder's description.
        filters: (frequencies, mels) of Whisper's features; else None.
        run: the graph: arrays by name to `audio_features`.
    """

    def __init__(
        self,
        described: Mapping[str, Any],
        filters: np.ndarray | None,
        run: Callable[[dict[str, np.ndarray]], np.ndarray],
    ):
        self.features = SpeechFeatures.from_dict(described["features"])
        self._described, self._filters, self._run = described, filters, run
        rate, seconds = self.features.sampling_rate, described["window_seconds"]
        longest = [described["longest"]] if filters is not None else []
        longest += [max(round(seconds * rate), 1)] if seconds else []
        self._longest = min(longest, default=None)

    def frames_of(self, samples: int) -> int:
        """How many frames the encoder itself gives for so many samples."""
        if self._filters is not None:
            return -(-samples // self._described["samples_per_frame"])
        for kernel, stride in self._described["convolutions"]:
            samples = (samples - kernel) // stride + 1
        return max(samples, 0)

    def heard(self, waveforms: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """What the head is to be given of each recording (samples,): vectors (frames, width), or (width,); of some,
        those of several windows, whose logits are then averaged."""
        joined = self._described["windows_joined"]
        found = []
        for pieces in map(self._windows, waveforms):
            states = self._states(pieces)
            states = [np.concatenate(states)] if joined else states
            found.append(states if self._described["held"] else [self._pooled(each) for each in states])
        return found

    def _windows(self, waveform: np.ndarray) -> list[np.ndarray]:
        """As the model was evaluated: windows of equal length where it holds its encoder; else of Whisper's 30 s."""
        if self._longest is None or len(waveform) <= self._longest:
            return [waveform]
        if self._described["held"]:
            return np.array_split(waveform, -(-len(waveform) // self._longest))
        return [waveform[start : start + self._longest] for start in range(0, len(waveform), self._longest)]

    def _states(self, pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(frames, width) of each, at the encoder's own frame rate."""
        made = [self._prepared(piece) for piece in pieces]
        if self._filters is None:
            inputs, mask = padded(made)
        else:
            inputs, hop = np.stack(made), self._described["hop"]
            frames = self._described["longest"] // hop
            mask = (np.arange(frames) * hop < np.array([[len(piece)] for piece in pieces])).astype(np.int64)
        states = self._run({self._described["takes"]: inputs, "mask": mask})
        return [of_piece[: self.frames_of(len(piece))] for of_piece, piece in zip(states, pieces, strict=True)]

    def _prepared(self, piece: np.ndarray) -> np.ndarray:
        if self._filters is not None:
            each = self._described
            return log_mel(piece, self._filters, each["fft"], each["hop"], each["longest"])
        return normalized(piece) if self._described["normalized"] else piece

    def _pooled(self, frames: np.ndarray) -> np.ndarray:
        if self.features.pooling == "utterance":
            return frames.mean(axis=0)
        rate = self.features.sampling_rate / self._described["samples_per_frame"]
        return average_frames(frames, rate, self.features.frame_rate)


def checked(features: Any, name: str, unit: str, dim: int) -> np.ndarray:
    """Vectors of a modality, float32. Raises ValueError for another width, NaN and infinite values."""
    features = np.asarray(features, dtype=np.float32)
    if features.ndim not in (1, 2) or features.shape[-1] != dim:
        raise ValueError(f"{name} has shape {features.shape}; this model takes ({dim},) or ({unit}, {dim})")
    if not np.isfinite(features).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    return features


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_changed(folder: Path, noted: Mapping[str, str]) -> None:
    """Raises InputError for files of a folder that are not what was written there.

    Args:
        noted: digests by name.
    """
    wrong = [
        name for name, written in noted.items() if not (folder / name).is_file() or digest(folder / name) != written
    ]
    if wrong:
        raise InputError(f"{folder}: {', '.join(wrong)} is not as it was written there: copy or export it again")


__all__ = ["Voice", "Words", "checked", "digest", "log_mel", "normalized", "padded", "refuse_changed"]
