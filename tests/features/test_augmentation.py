"""Recordings as they might have been: energies, lengths, spectra, and folders that don't hold what they should."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from emomm.errors import InputError
from emomm.features import augmentation
from emomm.features.augmentation import WaveformAugmentation
from emomm.features.sequences import Sequences
from emomm.features.windows import Windows

RATE = 16000
ALL = {"noise_snr": (0, 20), "gain_db": (-6, 6), "speed": (0.9, 1.1), "room": "simulated", "band": (2000, 4000)}


def voice(seconds=1.0, hz=440.0):
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def power(samples):
    return np.mean(np.square(samples, dtype=np.float64))


def always(**how):
    return WaveformAugmentation(share=1.0, **how)


@pytest.mark.parametrize("noise", ["white", "pink"])
@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5])
def test_noise_has_the_ratio_that_is_asked_for(noise, snr):
    samples = voice()
    heard = always(noise_snr=(snr, snr), noise=noise).augmented(samples, np.random.default_rng(1))
    assert 10 * np.log10(power(samples) / power(heard - samples)) == pytest.approx(snr, abs=1e-3)


def test_ratios_are_drawn_from_the_whole_range():
    augment, samples = always(noise_snr=(5.0, 15.0)), voice(0.2)
    heard = [augment.augmented(samples, np.random.default_rng(row)) - samples for row in range(200)]
    found = [10 * np.log10(power(samples) / power(noise)) for noise in heard]
    assert 5 <= min(found) < 5.5 and 14.5 < max(found) <= 15 and np.mean(found) == pytest.approx(10, abs=0.7)


def test_pink_noise_falls_by_three_decibels_an_octave_and_white_by_none():
    for colour, slope in (("white", 0.0), ("pink", -1.0)):
        noise = augmentation.coloured_noise(20 * RATE, colour, np.random.default_rng(0))
        frequency, density = welch(noise, RATE, nperseg=2048)
        heard = (frequency > 50) & (frequency < 7000)
        assert np.polyfit(np.log(frequency[heard]), np.log(density[heard]), 1)[0] == pytest.approx(slope, abs=0.05)
        assert power(noise) == pytest.approx(1, rel=0.02)


def test_gain_is_in_decibels():
    heard = always(gain_db=(6.0, 6.0)).augmented(voice(), np.random.default_rng(0))
    assert heard == pytest.approx(voice() * 10**0.3, rel=1e-5)


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_speed_changes_length_and_pitch(speed):
    heard = always(speed=(speed, speed)).augmented(voice(2.0), np.random.default_rng(0))
    assert len(heard) == pytest.approx(2 * RATE / speed, abs=1)
    loudest = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))).argmax() * RATE / len(heard)
    assert loudest == pytest.approx(440 * speed, abs=1)


def test_a_simulated_room_decays_as_it_should():
    response = augmentation.simulated_response(0.5, 6.0, np.random.default_rng(0))
    assert len(response) == RATE // 2 and response[0] == 1 and not response[1:40].any()
    assert 10 * np.log10(1 / np.square(response[1:]).sum()) == pytest.approx(6, abs=1e-3)
    early, late = (power(response[first : first + 800]) for first in (800, 4800))  # a quarter of a second apart
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=1.5)


def test_a_room_keeps_length_power_and_place():
    click = np.zeros(RATE, np.float32)
    click[3000] = 0.5
    heard = always(room="simulated").augmented(click, np.random.default_rng(0))
    assert heard.shape == click.shape and np.abs(heard).argmax() == 3000
    assert power(heard) == pytest.approx(power(click), rel=1e-5)
    assert np.abs(heard[:2999]).max() < 1e-6 and np.abs(heard[3100:]).max() > 1e-4


def test_band_cuts_what_is_above():
    low, high = voice(hz=500), voice(hz=4000)
    augment = always(band=(2000, 2000))
    for sound, left in ((low, 1.0), (high, 0.0)):
        heard = augment.augmented(sound, np.random.default_rng(0))[2000:]
        assert power(heard) / power(sound) == pytest.approx(left, abs=0.01)
    assert (always(band=(8000, 8000)).augmented(high, np.random.default_rng(0)) == high).all()


def test_the_same_from_the_same_generator_and_float32_whatever_is_done():
    augment, samples = always(**ALL), voice()
    before = samples.copy()
    first, again, other = (augment.augmented(samples, np.random.default_rng((3, 1, row))) for row in (7, 7, 8))
    assert first.dtype == np.float32 and (first == again).all() and (samples == before).all()
    assert len(first) != len(other) or (first != other).any()


def test_the_share_of_rows_is_changed():
    augment, samples = WaveformAugmentation(gain_db=(6, 6), share=0.3), voice(0.1)
    changed = [augment.augmented(samples, np.random.default_rng((0, row))) is not samples for row in range(2000)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.03)


def test_windows_are_augmented_by_seed_epoch_and_row():
    waves = Sequences.from_arrays(np.tile(voice(0.1), 3)[:, None], [1600] * 3)
    rows = Windows(waves, seed=5, augmentation=always(noise_snr=(0, 10)))
    first, second = rows[0], rows[1]
    rows.set_epoch(1)
    assert (rows[0] != first).any() and (second != first).any()
    rows.set_epoch(0)
    assert (rows[0] == first).all()


def test_silence_stays_silence():
    silent = np.zeros(1600, np.float32)
    assert (
        not always(noise_snr=(0, 0), room="simulated", gain_db=(3, 3))
        .augmented(silent, np.random.default_rng(0))
        .any()
    )


def write(file, samples, rate=RATE):
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, samples, rate)


def test_noise_from_a_folder(tmp_path):
    write(tmp_path / "noise" / "inner" / "long.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE))
    write(tmp_path / "noise" / "short.flac", voice(0.05, 300), 8000)
    (tmp_path / "noise" / "LICENSE").write_text("CC0")
    augment, samples = always(noise_snr=(10, 10), noise=str(tmp_path / "noise")), voice()
    heard = [augment.augmented(samples, np.random.default_rng(row)) - samples for row in range(12)]
    assert all(10 * np.log10(power(samples) / power(noise)) == pytest.approx(10, abs=1e-3) for noise in heard)
    white = [np.abs(np.fft.rfft(noise))[2000:].max() > 3 for noise in heard]  # above 2 kHz: that of the long one
    assert any(white) and not all(white)


def test_rooms_from_a_folder(tmp_path):
    response = np.zeros(RATE // 2)
    response[400], response[1200] = 0.8, 0.4  # the sound comes after 25 ms, its echo 50 ms later
    write(tmp_path / "echo.wav", response)
    click = np.zeros(RATE, np.float32)
    click[3000] = 0.5
    heard = always(room=str(tmp_path)).augmented(click, np.random.default_rng(0))
    assert heard[3800] / heard[3000] == pytest.approx(0.5, abs=1e-3) and np.abs(heard).argmax() == 3000


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"noise_snr": (10, 5)}, r"augment_noise_snr is \[10, 5\], but must be \[lowest, highest\]"),
        ({"speed": (0, 1)}, r"augment_speed is \[0, 1\].*above 0"),
        ({"band": (100,)}, "augment_band"),
        ({"gain_db": (0, float("nan"))}, "augment_gain_db"),
        ({"gain_db": (0, 1), "share": 1.5}, "augment_share is 1.5"),
    ],
)
def test_wrong_values_are_refused(how, told):
    with pytest.raises(InputError, match=told):
        WaveformAugmentation(**how)


@pytest.mark.parametrize("name", ["noise", "room"])
def test_folders_are_looked_through_before_training(tmp_path, name):
    def made(folder):
        return WaveformAugmentation(**{"noise_snr": (0, 1), name: str(folder)})

    with pytest.raises(InputError, match=f"augment_{name} is .*which is not there: give (white, pink|simulated) or"):
        made(tmp_path / "nothing")
    (tmp_path / "a.wav").write_bytes(b"no audio")
    with pytest.raises(InputError, match="which is a file"):
        made(tmp_path / "a.wav")
    with pytest.raises(InputError, match="whose a.wav can't be read as audio"):
        made(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"which holds no audio \(\.aac"):
        made(tmp_path / "empty")


def test_settings_that_ask_for_nothing_give_none():
    nothing = dict.fromkeys(f"augment_{name}" for name in ("noise_snr", "gain_db", "speed", "room", "band"))
    settings = SimpleNamespace(**nothing, augment_noise="pink", augment_share=0.5)
    assert WaveformAugmentation.from_settings(settings) is None
    settings.augment_speed = [0.9, 1.1]
    found = WaveformAugmentation.from_settings(settings)
    assert found.speed == (0.9, 1.1) and found.share == 0.5
    settings.augment_share = 0.0
    assert WaveformAugmentation.from_settings(settings) is None
