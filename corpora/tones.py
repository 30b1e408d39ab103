"""Waveforms with known answer: which class it is, the order of low and high tones says, and nothing else."""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import soundfile

RATE = 16000
"""Samples a second."""

PATTERNS = ("LLHH", "HLLH", "LHLH", "HHLL", "LHHL", "HLHL")
"""Low and high tones of a class, in the order of the classes; a row that doesn't tell its class has one of those that
are left over. Each has two of both: what is heard, but for its order, is the same in all."""
MOST_CLASSES = len(PATTERNS) - 1

_PITCH = (370.0, 430.0)  # Hz, of a speaker's low tone
_HIGH = 4.0  # times the low tone
_TONE = (0.072, 0.088)  # seconds, of a row's tones
_EDGE = 0.05  # seconds of noise at most, before and after
_RISE = 0.01  # seconds until a tone is as loud as it gets
_OVERTONES = 0.2  # at most, of the tone itself, of each of the two overtones: a speaker's timbre
_NOISE = 0.1  # of a tone's power by amplitude: 20 dB below
_LOUDNESS = (0.05, 0.15)  # root mean square of a tone, full scale being 1


def recorded(
    shown: Sequence[int], speaker: np.ndarray, missing: np.ndarray, rng: np.random.Generator
) -> pa.StructArray:
    """A recording of each row as `datasets.Audio` stores it, {bytes: a WAV file of 16 bits, path}; null where missing.

    Args:
        shown: (rows,) number of the pattern.
        speaker: (rows,) whose pitch and timbre it has, from 0.
        missing: (rows,) rows without voice.
    """
    count = int(speaker.max()) + 1
    pitch, overtones = rng.uniform(*_PITCH, size=count), rng.uniform(0, _OVERTONES, size=(count, 2))
    rows = []
    for row, (pattern, whose) in enumerate(zip(shown, speaker, strict=True)):
        samples = _sound(PATTERNS[pattern], pitch[whose], overtones[whose], rng)
        rows.append(None if missing[row] else {"bytes": _wav(samples), "path": f"row-{row}.wav"})
    return pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def _sound(pattern: str, pitch: float, overtones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) the tones, one after the other, in noise."""
    time = np.arange(round(rng.uniform(*_TONE) * RATE)) / RATE
    rise = np.minimum(1, np.minimum(time, time[::-1]) / _RISE)
    pitch *= rng.uniform(0.97, 1.03)  # nobody hits the same note twice
    parts = [np.zeros(round(rng.uniform(0, _EDGE) * RATE))]
    for tone in pattern:
        frequency = pitch * (_HIGH if tone == "H" else 1)
        phases = rng.uniform(0, 2 * np.pi, size=3)
        waves = [np.sin(2 * np.pi * frequency * n * time + phase) for n, phase in enumerate(phases, 1)]
        heard = waves[0] + overtones @ np.array(waves[1:])
        parts.append(rise * heard / np.sqrt(np.square(heard).mean()))
    parts.append(np.zeros(round(rng.uniform(0, _EDGE) * RATE)))
    samples = np.concatenate(parts)
    samples += _NOISE * rng.standard_normal(len(samples))
    return samples * rng.uniform(*_LOUDNESS)


def _wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


__all__ = ["MOST_CLASSES", "PATTERNS", "RATE", "recorded"]
