"""Any recording to a mono waveform at one rate, or a clear refusal. Travels to the Hub with the model."""

import http.client
import io
import logging
import math
import os
import urllib.request
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

try:  # a model that is given features reads no recordings, and needs neither
    import soundfile
    import soxr
except ImportError:
    soundfile = soxr = None

logger = logging.getLogger(__name__)

SAMPLING_RATE = 16000
"""Samples a second that speech encoders take."""
SHORTEST = 0.1
"""Seconds: less holds no syllable, and no encoder's first frames."""
LONGEST = 3600.0
"""Seconds: more is refused before it is read; a header that lies about it costs no memory."""

RATES = (1000, 768000)
"""Hz: the lowest and highest that are taken."""
CHANNELS = 64
"""The most that are taken."""
_SILENT = 1e-4  # of full scale, -80 dB: below it a recording is silent
_CLIPPED = 0.01  # share of the samples at the largest value, from which a recording is said to be clipped
_BLOCK = 1 << 20  # samples read at a time
_DOWNLOAD = 1 << 30  # bytes
_TIMEOUT = 30  # seconds


class AudioError(ValueError):
    """A recording that can't be used; the message says which and why."""


@dataclass(frozen=True)
class Waveform:
    """A recording as speech encoders take it.

    Args:
        samples: (n,) float32, mono, full scale at 1.
        sampling_rate: samples a second.
        notes: what was done to the recording or is wrong with it, in words: other rate, several channels, silent,
            clipped.
    """

    samples: np.ndarray
    sampling_rate: int = SAMPLING_RATE
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / self.sampling_rate

    @property
    def silent(self) -> bool:
        """Whether nothing can be heard: no sample is above -80 dB of full scale."""
        return "silent" in self.notes


def read_waveform(
    source: Any,
    sampling_rate: int = SAMPLING_RATE,
    source_rate: int | None = None,
    shortest: float = SHORTEST,
    longest: float = LONGEST,
) -> Waveform:
    """Reads a recording of any rate and channel count.

    Args:
        source: a path, URL, bytes of a file, open binary file, array of samples ((n,), (n, channels) or
            (channels, n); integers are of full scale), or a dictionary as data sets hold them: `{"array" or "raw",
            "sampling_rate"}` or `{"bytes", "path"}`.
        sampling_rate: of the result, in Hz.
        source_rate: of an array, in Hz; needed for arrays alone.
        shortest: seconds; less is refused.
        longest: seconds; more is refused.

    Raises:
        AudioError: no file, no audio, no samples, NaN or infinite values, too short or too long.
    """
    if isinstance(source, Waveform):
        samples, rate, name, announced = source.samples, source.sampling_rate, "the recording", 0
    else:
        samples, rate, name, announced = _samples(source, source_rate, longest)
    if not np.size(samples):
        raise AudioError(f"{name} holds no samples")
    samples, notes = _mono(samples, name)
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(f"{name}: {bad} of {len(samples)} samples are NaN or infinite")
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{name}: its sampling rate is {rate} Hz; it must be {RATES[0]}-{RATES[1]}")
    seconds = len(samples) / rate
    if seconds < shortest:
        raise AudioError(f"{name} is too short: {seconds:.3f} s, at least {shortest:g} s are needed")
    if seconds > longest:
        raise AudioError(f"{name} is too long: {seconds:.0f} s, at most {longest:g} s are taken; cut it")
    if len(samples) < announced:
        notes.append(f"cut off: {seconds:.2f} of {announced / rate:.2f} s are there")
    largest = float(np.abs(samples).max())
    if largest > 1e6:
        raise AudioError(f"{name}: its largest sample is {largest:.3g}; full scale is 1")
    if np.ptp(samples) < 2 * _SILENT:  # also where it is constant, but not 0
        notes.append("silent")
    elif (at_top := float((np.abs(samples) >= largest * (1 - 1e-4)).mean())) >= _CLIPPED:
        notes.append(f"clipped: {at_top:.1%} of the samples are at the largest value")
    if rate != sampling_rate:
        _needs(soxr, "soxr", name)
        samples = soxr.resample(samples, rate, sampling_rate)
        low = f": nothing above {rate / 2000:g} kHz" if rate < sampling_rate else ""
        notes.append(f"brought from {rate} to {sampling_rate} Hz{low}")
    return Waveform(np.ascontiguousarray(samples, dtype=np.float32), sampling_rate, tuple(notes))


def _needs(package: Any, name: str, what: str) -> None:
    if package is None:
        raise AudioError(f"{what} can't be read without {name}: pip install soundfile soxr")


