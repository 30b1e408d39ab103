"""Any recording to a mono waveform at one rate, or a clear refusal. Travels to the Hub with the model."""

import http.client
import io
import logging
import math
import os
import re
import threading
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from .compressed_audio import AudioError
from .compressed_audio import CompressedAudio
from .compressed_audio import compressed_kind
from .compressed_audio import compressed_seconds
from .sample_scale import from_integers
from .sample_scale import in_scale

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
_UNLIKELY = 1e7  # seconds: a header that says more says nothing
_SCHEME = re.compile(r"(\w[\w+.-]+)://")  # of a URL; a drive is one letter
_TIMEOUT = 30  # seconds without a byte
_DOWNLOAD_TIME = 300  # seconds for all of it


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


@dataclass
class _Sound:
    """A recording as it was found.

    Args:
        samples: (n,), or more than one channel in either order.
        rate: Hz.
        name: for messages.
        seconds: that it says it has; 0 where it doesn't say.
        cut: whether it is longer than what was read of it.
        notes: what is to be said of it.
    """

    samples: np.ndarray
    rate: int
    name: str = "the recording"
    seconds: float = 0.0
    cut: bool = False
    notes: list[str] = field(default_factory=list)


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
            (channels, n); floats are of full scale 1, integers of their type's, or of 16 bits where they say so), or
            a dictionary as data sets hold them: `{"array" or "raw", "sampling_rate"}` or `{"bytes", "path"}`.
        sampling_rate: of the result, in Hz.
        source_rate: of an array, in Hz; needed for arrays alone.
        shortest: seconds; less is refused.
        longest: seconds; more is refused.

    Raises:
        AudioError: no file, no audio, no samples, NaN or infinite values, too short or too long, samples of a scale
            that can't be told.
    """
    if isinstance(source, Waveform):
        sound = _Sound(source.samples, source.sampling_rate)
    else:
        sound = _sound(source, source_rate, longest)
    name, rate = sound.name, sound.rate
    if not np.size(sound.samples):
        raise AudioError(f"{name} holds no samples")
    samples, notes = _mono(sound)
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(f"{name}: {bad} of {len(samples)} samples are NaN or infinite")
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{name}: its sampling rate is {rate} Hz; it must be {RATES[0]}-{RATES[1]}")
    seconds = len(samples) / rate
    if seconds < shortest:
        raise AudioError(f"{name} is too short: {seconds:.3f} s, at least {shortest:g} s are needed")
    if seconds > longest:
        known = seconds if not sound.cut else sound.seconds if seconds <= sound.seconds < _UNLIKELY else None
        shown = f"more than {longest:g} s" if known is None else f"{known:.0f} s"
        raise AudioError(f"{name} is too long: {shown}, at most {longest:g} s are taken; cut it")
    if len(samples) < round(sound.seconds * rate):
        notes.append(f"cut off: {seconds:.2f} of {sound.seconds:.2f} s are there")
    samples, scale_notes = in_scale(samples, name)
    notes += scale_notes
    largest = float(np.abs(samples).max())
    if is_silent(samples):
        notes.append("silent")
    elif (at_top := float((np.abs(samples) >= largest * (1 - 1e-4)).mean())) >= _CLIPPED:
        notes.append(f"clipped: {at_top:.1%} of the samples are at the largest value")
    if rate != sampling_rate:
        _needs(soxr, "soxr", name)
        samples = soxr.resample(samples, rate, sampling_rate)
        low = f": nothing above {rate / 2000:g} kHz" if rate < sampling_rate else ""
        notes.append(f"brought from {rate} to {sampling_rate} Hz{low}")
    return Waveform(np.ascontiguousarray(samples, dtype=np.float32), sampling_rate, tuple(notes))


def recorded_seconds(source: Any) -> float:
    """How long a recording in a file says that it is, by its header alone; 0 where that can't be told.

    Args:
        source: a path, or the bytes of a file.
    """
    content = None if isinstance(source, (str, os.PathLike)) else bytes(source)
    if content is None and not os.path.isfile(source):  # nothing that could wait for ever, as a pipe
        return 0.0
    try:
        opened = soundfile.info(os.fspath(source) if content is None else io.BytesIO(content))
        return opened.frames / opened.samplerate
    except (soundfile.SoundFileError, OSError, TypeError, ValueError, RuntimeError, ZeroDivisionError):
        pass
    try:
        file = Path(source) if content is None else content
        return compressed_seconds(file) if compressed_kind(file) is not None else 0.0
    except (OSError, ValueError):
        return 0.0


def is_silent(samples: np.ndarray) -> bool:
    """Whether nothing is above -80 dB of full scale; also where the samples are constant, but not 0."""
    return bool(np.ptp(samples) < 2 * _SILENT)


def _needs(package: Any, name: str, what: str) -> None:
    if package is None:
        raise AudioError(f"{what} can't be read without {name}: pip install soundfile soxr")


def _sound(source: Any, source_rate: int | None, longest: float) -> _Sound:
    """The recording as it is found."""
    if isinstance(source, Mapping):
        return _from_mapping(source, longest)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), "the recording", longest)
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        return _decode(_download(source), source, longest)
    if isinstance(source, (str, os.PathLike)):
        scheme = _SCHEME.match(source) if isinstance(source, str) else None
        if scheme is not None:
            raise AudioError(f"{source}: a recording is fetched from http and https alone, not from {scheme[1]}")
        path = Path(source)
        if not os.path.isfile(path):  # Path.is_file raises for names that are too long
            raise AudioError(f"{path}: there is no such file")
        if not os.path.getsize(path):
            raise AudioError(f"{path} is empty")
        return _decode(path, str(path), longest)
    if hasattr(source, "read"):
        return _decode(source, "the recording", longest)
    if hasattr(source, "get_all_samples"):  # as `datasets` decodes with torchcodec
        decoded = source.get_all_samples()
        return _sound(decoded.data.numpy().T, decoded.sample_rate, longest)
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
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return _Sound(array.astype(np.float32), int(source_rate))
    samples, notes = from_integers(array)
    return _Sound(samples, int(source_rate), notes=notes)


def _from_mapping(source: Mapping[str, Any], longest: float) -> _Sound:
    for key in ("array", "raw"):
        if source.get(key) is not None:
            return _sound(np.asarray(source[key]), source.get("sampling_rate"), longest)
    if source.get("bytes") is not None:
        sound = _sound(source["bytes"], None, longest)
        sound.name = str(source.get("path") or sound.name)
        return sound
    if source.get("path") is not None:
        return _sound(source["path"], None, longest)
    raise AudioError(f"a recording as a dictionary needs array, raw, bytes or path; it has {', '.join(source) or '-'}")


class _HttpAlone(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to http and https, and nowhere else: not to ftp, whose servers have no time limit here."""

    def redirect_request(self, request: Any, answer: Any, code: int, message: str, headers: Any, url: str) -> Any:
        if not url.lower().startswith(("http://", "https://")):
            raise urllib.error.URLError(f"it redirects to {url.partition(':')[0]}, which is not followed")
        return super().redirect_request(request, answer, code, message, headers, url)


