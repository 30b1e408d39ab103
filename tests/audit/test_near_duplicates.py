"""Every close pair is found, and compared only where it must be."""

import numpy as np
import pytest

from emomm.audit import near_duplicates
from emomm.audit.near_duplicates import close_rows
from emomm.features.sequences import Sequences


def vectors(count: int = 600, dim: int = 96, seed: int = 0) -> np.ndarray:
    """Features as encoders give them: far from zero, and spread in few directions."""
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=(count, 24)) @ rng.normal(size=(24, dim)) + 0.3 * rng.normal(size=(count, dim))
    return (spread + 5).astype(np.float32)


def noisy(row: np.ndarray, decibels: float, rng: np.random.Generator) -> np.ndarray:
    return row + rng.normal(size=row.shape) * np.sqrt(np.mean(row**2)) * 10 ** (-decibels / 20)


@pytest.mark.parametrize("block", [64, 1024])
def test_the_pairs_of_all_pairs(monkeypatch, block):
    monkeypatch.setattr(near_duplicates, "_BLOCK", block)
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 2 * block)
    values, rng = vectors(), np.random.default_rng(1)
    for copy, original in ((599, 0), (300, 7), (301, 7)):
        values[copy] = noisy(values[original], 40, rng)
    found = close_rows(Sequences.from_arrays(values, np.ones(600, int)), False)
    centred = values - values.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    expected = np.argwhere(np.triu(centred @ centred.T > found.threshold, 1))
    assert sorted(map(tuple, expected.tolist())) == [(0, 599), (7, 300), (7, 301), (300, 301)]
    assert sorted(np.flatnonzero(found.numbers >= 0)) == [0, 7, 300, 301, 599]
    assert found.numbers[0] == found.numbers[599] != found.numbers[7] == found.numbers[300] == found.numbers[301]


def test_frames_are_compared_one_by_one():
    rng = np.random.default_rng(0)
    frames = vectors(400).reshape(100, 4, 96)
    frames[50] = noisy(frames[3], 40, rng)
    frames[60] = frames[5][::-1]  # the same mean
    lengths = np.full(100, 4)
    found = close_rows(Sequences.from_arrays(frames.reshape(400, 96), lengths), False)
    assert np.flatnonzero(found.numbers >= 0).tolist() == [3, 50]


def test_rows_of_other_lengths_are_not_compared():
    values = vectors(101)
    values[100] = values[0]
    found = close_rows(Sequences.from_arrays(values, [1] * 98 + [2, 1]), False)
    assert np.flatnonzero(found.numbers >= 0).tolist() == [0, 99]
    values[99:] = values[0]
    found = close_rows(Sequences.from_arrays(values, [1] * 99 + [2]), False)
    assert (found.numbers < 0).all()


def test_few_dimensions_tell_no_copies_from_chance():
    found = close_rows(Sequences.from_arrays(vectors(500, 3), np.ones(500, int)), False)
    assert found.threshold is None and (found.numbers < 0).all()


def test_the_threshold_rises_with_the_pairs():
    assert near_duplicates._threshold(100, 10**6) == near_duplicates.THRESHOLD
    assert near_duplicates._threshold(4, 10**4) > near_duplicates._threshold(6, 10**4) > near_duplicates.THRESHOLD


def test_missing_silent_and_broken_rows_are_close_to_nothing():
    values = vectors(50)
    values[3:5] = np.nan
    values[6:8] = 0
    found = close_rows(Sequences.from_arrays(values, [0] + [1] * 50), False)
    assert np.flatnonzero(found.numbers >= 0).tolist() in ([], [7, 8])  # two that are zero are the same
