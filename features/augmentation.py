"""Recordings as they might have been: other speed, rooms, noise, band and level, in training alone.

Each change is a function of the samples and a generator, which is made from (seed, epoch, row): a run that was
interrupted, or reads its rows in other processes, hears what it would have heard. The order is that of the world: the
voice (speed), the room, the noise there, the line (band), its level (gain).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from scipy.signal import butter
from scipy.signal import fftconvolve
from scipy.signal import sosfilt

from ..errors import InputError
from ..errors import show
from ..waveforms import SAMPLING_RATE
from ..waveforms import AudioError
from ..waveforms import read_waveform
from ..waveforms import recorded_seconds

ENDINGS = frozenset(".wav .flac .ogg .oga .opus .mp3 .aif .aiff .au .w64 .m4a .aac .wma .webm".split())
"""Of files that noise and responses of rooms are read from."""
SIMULATED = "simulated"

_REVERBERATION = (0.2, 0.8)  # seconds until a simulated room's sound has fallen by 60 dB: a living room to a hall
_DIRECT = (0.0, 12.0)  # dB: how much stronger the direct sound is than all reflections
_BEFORE_REFLECTIONS = 0.0025  # seconds: no wall is nearer than some 40 cm of way
_ORDER = 8  # of the filter that cuts the band: 48 dB an octave
_WIDEST = 0.99 * SAMPLING_RATE / 2  # Hz: an upper limit above it cuts nothing

Range = tuple[float, float]
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class WaveformAugmentation:
    """What may be done to a recording. A range is the lowest and highest value, drawn uniformly; None does nothing.

    Args:
        noise_snr: signal-to-noise ratio in dB, over the samples that are given, of noise that is added.
        noise: "white", "pink" (power falls by 3 dB an octave), or a folder of recordings of noise.
        gain_db: gain in dB.
        speed: 1.1 is a tenth faster, and that much higher in pitch: 1 / 1.1 of the samples are left.
        room: "simulated", or a folder of recorded responses of rooms. Direct sound and power stay as they were.
        band: upper limit in Hz, above which all is cut.
        share: of the rows that are changed at all, in [0, 1]; each of these is changed in all ways asked for.

    Raises:
        InputError: a value out of range; a folder that isn't there, holds no audio, or a file that can't be read.
    """

    noise_snr: Range | None = None
    noise: str = "white"
    gain_db: Range | None = None
    speed: Range | None = None
    room: str | None = None
    band: Range | None = None
    share: float = 0.5
    _noises: tuple[Path, ...] = field(init=False, default=())
    _responses: tuple[Path, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        for name, lowest in (("noise_snr", -np.inf), ("gain_db", -np.inf), ("speed", 0.0), ("band", 0.0)):
            ends = getattr(self, name)
            if ends is None:
                continue
            if len(ends) != 2 or not np.isfinite(ends).all() or not lowest < ends[0] <= ends[1]:
                above = "" if np.isinf(lowest) else f" above {lowest:g}"
                raise InputError(
                    f"augment_{name} is {show(list(ends))}, but must be [lowest, highest], numbers{above}"
                )
        if not 0 <= self.share <= 1:
            raise InputError(f"augment_share is {show(self.share)}, but must be a share, from 0 to 1")
        fill = object.__setattr__  # the class is frozen: what is derived is filled in once, here
        if self.noise_snr is not None and self.noise not in ("white", "pink"):
            fill(self, "_noises", _recordings("augment_noise", self.noise, "white, pink"))
        if self.room is not None and self.room != SIMULATED:
            fill(self, "_responses", _recordings("augment_room", self.room, SIMULATED))

    @classmethod
    def from_settings(cls, settings: Any) -> "WaveformAugmentation | None":
        """What the settings `augment_*` ask for; None where they ask for nothing."""
        names = ("noise_snr", "gain_db", "speed", "room", "band")
        asked = {name: getattr(settings, f"augment_{name}") for name in names}
        if not settings.augment_share or all(value is None for value in asked.values()):
            return None
        ranges = {name: tuple(value) if isinstance(value, list) else value for name, value in asked.items()}
        return cls(**ranges, noise=settings.augment_noise, share=settings.augment_share)

    def augmented(self, samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The recording as it might have been.

        Args:
            samples: (n,) float32 at 16 kHz.
            generator: where all is drawn from.

        Returns (m,) float32; only another speed makes m another number than n.
        """
        if generator.random() >= self.share or not len(samples):
            return samples
        for change in self._changes():
            samples = change(samples, generator)
        return np.ascontiguousarray(samples, dtype=np.float32)

    def _changes(self) -> list[Change]:
        changes: list[Change] = []
        if self.speed is not None:
            changes.append(lambda samples, drawn: at_speed(samples, drawn.uniform(*self.speed)))
        if self.room is not None:
            changes.append(lambda samples, drawn: in_room(samples, self._response(drawn)))
        if self.noise_snr is not None:
            changes.append(self._with_noise)
        if self.band is not None:
            changes.append(lambda samples, drawn: below(samples, drawn.uniform(*self.band)))
        if self.gain_db is not None:
            changes.append(lambda samples, drawn: samples * np.float32(10 ** (drawn.uniform(*self.gain_db) / 20)))
        return changes

    def _with_noise(self, samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        snr = generator.uniform(*self.noise_snr)
        if self._noises:
            noise = _stretch(_read(self._noises[generator.integers(len(self._noises))]), len(samples), generator)
        else:
            noise = coloured_noise(len(samples), self.noise, generator)
        return with_noise(samples, noise, snr)

    def _response(self, generator: np.random.Generator) -> np.ndarray:
        if self._responses:
            return _read(self._responses[generator.integers(len(self._responses))])
        return simulated_response(generator.uniform(*_REVERBERATION), generator.uniform(*_DIRECT), generator)


def at_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    """(n,) to (n / speed,): the recording played so many times as fast, pitch and all."""
    if speed == 1:
        return samples
    return soxr.resample(samples, SAMPLING_RATE * speed, SAMPLING_RATE)


def coloured_noise(length: int, colour: str, generator: np.random.Generator) -> np.ndarray:
    """(length,) float32 of power 1 or about: white, or pink, whose power goes with one over the frequency."""
    noise = generator.standard_normal(length, dtype=np.float32)
    if colour == "white":
        return noise
    spectrum = np.fft.rfft(noise)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0  # nothing is heard of it
    pink = np.fft.irfft(spectrum, length).astype(np.float32)
    return pink / max(_rms(pink), np.finfo(np.float32).tiny)


def with_noise(samples: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Both (n,) added, the noise so loud that their powers are `snr` dB apart. Silence of either changes nothing."""
    power = _rms(noise)
    if power == 0:
        return samples
    return samples + noise * np.float32(_rms(samples) / power * 10 ** (-snr / 20))


def simulated_response(seconds: float, direct: float, generator: np.random.Generator) -> np.ndarray:
    """(m,) float32: the direct sound, then reflections as noise that decays by 60 dB within `seconds` (Polack 1988).

    Args:
        direct: dB that the direct sound is stronger than all reflections.
    """
    time = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    reflections = generator.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    reflections[time < _BEFORE_REFLECTIONS] = 0
    reflections *= 10 ** (-direct / 20) / np.sqrt(np.square(reflections).sum())
    reflections[0] = 1
    return reflections.astype(np.float32)


def in_room(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """(n,) to (n,): as heard through the response, of the same power, the direct sound (its peak) where it was."""
    peak = int(np.abs(response).argmax())
    heard = fftconvolve(samples, response)[peak : peak + len(samples)]
    power = _rms(heard)
    return samples if power == 0 else (heard * (_rms(samples) / power)).astype(np.float32)


def below(samples: np.ndarray, limit: float) -> np.ndarray:
    """(n,) to (n,): without what lies above `limit` Hz."""
    if limit >= _WIDEST:
        return samples
    return sosfilt(butter(_ORDER, limit, fs=SAMPLING_RATE, output="sos"), samples).astype(np.float32)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _stretch(noise: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
    """(length,) of a longer recording from a drawn place on; a shorter one is repeated, from a drawn place on too."""
    if len(noise) < length:
        return np.resize(np.roll(noise, -generator.integers(len(noise))), length)
    start = generator.integers(len(noise) - length + 1)
    return noise[start : start + length]


def _recordings(setting: str, folder: str, words: str) -> tuple[Path, ...]:
    """The files of audio in a folder and those below, in order of their names; each can be read, by its header.

    Raises InputError.
    """
    root = Path(folder)
    if not root.is_dir():
        what = "is a file" if root.exists() else "is not there"
        raise InputError(f"{setting} is {show(folder)}, which {what}: give {words} or a folder of recordings")
    found = [
        Path(place, name)
        for place, folders, names in os.walk(root, followlinks=True)
        if not folders.sort() and not any(part.startswith(".") for part in Path(place).relative_to(root).parts)
        for name in sorted(names)
        if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS
    ]
    if not found:
        raise InputError(f"{setting} is {show(folder)}, which holds no audio ({', '.join(sorted(ENDINGS))})")
    for file in found:
        if not recorded_seconds(file) > 0:
            raise InputError(f"{setting} is {show(folder)}, whose {file.relative_to(root)} can't be read as audio")
    return tuple(found)


@lru_cache(maxsize=64)
def _read(file: Path) -> np.ndarray:
    """(n,) float32 at 16 kHz."""
    try:
        return read_waveform(file, shortest=0.0).samples
    except AudioError as error:
        raise InputError(f"a recording for the augmentation can't be read: {error}") from error


__all__ = [
    "SIMULATED", "WaveformAugmentation", "at_speed", "below", "coloured_noise", "in_room", "simulated_response",
    "with_noise",
]  # fmt: skip
