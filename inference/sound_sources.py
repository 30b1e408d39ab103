"""Where live sound comes from: a file, a pipe of raw PCM, or the microphone, as blocks of mono samples at 16 kHz."""

import logging
import math
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from ..compressed_audio import AudioError
from ..compressed_audio import CompressedAudio
from ..compressed_audio import compressed_kind
from ..errors import InputError
from ..sample_scale import BEYOND
from ..waveforms import CHANNELS
from ..waveforms import RATES
from ..waveforms import SAMPLING_RATE

logger = logging.getLogger(__name__)

FORMATS = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
"""Raw samples, named as ffmpeg names them."""
MICROPHONE = "microphone"

_BLOCK = 0.1  # seconds of a file or the microphone that come at a time
_READ = 1 << 16  # bytes, as many as a pipe holds
_BUFFER = 60.0  # seconds that may wait to be taken
_AHEAD = 3.0  # seconds ahead of the clock, and of patience until a pipe is taken to be live
_ENDINGS = (".pcm", ".raw")
_LARGEST = 1e6  # of full scale: raw samples beyond are of another format, or torn
_CONTAINERS = {b"RIFF": "a WAV file", b"fLaC": "a FLAC file", b"OggS": "an Ogg file", b"ID3\x03": "an MP3 file"}


@dataclass(frozen=True)
class Pcm:
    """How raw samples are to be read.

    Args:
        rate: samples a second.
        channels: taken in turn; their mean is used.
        format: of `FORMATS`.
    """

    rate: int = SAMPLING_RATE
    channels: int = 1
    format: str = "s16le"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(f"the format is {self.format!r}; it can be {', '.join(FORMATS)}")
        if not 1000 <= self.rate <= 768000:
            raise InputError(f"the rate is {self.rate} Hz; it must be 1000-768000")
        if not 1 <= self.channels <= 64:
            raise InputError(f"there are {self.channels} channels; it must be 1-64")


@dataclass(frozen=True)
class Source:
    """Sound to come.

    Args:
        name: for messages.
        blocks: (n,) float32 mono at 16 kHz each; opened when the first is taken.
        live: whether it goes on whether it is listened to or not: what isn't taken in time is old. None for a pipe,
            where its speed tells.
    """

    name: str
    blocks: Iterator[np.ndarray]
    live: bool | None


def open_source(source: str | os.PathLike | BinaryIO, pcm: Pcm | None = None, realtime: bool = False) -> Source:
    """Finds out what a source is.

    Args:
        source: path of an audio file; of a FIFO, device or `.raw` or `.pcm` file with raw samples; `-` for those on
            stdin, or an open binary stream of them; `microphone`, or `microphone:NAME`, NAME a device of sounddevice.
        pcm: how raw samples are to be read.
        realtime: a file comes as slowly as it plays.

    Raises:
        InputError: there is no such file, it is no audio; no sounddevice for the microphone; a terminal as stdin.
    """
    pcm = pcm or Pcm()
    if hasattr(source, "read"):
        return Source("the stream", pcm_blocks(source, pcm, "the stream"), None)
    name = os.fspath(source)
    kind, _, device = name.partition(":")
    if kind == MICROPHONE and not Path(name).exists():
        return Source(kind, microphone_blocks(_sounddevice(), device), True)
    if name == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError(
                "stdin is a terminal: pipe raw samples into it, as ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -"
            )
        return Source("stdin", pcm_blocks(sys.stdin.buffer.raw, pcm, "stdin"), None)
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"{path}: there is no such file; a microphone is `{MICROPHONE}`, stdin is `-`") from error
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return Source(name, _opened(path, pcm), None)
    if path.suffix.lower() in _ENDINGS and stat.S_ISREG(mode):
        blocks = _opened(path, pcm)
    else:
        blocks = _file_blocks(path)
    return Source(name, _paced(blocks) if realtime else blocks, realtime)


