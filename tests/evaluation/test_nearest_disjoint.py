"""Disjoint folds that are near to given ones: whole speakers, each row tested as often, sizes as near as can be."""

import numpy as np
import pytest

from emomm.evaluation.nearest_disjoint import GivenFold
from emomm.evaluation.nearest_disjoint import nearest_disjoint


def cross_validation(rows: int, folds: int) -> list[GivenFold]:
    place = np.arange(rows) % folds
    return [GivenFold(f"fold-{k}", place != k, None, {"test": place == k}) for k in range(folds)]


def speakers_of(speakers: np.ndarray, rows: np.ndarray) -> set:
    return set(speakers[rows].tolist())


def test_a_cross_validation_stays_one():
    speakers, labels = np.repeat(np.arange(10), 12), np.arange(120) % 4
    made = nearest_disjoint(cross_validation(120, 5), speakers, labels)
    assert [fold.name for fold in made] == [f"fold-{k}" for k in range(5)]
    tested = np.sum([fold.tests["test"] for fold in made], axis=0)
    assert (tested == 1).all()
    for fold in made:
        test = fold.tests["test"]
        assert test.sum() == 24 and np.bincount(labels[test]).tolist() == [6] * 4
        assert not speakers_of(speakers, test) & speakers_of(speakers, fold.train)
        assert (fold.train ^ test).all()


def test_class_counts_decide_between_speakers():
    """Two speakers of one class each must not be tested together."""
    speakers = np.repeat(np.arange(4), 10)
    labels = np.repeat([0, 0, 1, 1], 10)
    (one, other) = nearest_disjoint(cross_validation(40, 2), speakers, labels)
    for fold in (one, other):
        assert np.bincount(labels[fold.tests["test"]]).tolist() == [10, 10]


def test_a_published_split_with_validation_and_two_tests():
    rng = np.random.default_rng(0)
    speakers, labels = rng.integers(30, size=1000), rng.integers(4, size=1000)
    place = rng.choice(4, size=1000, p=[0.6, 0.1, 0.2, 0.1])
    given = GivenFold("published", place == 0, place == 1, {"test1": place == 2, "test2": place == 3})
    (made,) = nearest_disjoint([given], speakers, labels)
    parts = [made.train, made.validation, *made.tests.values()]
    assert (np.sum(parts, axis=0) == 1).all() and list(made.tests) == ["test1", "test2"]
    for number, one in enumerate(parts):
        assert abs(one.mean() - given_share(place, number)) < 0.03
        for other in parts[number + 1 :]:
            assert not speakers_of(speakers, one) & speakers_of(speakers, other)


def given_share(place: np.ndarray, number: int) -> float:
    return float((place == number).mean())


def test_fewer_folds_than_asked_where_speakers_are_few():
    speakers, labels = np.repeat(np.arange(2), 20), np.arange(40) % 2
    made = nearest_disjoint(cross_validation(40, 5), speakers, labels)
    assert len(made) == 2 and all(fold.tests["test"].sum() == 20 for fold in made)
    with pytest.raises(ValueError, match="2 speakers are needed to test none who is trained on; there are 1"):
        nearest_disjoint(cross_validation(40, 5), np.zeros(40, int), labels)
