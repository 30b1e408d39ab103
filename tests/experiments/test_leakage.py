"""What test rows share with training rows: recordings by their features, words by their letters."""

import numpy as np
import pytest

from emomm.experiments.leakage import Content
from emomm.experiments.leakage import plain_words
from emomm.experiments.leakage import shared_in_words
from emomm.experiments.leakage import shared_rows
from emomm.features.sequences import Sequences


def sequences(rows, dtype=np.float32):
    return Sequences.from_arrays(np.concatenate(rows).astype(dtype), [len(row) for row in rows])


def random_rows(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, 5)) for length in lengths]


def test_the_same_features_are_the_same_recording_in_whatever_precision():
    one = random_rows([3, 2, 4, 1])
    other = [one[2], one[0][:2], one[3], one[1] + 0.01]
    audio = Sequences.concatenate([sequences(one), sequences(other, np.float16), sequences([np.zeros((0, 5))])])
    numbers = Content.of(audio, [""] * 9).recordings
    assert numbers[4] == numbers[2] and numbers[6] == numbers[3] and numbers[8] == -1
    assert len(set(numbers[:8])) == 6


def test_rows_that_agree_in_two_vectors_are_compared_whole():
    rows = random_rows([4, 4, 4])
    rows[1] = rows[0].copy()
    rows[1][3] += 1  # the first and the middle one agree
    rows[2] = rows[0].copy()
    numbers = Content.of(sequences(rows), [""] * 3).recordings
    assert numbers[0] == numbers[2] != numbers[1]


def test_words_are_their_letters_and_digits():
    texts = ["Well, then!", "well then", "WELL\u2019then", "[EMPTY]", "...", "Straße", "STRASSE", "well them"]
    numbers = Content.of(sequences([np.zeros((0, 2))] * 8), texts).words
    assert numbers[0] == numbers[1] == numbers[2] != numbers[7]
    assert numbers[3] == numbers[4] == -1 and numbers[5] == numbers[6]
    assert plain_words("Ａ\u00a0b") == "a b"


FOLDS = [(np.array([0, 1]), np.array([2, 3])), (np.array([0, 1]), np.array([4, 5]))]


@pytest.mark.parametrize(
    ("numbers", "shared"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 0]),
        ([0, 1, 2, 0, 1, 5], [1, 1]),
        ([0, 1, 0, 0, 4, 5], [2, 0]),
        ([-1, 1, -1, -1, 1, -1], [0, 1]),  # what isn't there isn't shared
        ([-1] * 6, [0, 0]),
    ],
)
def test_rows_that_training_rows_know_are_counted_by_fold(numbers, shared):
    assert shared_rows(np.array(numbers), FOLDS) == shared


def test_shares_in_words():
    told = shared_in_words(FOLDS, {"their recording": [0, 0], "their words": [1, 2]})
    assert told == (
        "of 4 test rows none shares their recording and 3 (75.0%, in one fold 100.0%) share their words with a "
        "training or validation row"
    )
    assert shared_in_words(FOLDS, {"their words": [1, 1]}).startswith(
        "of 4 test rows 2 (50.0%) share their words with"
    )
