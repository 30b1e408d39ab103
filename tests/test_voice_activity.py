"""The voice activity detector on made sounds, and on recordings with silence between them, with noise and without."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from emomm import voice_activity
from emomm.voice_activity import FRAME
from emomm.voice_activity import VoiceActivity
from emomm.waveforms import SAMPLING_RATE

FLACS = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "emodb" / "flac"
LEAD = PAUSE = 1.5  # seconds
SPEECH, SILENCE, EITHER = 1, 0, 2


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 10 ** (level / 20), int(seconds * SAMPLING_RATE))


def vowel(seconds: float, level: float, pitch: float = 120.0) -> np.ndarray:
    """A voice-like tone with overtones and a slow rise and fall of loudness."""
    time = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    sound = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 20))
    return sound / sound.std() * 10 ** (level / 20) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))


def seconds_of_speech(sound: np.ndarray) -> np.ndarray:
    """Share of speech in each second."""
    frames = VoiceActivity()(sound)
    return np.array([part.mean() for part in np.array_split(frames, len(sound) // SAMPLING_RATE)])


def test_whether_there_is_speech_in_a_recording():
    """Three quarters of a second of a voice, as loud as the noise; not a click, nor anything steady."""
    for level in (-10, -30, -60):
        sound = np.concatenate([vowel(0.2, level, 100), vowel(0.35, level, 150), vowel(0.2, level, 120)])
        assert voice_activity.seconds_of_speech(sound) >= voice_activity.SPEECH
    spoken = noise(3, -30)
    spoken[SAMPLING_RATE : 2 * SAMPLING_RATE] += vowel(1, -30)
    assert voice_activity.seconds_of_speech(spoken) > 0.7
    click = noise(3, -70)
    click[SAMPLING_RATE] = 0.5
    assert 0 < voice_activity.seconds_of_speech(click) < voice_activity.SPEECH
    assert voice_activity.seconds_of_speech(noise(3, -30)) == voice_activity.seconds_of_speech(np.zeros(1000)) == 0


@pytest.mark.parametrize("level", [-20, -40, -60])
def test_a_voice_in_noise_at_any_level(level):
    sound = noise(8, level - 15)
    sound[3 * SAMPLING_RATE : 5 * SAMPLING_RATE] += vowel(2, level)
    shares = seconds_of_speech(sound)
    assert (shares[[0, 1, 6, 7]] == 0).all() and (shares[3:5] > 0.9).all()
    assert shares[2] <= 0.02  # its last frame sees the beginning
    assert 0 < shares[5] < 0.4  # the hang-over


@pytest.mark.parametrize(
    "sound",
    [
        noise(8, -20),
        noise(8, -60),
        np.zeros(8 * SAMPLING_RATE),
        np.full(8 * SAMPLING_RATE, 0.3),
        0.05 * np.sin(2 * np.pi * 50 * np.arange(8 * SAMPLING_RATE) / SAMPLING_RATE) + noise(8, -60),
    ],
    ids=["loud noise", "soft noise", "digital silence", "an offset", "hum"],
)
def test_steady_sound_is_no_speech(sound):
    assert not VoiceActivity()(sound).any()


def test_new_steady_noise_is_learned():
    shares = seconds_of_speech(np.concatenate([noise(3, -70), noise(6, -35, 1)]))
    assert (shares[:2] == 0).all() and shares[2] <= 0.02 and shares[3] > 0.9 and (shares[-3:] == 0).all()


def test_pieces_change_nothing():
    sound = np.concatenate([noise(1, -60), vowel(1, -20), noise(1, -60, 1)]).astype(np.float32)
    whole, parts = VoiceActivity()(sound), VoiceActivity()
    cuts = [0, 1, 5, 700, 5000, 5001, 30000, len(sound)]
    pieces = np.concatenate([parts(sound[start:end]) for start, end in zip(cuts, cuts[1:], strict=False)])
    assert len(whole) == (len(sound) - 2 * FRAME) // FRAME + 1 and whole.any() and not whole.all()
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.skipif(not FLACS.is_dir(), reason=f"the EmoDB recordings are not at {FLACS}")
@pytest.mark.parametrize(
    ("ratio", "level", "most_missed", "most_false"),
    [(None, 0, 0.02, 0.01), (None, -40, 0.05, 0.01), (20, 0, 0.06, 0.03), (10, 0, 0.08, 0.03), (10, -40, 0.08, 0.03)],
)
def test_recordings_with_pauses(ratio, level, most_missed, most_false):
    """Frames of speech that are missed, and frames of the inserted pauses, 0.25 s after speech, taken for speech."""
    parts, truths = [np.zeros(int(LEAD * SAMPLING_RATE))], [np.full(int(LEAD * SAMPLING_RATE), SILENCE)]
    for path in sorted(FLACS.glob("*.flac"))[::13]:
        sound, rate = soundfile.read(path)
        assert rate == SAMPLING_RATE
        power = np.convolve(sound**2, np.ones(FRAME) / FRAME, "same")
        pause = np.full(int(PAUSE * SAMPLING_RATE), SILENCE)
        pause[: SAMPLING_RATE // 4] = EITHER
        parts += [sound, np.zeros(len(pause))]
        truths += [np.where(power > power.max() * 1e-4, SPEECH, EITHER), pause]
    sound, truth = np.concatenate(parts), np.concatenate(truths)
    if ratio is not None:
        power = (sound[truth == SPEECH] ** 2).mean()
        sound = sound + noise(len(sound) / SAMPLING_RATE + 1, 10 * np.log10(power) - ratio)[: len(sound)]
    sound = np.round(sound * 10 ** (level / 20) * 32768) / 32768  # what 16 bits leave of it
    found = VoiceActivity()(sound)
    truth = truth[FRAME::FRAME][: len(found)]  # in the middle of each frame
    missed, wrong = 1 - found[truth == SPEECH].mean(), found[truth == SILENCE].mean()
    print(f"{len(parts) // 2} recordings, {ratio} dB over noise, {level} dB: missed {missed:.2%}, false {wrong:.2%}")
    assert missed < most_missed and wrong < most_false
