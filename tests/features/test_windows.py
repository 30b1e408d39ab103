"""What of a recording a step reads: a function of seed, epoch and row, whoever asks."""

import multiprocessing

import numpy as np
import pytest

from emomm.features.sequences import Sequences
from emomm.features.windows import Windows

LENGTHS = [8000, 0, 16000, 40000, 24001]


@pytest.fixture
def waveforms():
    """Each sample is its place in the recording: windows tell where they were cut."""
    values = np.concatenate([np.arange(length) % 32000 for length in LENGTHS]).astype(np.int16)[:, None]
    return Sequences.from_arrays(values, np.array(LENGTHS))


def test_training_reads_a_random_window_of_longer_recordings(waveforms):
    windows = Windows(waveforms, seconds=1.0, seed=3)
    assert windows.lengths.tolist() == [8000, 0, 16000, 16000, 16000]
    assert windows.cut.tolist() == [False, False, False, True, True]
    assert windows[1] is None
    firsts = []
    for epoch in range(30):
        windows.set_epoch(epoch)
        for row in (0, 2):
            np.testing.assert_array_equal(windows[row], np.arange(LENGTHS[row], dtype=np.float32) / 32768)
        found = windows[4]
        assert found.dtype == np.float32 and len(found) == 16000
        first = round(found[0] * 32768)
        np.testing.assert_array_equal(found * 32768, np.arange(first, first + 16000))
        firsts.append(first)
    assert len(set(firsts)) > 25 and min(firsts) < 1000 and max(firsts) > 7000


def test_windows_follow_from_seed_epoch_and_row(waveforms):
    windows, other = Windows(waveforms, 1.0, seed=3), Windows(waveforms, 1.0, seed=4)
    windows.set_epoch(2)
    first = windows[3]
    np.random.seed(0)
    again = Windows(waveforms, 1.0, seed=3)
    again.set_epoch(2)
    again[4], again[0]  # whatever was asked for before
    np.testing.assert_array_equal(again[3], first)
    other.set_epoch(2)
    assert not np.array_equal(other[3], first)
    windows.set_epoch(1)
    assert not np.array_equal(windows[3], first)
    # Rows of the same recording have windows of their own.
    twice = Windows(waveforms.take(np.array([3, 3])), 1.0, seed=3)
    assert not np.array_equal(twice[0], twice[1])


def test_evaluation_reads_all_of_a_recording(waveforms):
    """In windows of equal length, none longer than asked and none of a rest."""
    windows = Windows(waveforms, seconds=1.0)
    assert windows[1] is None and windows[2].shape == (16000,)
    for row, sizes in ((3, [13334, 13333, 13333]), (4, [12001, 12000])):
        assert [len(window) for window in windows[row]] == sizes
        np.testing.assert_array_equal(np.concatenate(windows[row]) * 32768, np.arange(LENGTHS[row]) % 32000)
    whole = Windows(waveforms)
    assert whole[3].shape == (40000,) and not whole.cut.any() and whole.lengths.tolist() == LENGTHS


def test_float_samples_are_as_they_are_and_no_view_of_the_store():
    values = np.linspace(-1, 1, 100, dtype=np.float32)[:, None]
    found = Windows(Sequences.from_arrays(values, np.array([100])))[0]
    np.testing.assert_array_equal(found, values[:, 0])
    found[:] = 0
    assert values.any()


class Quieter:
    def augmented(self, samples, generator):
        return samples[: len(samples) // 2] * np.float32(generator.uniform())


def test_augmentation_follows_from_the_same(waveforms):
    """Of windows in training; drawn anew in each epoch; its draws are not the window's."""
    windows = Windows(waveforms, 1.0, seed=3, augmentation=Quieter())
    plain = Windows(waveforms, 1.0, seed=3)
    factors = []
    for epoch in range(5):
        windows.set_epoch(epoch), plain.set_epoch(epoch)
        np.testing.assert_array_equal(windows[4], windows[4])
        factor = windows[4][1:] / plain[4][1:8000]
        np.testing.assert_allclose(factor, factor[0], rtol=1e-5)
        factors.append(factor[0])
    assert len(set(factors)) == 5
    assert Windows(waveforms, 1.0, augmentation=Quieter())[0].shape == (8000,)


def test_a_worker_that_outlives_an_epoch_sees_it_change(waveforms):
    windows = Windows(waveforms, 1.0, seed=3)
    here, there = multiprocessing.get_context("fork").Pipe()

    def work():
        while there.recv():
            there.send(windows[3])

    worker = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    worker.start()
    for epoch in (0, 1, 2):
        windows.set_epoch(epoch)
        here.send(True)
        np.testing.assert_array_equal(here.recv(), windows[3])
    here.send(False)
    worker.join(10)