def _samples(source: Any, source_rate: int | None, longest: float) -> tuple[np.ndarray, int, str, int]:
    """The samples as they are, their rate, the recording's name for messages, and how many its header announces (0
    where it doesn't)."""
    if isinstance(source, Mapping):
        return _from_mapping(source, longest)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), "the recording", longest)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return _decode(_download(source), source, longest)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not os.path.isfile(path):  # Path.is_file raises for names that are too long
            raise AudioError(f"{path}: there is no such file")
        return _decode(path, str(path), longest)
    if hasattr(source, "read"):
        return _decode(source, "the recording", longest)
    if hasattr(source, "get_all_samples"):  # as `datasets` decodes with torchcodec
        decoded = source.get_all_samples()
        return _samples(decoded.data.numpy().T, decoded.sample_rate, longest)
    try:
        array = np.asarray(source)
    except (TypeError, ValueError) as error:
        raise AudioError(f"{type(source).__name__} is no recording ({error})") from error
    if array.dtype.kind not in "iuf":
        raise AudioError(f"{type(source).__name__} is no recording; give a path, URL, bytes or an array of numbers")
    if source_rate is None:
        raise AudioError("an array of samples needs its sampling rate")
    if isinstance(source_rate, str) or not math.isfinite(source_rate):
        raise AudioError(f"the sampling rate is {source_rate!r}; it must be a number of Hz")
    return _full_scale(array), int(source_rate), "the recording", 0


def _from_mapping(source: Mapping[str, Any], longest: float) -> tuple[np.ndarray, int, str, int]:
    for key in ("array", "raw"):
        if source.get(key) is not None:
            return _samples(np.asarray(source[key]), source.get("sampling_rate"), longest)
    if source.get("bytes") is not None:
        samples, rate, _, announced = _samples(source["bytes"], None, longest)
        return samples, rate, str(source.get("path") or "the recording"), announced
    if source.get("path") is not None:
        return _samples(source["path"], None, longest)
    raise AudioError(f"a recording as a dictionary needs array, raw, bytes or path; it has {', '.join(source) or '-'}")


def _download(url: str) -> io.BytesIO:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            content = answer.read(_DOWNLOAD + 1)
            left = answer.length  # of what was announced
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise AudioError(f"{url} can't be fetched ({error})") from error
    if len(content) > _DOWNLOAD:
        raise AudioError(f"{url} is larger than {_DOWNLOAD >> 20} MB")
    if left:
        raise AudioError(f"{url} was cut off: {left} bytes did not come")
    return io.BytesIO(content)


def _decode(file: Any, name: str, longest: float) -> tuple[np.ndarray, int, str, int]:
    """(n, channels) float32, the rate, the name, and the frames that a WAV's header announces (0 where it doesn't).

    By libsndfile: WAV, FLAC, OGG, MP3, AIFF, AU, W64 and others.
    """
    _needs(soundfile, "soundfile", name)
    announced = 0
    try:
        with soundfile.SoundFile(file) as opened:
            rate, channels = opened.samplerate, opened.channels
            if channels > CHANNELS:
                raise AudioError(f"{name} has {channels} channels; at most {CHANNELS} are taken")
            if opened.format.startswith("WAV") and isinstance(file, (Path, io.BytesIO)):
                announced = _announced(file)
            blocks, frames = [], 0
            while True:
                block = opened.read(max(_BLOCK // channels, 1), dtype="float32", always_2d=True)
                frames += len(block)
                blocks.append(block)
                if not len(block) or frames > longest * rate:
                    break
    except (soundfile.SoundFileError, OSError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"{name} is no audio that can be read ({str(error).strip()})") from error
    return np.concatenate(blocks), rate, name, announced


def _announced(file: Path | io.BytesIO) -> int:
    """How many frames the header of a WAV file says there are, where the file was cut off too; 0 where none can tell.

    What was written to a pipe has no length in its header, but the largest or none.
    """
    place = file.tell() if isinstance(file, io.BytesIO) else None
    try:
        if place is not None:
            file.seek(0)
        with wave.open(str(file) if place is None else file, "rb") as opened:
            size = opened.getnframes() * opened.getsampwidth() * opened.getnchannels()
            return opened.getnframes() if size < 2**31 - 2**10 else 0
    except (wave.Error, EOFError, OSError, ValueError):
        return 0
    finally:
        if place is not None:
            file.seek(place)


def _full_scale(array: np.ndarray) -> np.ndarray:
    """Integers to float32 of full scale 1, unsigned ones around their middle; floats as they are."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    half = 2.0 ** (array.dtype.itemsize * 8 - 1)
    middle = half if array.dtype.kind == "u" else 0.0
    return ((array.astype(np.float64) - middle) / half).astype(np.float32)


def _mono(samples: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """(n,) the mean of the channels, which are the shorter of two axes, and a note of it."""
    if samples.ndim == 1:
        return samples, []
    if samples.ndim != 2 or min(samples.shape) > CHANNELS:
        raise AudioError(f"{name} has shape {samples.shape}; it must be (samples,) or (samples, channels)")
    if samples.shape[0] < samples.shape[1] and samples.shape[0] > 0:
        samples = samples.T
    channels = samples.shape[1]
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused, with its number
        mixed = samples.mean(axis=1, dtype=np.float32)
    return mixed, [f"mixed from {channels} channels"] if channels > 1 else []


__all__ = ["CHANNELS", "LONGEST", "RATES", "SAMPLING_RATE", "SHORTEST", "AudioError", "Waveform", "read_waveform"]