def without_bad(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """The samples with 0 where they are NaN, infinite or absurdly large, and how many those were."""
    good = np.abs(samples) <= _LARGEST  # False for NaN
    bad = int(good.size - good.sum())
    return (np.where(good, samples, np.float32(0)), bad) if bad else (samples, 0)


def pcm_blocks(stream: BinaryIO, pcm: Pcm, name: str) -> Iterator[np.ndarray]:
    """Raw samples as they come. A last sample that isn't whole is left out, and that is said.

    Raises InputError for a file with a header.
    """
    kind = FORMATS[pcm.format]
    frame = kind.itemsize * pcm.channels
    rest, begun, bad = b"", False, 0
    to_rate, watch_scale = _Resampler(pcm.rate), _Scale(name)
    while piece := stream.read(_READ):
        rest += piece
        if not begun and len(rest) >= 4:
            begun = True
            if rest[:4] in _CONTAINERS:
                raise InputError(
                    f"{name} holds {_CONTAINERS[rest[:4]]}, not raw samples: give the file itself, or pipe it through "
                    "ffmpeg -i - -f s16le -ac 1 -ar 16000 -"
                )
        whole = len(rest) // frame * frame
        samples = np.frombuffer(rest[:whole], kind).astype(np.float32)
        rest = rest[whole:]
        if kind.kind == "i":
            samples /= 32768
        if len(samples):
            samples, of_piece = without_bad(samples.reshape(-1, pcm.channels))
            bad += of_piece
            watch_scale(samples)
            yield to_rate(samples.mean(axis=1, dtype=np.float32))
    _say_bad(name, bad)
    if rest:
        logger.warning("%s ends within a sample: its last %d bytes are left out", name, len(rest))
    yield to_rate(np.zeros(0, np.float32), last=True)


def microphone_blocks(sounddevice: Any, device: str = "") -> Iterator[np.ndarray]:
    """What the microphone hears, at its own rate.

    Args:
        sounddevice: the package.
        device: name, a part of it, or number; "" is the system's.

    Raises InputError where it can't be opened.
    """
    number: int | str | None = int(device) if device.isdecimal() else device or None
    try:
        rate = int(sounddevice.query_devices(number, "input")["default_samplerate"])
        to_rate = _Resampler(rate)
        with sounddevice.InputStream(samplerate=rate, device=number, channels=1, dtype="float32") as stream:
            while True:
                block, overflowed = stream.read(int(rate * _BLOCK))
                if overflowed:
                    logger.warning("the microphone was read too late: some of its sound is lost")
                yield to_rate(block[:, 0])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise InputError(f"the microphone {device!r} can't be opened ({error})".replace("''", "").strip()) from error


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the package is there, PortAudio isn't
        raise InputError(f"the microphone needs sounddevice: pip install sounddevice ({error})") from error
    return sounddevice


def _opened(path: Path, pcm: Pcm) -> Iterator[np.ndarray]:
    try:
        with open(path, "rb", buffering=0) as stream:  # of a FIFO: waits for a writer
            yield from pcm_blocks(stream, pcm, str(path))
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror})") from error


def _file_blocks(path: Path) -> Iterator[np.ndarray]:
    """An audio file, block by block: however long it is, little of it is in memory."""
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        compressed = _compressed(path)
        if compressed is None:
            raise InputError(f"{path} is no audio that can be read ({str(error).strip()})") from error
        return _at_rate(path, compressed, compressed.rate, compressed.channels, _cut(compressed))
    return _at_rate(path, file, file.samplerate, file.channels, _read(path, file))


def _compressed(path: Path) -> CompressedAudio | None:
    """A file that ffmpeg or torchcodec reads; None where it is of no such kind."""
    try:
        kind = compressed_kind(path)
        return None if kind is None else CompressedAudio(path, kind, str(path), limit=math.inf)
    except OSError:
        return None
    except AudioError as error:
        raise InputError(str(error)) from error


