"""Is somebody speaking? A small voice activity detector, frame by frame as the sound comes in. Travels to the Hub.

A frame (40 ms, every 20 ms) is speech where its spectrum stands above the noise, in the four of twelve bands where it
does so the most. The noise is followed in each band: it falls with the sound at once and rises by so many decibels a
second, slowly while a pitch is heard (60-400 Hz, from the autocorrelation; Boersma 1993) and faster otherwise, so that
steady noise is learned in a second or two and speech is not. To begin, a frame must have a pitch or stand out clearly;
to go on, less is enough; and speech lasts for a moment after its last such frame (hang-over), over short pauses.
Everything is relative to the noise and to the loudest of the last seconds: the level of the recording doesn't matter.
"""

from dataclasses import dataclass

import numpy as np

from .waveforms import SAMPLING_RATE

FRAME = 320
"""Samples a frame advances: 20 ms."""

JUDGED = 0.75
"""Seconds: of a shorter recording `seconds_of_speech` says nothing sure, since all of it may be one vowel."""
SPEECH = 0.25
"""Seconds of speech in a recording below which there is none: as much as a click gives, with the hang-over."""

_LENGTH = 640  # samples of a frame: 40 ms, two periods of a 60 Hz voice and some
_FFT = 2048  # at least twice the length: the autocorrelation must not wrap around
_BANDS = 12
_BAND_EDGES = (100.0, 7000.0)  # Hz
_LAGS = (SAMPLING_RATE // 400, SAMPLING_RATE // 60)
_SMALLEST = -95.0  # dB of full scale, about one step of 16 bits: digital silence is no quieter


@dataclass(frozen=True)
class Vad:
    """What counts as speech.

    Args:
        begin: dB above the noise with which speech begins, where there is a pitch.
        begin_unpitched: the same, where there is none: a strong s or f, a whisper.
        keep: dB above the noise with which it goes on.
        pitch: normalised autocorrelation from which a frame has a pitch.
        span: dB below the loudest of the last seconds, under which nothing is speech.
        hang_over: seconds that speech lasts after its last frame.
        rise: dB a second by which the noise may rise; of frames with a pitch.
        rise_unpitched: the same of frames without.
    """

    begin: float = 8.0
    begin_unpitched: float = 14.0
    keep: float = 5.0
    pitch: float = 0.5
    span: float = 45.0
    hang_over: float = 0.2
    rise: float = 3.0
    rise_unpitched: float = 20.0


class VoiceActivity:
    """Follows one stream of sound.

    Args:
        vad: what counts as speech.
    """

    def __init__(self, vad: Vad | None = None):
        self.vad = vad or Vad()
        self._window = np.hanning(_LENGTH + 2)[1:-1]
        self._own = np.fft.irfft(np.abs(np.fft.rfft(self._window, _FFT)) ** 2)[: _LAGS[1] + 1]
        edges = np.geomspace(*_BAND_EDGES, _BANDS + 1) * _FFT / SAMPLING_RATE
        self._starts = np.unique(np.round(edges).astype(int))
        self._rest = np.zeros(0, np.float32)
        self._noise: np.ndarray | None = None
        self._smooth: np.ndarray | None = None
        self._loudest = _SMALLEST
        self._speaking = False
        self._since = np.inf  # seconds since the last frame that was speech by itself

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The next samples (n,) at 16 kHz to a bool for each frame that they complete; what is over is kept."""
        sound = np.concatenate([self._rest, np.asarray(samples, dtype=np.float32)])
        count = max((len(sound) - _LENGTH) // FRAME + 1, 0)
        self._rest = sound[count * FRAME :]
        if not count:
            return np.zeros(0, bool)
        frames = np.lib.stride_tricks.sliding_window_view(sound, _LENGTH)[::FRAME][:count]
        levels, pitch = self._measure(frames.astype(np.float64))
        return np.array([self._next(level, one) for level, one in zip(levels, pitch, strict=True)])

    def _measure(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(frames, 640) to the level of each band (frames, bands) in dB, and how periodic each frame is, 0-1."""
        frames = (frames - frames.mean(axis=1, keepdims=True)) * self._window
        power = np.abs(np.fft.rfft(frames, _FFT)) ** 2
        scale = 2 / (_FFT * (self._window**2).sum())  # power of the frame's own samples
        sums = np.add.reduceat(power, self._starts, axis=1)[:, :-1]
        levels = 10 * np.log10(sums * scale + 10 ** (_SMALLEST / 10))
        own = np.fft.irfft(power)[:, : _LAGS[1] + 1]
        ratio = own[:, _LAGS[0] :] / self._own[_LAGS[0] :] * self._own[0]
        return levels, ratio.max(axis=1) / (own[:, 0] + 1e-9)

    def _next(self, levels: np.ndarray, pitch: float) -> bool:
        vad, seconds = self.vad, FRAME / SAMPLING_RATE
        if self._noise is None:
            self._noise, self._smooth = levels.copy(), levels.copy()
        self._smooth = 0.6 * self._smooth + 0.4 * levels
        pitched = pitch >= vad.pitch
        above = float(np.sort(levels - self._noise)[-4:].mean())
        loud = float(10 * np.log10((10 ** (levels / 10)).sum()))
        self._loudest = max(loud, self._loudest - 2 * seconds)
        heard = loud > self._loudest - vad.span
        needed = vad.keep if self._speaking else vad.begin if pitched else vad.begin_unpitched
        if heard and above >= needed:
            self._since = 0.0
        else:
            self._since += seconds
        self._speaking = self._since <= vad.hang_over
        rise = (vad.rise if pitched else vad.rise_unpitched) * seconds
        self._noise = np.minimum(self._smooth, self._noise + rise)
        return self._speaking


def seconds_of_speech(samples: np.ndarray, vad: Vad | None = None) -> float:
    """In a recording, (n,) at 16 kHz.

    None of 240 random pieces of 0.75 s of EmoDB (above -40 dB) has less than `SPEECH`, and none of 27 of its
    recordings in white, pink or babble noise as loud as themselves less than 0.6 s. A steady sound (a room, a hum,
    noise) has none.
    """
    return float(VoiceActivity(vad)(samples).sum()) * FRAME / SAMPLING_RATE


__all__ = ["FRAME", "JUDGED", "SPEECH", "Vad", "VoiceActivity", "seconds_of_speech"]
