"""Difficulty, as numbers."""

import numpy as np
import pytest

from emomm.curriculum.difficulty import fill_unrated
from emomm.curriculum.difficulty import fit_prototypes
from emomm.curriculum.difficulty import vad_difficulty

NAMES = ("neutral", "happy", "sad", "anger")
PROTOTYPES = np.array([[3.0, 2.5, 3.0], [4.0, 3.8, 3.8], [1.8, 2.2, 2.0], [1.8, 4.2, 4.0]])


def test_euclidean_difficulty():
    vad = PROTOTYPES + np.array([[0.0, 0.0, 0.0], [0.3, -0.4, 0.0], [1.0, 2.0, -2.0], [0.0, 0.0, -0.5]])
    np.testing.assert_allclose(vad_difficulty(vad, np.arange(4), PROTOTYPES), [0.0, 0.5, 3.0, 0.5], atol=1e-12)


def test_difficulty_takes_the_prototype_of_the_label():
    assert vad_difficulty([[3.0, 2.5, 3.0]], [0], PROTOTYPES) == pytest.approx([0.0])
    assert vad_difficulty([[3.0, 2.5, 3.0]], [1], PROTOTYPES) == pytest.approx([np.sqrt(1.0 + 1.3**2 + 0.8**2)])


def test_weighted_difficulty():
    vad = PROTOTYPES[:2] + np.array([[1.0, 2.0, 3.0], [-1.0, 0.0, 0.0]])
    expected = [np.sqrt(0.5 * 1 + 0.4 * 4 + 0.1 * 9), np.sqrt(0.5)]
    np.testing.assert_allclose(vad_difficulty(vad, [0, 1], PROTOTYPES, "weighted", (0.5, 0.4, 0.1)), expected)


@pytest.mark.parametrize(
    ("name", "above", "below"),
    [  # what counts of a deviation of (+.1, +.2, +.4), and of the opposite
        ("neutral", (0.1, 0.2, 0.4), (0.1, 0.2, 0.4)),
        ("happy", (0, 0, 0), (0.1, 0.2, 0.4)),
        ("sad", (0.1, 0.2, 0.4), (0, 0, 0)),
        ("anger", (0.1, 0, 0), (0, 0.2, 0.4)),
        ("boredom", (0.1, 0.2, 0.4), (0.1, 0.2, 0.4)),
    ],
)
def test_directional_difficulty(name, above, below):
    names = ("fear", name)
    prototypes = np.array([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]])
    deviation = np.array([0.1, 0.2, 0.4])
    got = vad_difficulty([3 + deviation, 3 - deviation], [1, 1], prototypes, "directional", class_names=names)
    np.testing.assert_allclose(got, [np.linalg.norm(above), np.linalg.norm(below)], atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "euclidean_distance"},
        {"method": "weighted", "weights": (0.4, 0.4, 0.2)},
        {"method": "directional", "class_names": NAMES},
    ],
)
def test_unrated_rows_have_no_difficulty(options):
    vad = np.full((5, 3), 3.0)
    vad[1, 0] = vad[2, 1] = vad[3, 2] = np.nan
    vad[4] = np.nan
    labels = np.array([1, 1, 2, 3, 1])  # for happy, rated V would not count if it were in excess
    np.testing.assert_array_equal(
        np.isnan(vad_difficulty(vad, labels, PROTOTYPES, **options)), [False, True, True, True, True]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "cosine"}, "directional"),
        ({"method": "weighted"}, "three weights"),
        ({"method": "weighted", "weights": (0.5, 0.5)}, "three weights"),
        ({"method": "weighted", "weights": (0.5, 0.6, -0.1)}, "three weights"),
        ({"method": "directional"}, "names of 4 classes"),
        ({"method": "directional", "class_names": NAMES[:3]}, "names of 4 classes"),
        ({"labels": [0, 4]}, "row 1 has label 4"),
        ({"labels": [0, -1]}, "row 1 has label -1"),
        ({"labels": [0]}, "vad must be"),
        ({"prototypes": PROTOTYPES[:, :2]}, "prototypes"),
    ],
)
def test_difficulty_refuses(changes, message):
    arguments = {"vad": np.full((2, 3), 3.0), "labels": [0, 1], "prototypes": PROTOTYPES} | changes
    with pytest.raises(ValueError, match=message):
        vad_difficulty(**arguments)


def test_fit_prototypes_are_class_means_of_rated_rows():
    vad = np.array([[1, 2, 3], [3, 4, 5], [5, 5, np.nan], [2, 2, 2]], dtype=np.float32)
    np.testing.assert_allclose(fit_prototypes(vad, np.array([1, 1, 1, 0]), 2), [[2, 2, 2], [2, 3, 4]])
    with pytest.raises(ValueError, match=r"class \[2\]"):
        fit_prototypes(vad, np.array([1, 1, 2, 0]), 3)


def test_fill_unrated_takes_the_median_of_the_class():
    nan = np.nan
    difficulty = np.array([1.0, 2.0, 9.0, nan, 4.0, nan, nan])
    filled, number = fill_unrated(difficulty, np.array([0, 0, 0, 0, 1, 1, 2]))
    np.testing.assert_array_equal(filled, [1.0, 2.0, 9.0, 2.0, 4.0, 4.0, 3.0])  # class 2 has none: median of all
    assert number == 3
    assert np.isnan(difficulty[3])  # the caller's array is as it was
    with pytest.raises(ValueError, match="no row has a difficulty"):
        fill_unrated(np.array([nan, nan]), np.array([0, 1]))