def _at_rate(path: Path, file: Any, rate: int, channels: int, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The (n, channels) blocks of an open file, mixed and at 16 kHz; the file is closed at the end."""
    if not RATES[0] <= rate <= RATES[1] or channels > CHANNELS:
        file.close()
        raise InputError(
            f"{path} has {channels} channels at {rate} Hz; it must have at most {CHANNELS}, at "
            f"{RATES[0]}-{RATES[1]} Hz"
        )

    def mixed() -> Iterator[np.ndarray]:
        bad = 0
        to_rate, watch_scale = _Resampler(rate), _Scale(str(path))
        with file:
            for block in blocks:
                block, of_block = without_bad(block)
                bad += of_block
                watch_scale(block)
                yield to_rate(block.mean(axis=1, dtype=np.float32))
        _say_bad(str(path), bad)
        yield to_rate(np.zeros(0, np.float32), last=True)

    return mixed()


def _read(path: Path, file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    try:
        while len(block := file.read(int(file.samplerate * _BLOCK), dtype="float32", always_2d=True)):
            yield block
    except soundfile.SoundFileError as error:
        raise InputError(f"{path} can't be read to its end ({str(error).strip()})") from error


def _cut(file: CompressedAudio) -> Iterator[np.ndarray]:
    """Its blocks as short as those of other files."""
    step = int(file.rate * _BLOCK)
    try:
        for block in file:
            yield from (block[first : first + step] for first in range(0, len(block), step))
    except AudioError as error:
        raise InputError(str(error)) from error
    if file.damage:
        logger.warning("%s is damaged: %s", file.name, file.damage)


def _say_bad(name: str, bad: int) -> None:
    if bad:
        logger.warning("%s: %d samples are NaN, infinite or far too large, and were taken as silence", name, bad)


class _Scale:
    """Says once that a source's samples are of another scale than they should be; what is live can't be read again."""

    def __init__(self, name: str):
        self._name, self._said = name, False

    def __call__(self, samples: np.ndarray) -> None:
        largest = np.abs(samples).max(initial=0)
        if largest > BEYOND and not self._said:
            self._said = True
            logger.warning(
                "%s: its samples go up to %.3g, where full scale is 1: they are of another format or scale, and what "
                "is said of them means nothing",
                self._name,
                largest,
            )


class _Resampler:
    """A stream of (n,) samples from `rate` to 16 kHz."""

    def __init__(self, rate: int):
        self._stream = None
        if rate != SAMPLING_RATE:
            self._stream = soxr.ResampleStream(rate, SAMPLING_RATE, 1, dtype="float32")

    def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)


def _paced(
    blocks: Iterable[np.ndarray],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[np.ndarray]:
    """Each block once it would have been spoken."""
    began, heard = clock(), 0
    for block in blocks:
        heard += len(block)
        sleep(max(began + heard / SAMPLING_RATE - clock(), 0))
        yield block


class Arrivals:
    """Takes a source's blocks in a thread of its own, and hands on all that has come, whenever it is asked.

    So nobody who writes into a pipe waits for a model, and what came meanwhile is there at once. The writer waits only
    when a minute of sound is there already: a recording that comes as fast as it is taken.

    Args:
        source: to take from.
        clock: in seconds.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic):
        self._source = source
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[np.ndarray] = []
        self._ended = self._given_up = self._ahead = False
        self._error: BaseException | None = None
        self._began: float | None = None
        self._received = 0

    @property
    def name(self) -> str:
        """Of the source, for messages."""
        return self._source.name

    @property
    def live(self) -> bool:
        """Whether what isn't taken in time is old. A pipe is, unless it was ever far ahead of the clock: then it is a
        recording, of which nothing may be left out."""
        if self._source.live is not None:
            return self._source.live
        began = self._began
        return not self._ahead and began is not None and self._clock() - began > _AHEAD

    def __iter__(self) -> Iterator[np.ndarray]:
        """What has come since the last time, (n,) float32 with n > 0, until the source ends.

        Raises what the source raised.
        """
        threading.Thread(target=self._take, name="emomm-live-source", daemon=True).start()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._ended)
                    pieces, self._waiting = self._waiting, []
                    self._changed.notify_all()
                if pieces:
                    yield np.concatenate(pieces)
                elif self._error is not None:
                    raise self._error
                else:
                    return
        finally:
            with self._changed:
                self._given_up = True
                self._changed.notify_all()

    def _take(self) -> None:
        try:
            for block in self._source.blocks:
                if self._given_up:
                    break
                self._add(block)
        except BaseException as error:  # it is the listener's to see
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _add(self, block: np.ndarray) -> None:
        now = self._clock()
        with self._changed:
            self._began = now if self._began is None else self._began
            self._received += len(block)
            self._ahead |= self._received / SAMPLING_RATE - (now - self._began) > _AHEAD
            if len(block):
                self._waiting.append(block)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._given_up or sum(map(len, self._waiting)) <= _BUFFER * SAMPLING_RATE)


__all__ = [
    "FORMATS",
    "MICROPHONE",
    "Arrivals",
    "Pcm",
    "Source",
    "microphone_blocks",
    "open_source",
    "pcm_blocks",
    "without_bad",
]