def _download(url: str) -> io.BytesIO:
    """What a URL gives, within a time. By a thread, as neither looking up a name nor a header that comes byte by byte
    can be ended from here."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(_attempt(url)), name="emomm-download", daemon=True)
    thread.start()
    thread.join(_DOWNLOAD_TIME)
    if not found:
        raise AudioError(f"{url} took longer than {_DOWNLOAD_TIME} s; fetch it yourself, and give the file")
    if isinstance(found[0], AudioError):
        raise found[0]
    return io.BytesIO(found[0])


def _attempt(url: str) -> bytes | AudioError:
    opener = urllib.request.build_opener(_HttpAlone)
    content, until = bytearray(), time.monotonic() + _DOWNLOAD_TIME
    try:
        with opener.open(url, timeout=_TIMEOUT) as answer:
            while len(content) <= _DOWNLOAD and time.monotonic() < until:
                piece = answer.read1(1 << 20)
                if not piece:
                    break
                content += piece
            left = answer.length  # of what was announced
    except (OSError, ValueError, http.client.HTTPException) as error:
        return AudioError(f"{url} can't be fetched ({' '.join(str(error).split())})")
    if len(content) > _DOWNLOAD:
        return AudioError(f"{url} is larger than {_DOWNLOAD >> 20} MB")
    if time.monotonic() >= until:
        return AudioError(f"{url} took longer than {_DOWNLOAD_TIME} s; fetch it yourself, and give the file")
    if left:
        return AudioError(f"{url} was cut off: {left} bytes did not come")
    return bytes(content)


def _decode(file: Any, name: str, longest: float) -> _Sound:
    """What a file holds, mixed to one channel, as far as `longest` and a little.

    By libsndfile (WAV, FLAC, OGG, MP3, AIFF, AU, W64 and others), else by ffmpeg or torchcodec.
    """
    _needs(soundfile, "soundfile", name)
    start = None if isinstance(file, Path) else _place(file)
    try:
        with soundfile.SoundFile(file) as opened:
            rate, channels, said = opened.samplerate, opened.channels, opened.frames / opened.samplerate
            announced = 0
            if opened.format.startswith("WAV") and isinstance(file, (Path, io.BytesIO)):
                announced = _announced(file)
            samples = _mixed(_blocks(opened), rate, channels, name, longest)
        cut = len(samples) > longest * rate
        seconds = max(said, announced / rate) if cut else announced / rate
        return _Sound(samples, rate, name, seconds, cut, _mixed_note(channels))
    except (soundfile.SoundFileError, OSError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        if isinstance(error, AudioError):
            raise
        compressed = _compressed(file, start)
        if compressed is None:
            # What libsndfile says of an MP3 that is none can't be: the file was there.
            said = "its format is not known" if "File does not exist" in str(error) else str(error).strip()
            raise AudioError(f"{name} is no audio that can be read ({said})") from error
    return _decompress(*compressed, name, longest)


def _blocks(opened: Any) -> Iterator[np.ndarray]:
    """(n, channels) float32 each, of a file that libsndfile reads."""
    while len(block := opened.read(max(_BLOCK // opened.channels, 1), dtype="float32", always_2d=True)):
        yield block


def _compressed(file: Any, start: int | None) -> tuple[Path | bytes, str] | None:
    """The file or its bytes, and of which kind it is; None where it is of none that ffmpeg is asked to read."""
    try:
        if not isinstance(file, Path):
            if start is None:
                return None
            file.seek(start)
            file = file.read(_DOWNLOAD)
        kind = compressed_kind(file)
    except (OSError, ValueError):
        return None
    return None if kind is None else (file, kind)


def _decompress(source: Path | bytes, kind: str, name: str, longest: float) -> _Sound:
    with CompressedAudio(source, kind, name, seconds=longest + 1) as opened:
        samples = _mixed(opened, opened.rate, opened.channels, name, longest)
        notes = _mixed_note(opened.channels)
        if opened.damage:
            notes.append(f"damaged: {opened.damage}")
        cut = len(samples) > longest * opened.rate
        return _Sound(samples, opened.rate, name, compressed_seconds(source) if cut else 0.0, cut, notes)


def _mixed(blocks: Iterable[np.ndarray], rate: int, channels: int, name: str, longest: float) -> np.ndarray:
    """(n,) the mean of the channels, block by block, until there are no more or it is too long."""
    if channels > CHANNELS:
        raise AudioError(f"{name} has {channels} channels; at most {CHANNELS} are taken")
    mixed, frames = [np.zeros(0, np.float32)], 0
    for block in blocks:
        mixed.append(_mean(block))
        frames += len(block)
        if frames > longest * rate:
            break
    return np.concatenate(mixed)


def _mixed_note(channels: int) -> list[str]:
    return [f"mixed from {channels} channels"] if channels > 1 else []


def _mean(samples: np.ndarray) -> np.ndarray:
    """(n, channels) to (n,)."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused, with its number
        return samples.mean(axis=1, dtype=np.float32)


def _place(file: Any) -> int | None:
    """Where an open file is; None where it can't go back."""
    try:
        return file.tell()
    except (AttributeError, OSError, ValueError):
        return None


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


def _mono(sound: _Sound) -> tuple[np.ndarray, list[str]]:
    """(n,) the mean of the channels, which are the shorter of two axes, and what is to be said."""
    samples, name = sound.samples, sound.name
    if samples.ndim == 1:
        return samples, list(sound.notes)
    if samples.ndim != 2 or min(samples.shape) > CHANNELS:
        raise AudioError(f"{name} has shape {samples.shape}; it must be (samples,) or (samples, channels)")
    if samples.shape[0] < samples.shape[1] and samples.shape[0] > 0:
        samples = samples.T
    return _mean(samples), [*_mixed_note(samples.shape[1]), *sound.notes]


__all__ = [
    "CHANNELS", "LONGEST", "RATES", "SAMPLING_RATE", "SHORTEST", "AudioError", "Waveform", "is_silent",
    "read_waveform", "recorded_seconds",
]  # fmt: skip
