"""Pacing and pools, as numbers."""

import numpy as np
import pytest

from emomm.choices import CURRICULUM_TYPES
from emomm.choices import PACINGS
from emomm.curriculum.curricula import CURRICULA
from emomm.curriculum.curricula import pool_size
from emomm.curriculum.order import epoch_order
from emomm.curriculum.pool import Curriculum
from emomm.curriculum.pool import pacing_fraction
from emomm.curriculum.pool import pool_statistics

# Pacing


@pytest.mark.parametrize(
    ("pacing", "start", "middle"),
    [
        ("linear", 1 / 15, 8 / 15),
        ("sqrt", (1 / 15) ** 0.5, (8 / 15) ** 0.5),
        ("log", np.log(2) / np.log(16), np.log(9) / np.log(16)),
        ("exponential", (1 / 15) ** 1.5, (8 / 15) ** 1.5),
    ],
)
def test_pacing_at_start_middle_end_and_past_it(pacing, start, middle):
    assert pacing_fraction(pacing, 0, 15) == pytest.approx(start, abs=1e-12)
    assert pacing_fraction(pacing, 7, 15) == pytest.approx(middle, abs=1e-12)
    assert pacing_fraction(pacing, 14, 15) == pytest.approx(1.0, abs=1e-12)
    assert pacing_fraction(pacing, 15, 15) == 1.0
    assert pacing_fraction(pacing, 1000, 15) == 1.0
    assert pacing_fraction(pacing, 0, 0) == 1.0


@pytest.mark.parametrize("pacing", PACINGS)
@pytest.mark.parametrize("epochs", [1, 2, 7, 100])
def test_pacing_rises_within_0_and_1(pacing, epochs):
    fractions = [pacing_fraction(pacing, epoch, epochs) for epoch in range(epochs + 2)]
    assert fractions[0] > 0 and max(fractions) <= 1.0
    assert all(a <= b for a, b in zip(fractions, fractions[1:], strict=False))


@pytest.mark.parametrize(("arguments", "message"), [(("cubic", 0, 5), "sqrt"), (("sqrt", -1, 5), "-1")])
def test_pacing_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        pacing_fraction(*arguments)
    with pytest.raises(ValueError, match="-3"):
        pacing_fraction("sqrt", 0, -3)


def test_pool_size_rounds_down_and_is_never_empty():
    assert pool_size(339, 0.5) == 169
    assert pool_size(339, 1.0) == 339
    assert pool_size(10, 0.01) == 1


# Pools


LABELS = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
SCORES = np.array([5.0, 1.0, 4.0, 1.0, 3.0, 2.0, 1.0, 0.0, 9.0, 7.0])


def pool(curriculum_type, epoch, **options):
    settings = {"pacing": "linear", "epochs": 5} | options
    return (
        Curriculum(curriculum_type, **settings)
        .pool(epoch, LABELS, difficulty=SCORES, confidence=SCORES, preset_order=SCORES)
        .tolist()
    )


def test_pools_by_score_with_ties_in_the_order_of_the_rows():
    assert pool("difficulty", 0) == [1, 7]  # 0.0, then the first of three with 1.0
    assert pool("difficulty", 1) == [1, 3, 6, 7]
    assert pool("preset_order", 0) == [1, 7]
    assert pool("inverse_difficulty", 0) == [8, 9]
    assert pool("inverse_difficulty", 3) == [0, 1, 2, 3, 4, 5, 8, 9]  # of the ties, rows 1 and 3 enter before 6
    assert pool("model_confidence", 1) == [0, 2, 8, 9]
    assert pool("model_confidence", 3) == [0, 1, 2, 3, 4, 5, 8, 9]


def test_what_a_recipe_can_name_is_what_is_registered():
    assert CURRICULA.names() == CURRICULUM_TYPES


@pytest.mark.parametrize("curriculum_type", CURRICULUM_TYPES)
def test_every_pool_is_sorted_distinct_and_grows_to_all_rows(curriculum_type):
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 4, 203), rng.random(203)
    curriculum = Curriculum(curriculum_type, "sqrt", 6, seed=3)
    sizes = []
    for epoch in range(9):
        rows = curriculum.pool(epoch, labels, scores, scores, scores)
        assert rows.dtype == np.int64
        assert np.array_equal(rows, np.unique(rows)) and rows[0] >= 0 and rows[-1] < 203
        sizes.append(len(rows))
        assert curriculum.active(epoch) == (epoch < 6 and curriculum_type != "none")
        assert curriculum.fraction(epoch) == (
            pytest.approx(((epoch + 1) / 6) ** 0.5) if curriculum.active(epoch) else 1.0
        )
        if curriculum_type not in ("none", "class_balance"):
            assert len(rows) == min(203, int(203 * curriculum.fraction(epoch)))
    assert sizes == sorted(sizes) and sizes[5:] == [203] * 4
    assert (sizes[0] == 203) == (curriculum_type == "none")


@pytest.mark.parametrize("curriculum_type", CURRICULUM_TYPES)
def test_no_curriculum_epochs_means_all_rows(curriculum_type):
    curriculum = Curriculum(curriculum_type, epochs=0)
    assert curriculum.pool(0, LABELS).tolist() == list(range(10))
    assert not curriculum.active(0) and curriculum.fraction(0) == 1.0


def test_random_pool_is_drawn_once_per_seed_and_epoch():
    labels = np.zeros(1000, dtype=int)
    curriculum = Curriculum("random", "linear", 10, seed=1)
    again = Curriculum("random", "linear", 10, seed=1)
    assert np.array_equal(curriculum.pool(2, labels), again.pool(2, labels))
    other_seed = Curriculum("random", "linear", 10, seed=2).pool(2, labels)
    assert 40 < len(np.intersect1d(curriculum.pool(2, labels), other_seed)) < 140  # 90 expected of 300
    assert len(np.intersect1d(curriculum.pool(1, labels), curriculum.pool(2, labels))) < 100  # 60 expected of 200
    # Not the stream of the epoch's first pass: a pool that is read off it would be half of the order's head.
    order = epoch_order(np.arange(1000), 63, 16, seed=1, epoch=2)
    assert len(np.intersect1d(order[:300], curriculum.pool(2, labels))) < 140


def seen_after(epochs, curriculum, labels, scores):
    return len(np.unique(np.concatenate([curriculum.pool(epoch, labels, scores) for epoch in range(epochs)])))


@pytest.mark.parametrize("curriculum_type", ["random_nested", "random_matched"])
def test_nested_controls_grow_and_are_drawn_once_per_seed(curriculum_type):
    """As the real curriculum: no row leaves, and as many are seen; `random` sees far more."""
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 4, 2000), rng.random(2000)
    curriculum = Curriculum(curriculum_type, "sqrt", 10, seed=1)
    pools = [curriculum.pool(epoch, labels, scores) for epoch in range(11)]
    for epoch, (before, after) in enumerate(zip(pools, pools[1:], strict=False)):
        assert np.isin(before, after).all()
        assert len(before) == len(Curriculum("difficulty", "sqrt", 10).pool(epoch, labels, scores))
        again = Curriculum(curriculum_type, "sqrt", 10, seed=1)
        assert np.array_equal(before, again.pool(epoch, labels, scores))
    easy = Curriculum("difficulty", "sqrt", 10, seed=1)
    assert seen_after(3, curriculum, labels, scores) == seen_after(3, easy, labels, scores) == 1095
    assert seen_after(3, Curriculum("random", "sqrt", 10, seed=1), labels, scores) > 1600
    other = Curriculum(curriculum_type, "sqrt", 10, seed=2).pool(1, labels, scores)
    assert 0.3 < np.isin(pools[1], other).mean() < 0.6  # 0.45 by chance: another seed, another order
    easiest = easy.pool(1, labels, scores)
    assert 0.3 < np.isin(pools[1], easiest).mean() < 0.6  # and nothing of the difficulty


def test_the_matched_control_has_the_class_mix_of_the_easiest_rows():
    labels = np.repeat([0, 1, 2], [600, 300, 100])[np.random.default_rng(0).permutation(1000)]
    scores = np.random.default_rng(1).random(1000) + 0.5 * labels  # class 0 is easy
    matched, easy, nested = (
        Curriculum(name, "linear", 10, seed=1) for name in ("random_matched", "difficulty", "random_nested")
    )
    for epoch in range(11):
        expected = np.bincount(labels[easy.pool(epoch, labels, scores)], minlength=3)
        assert np.bincount(labels[matched.pool(epoch, labels, scores)], minlength=3).tolist() == expected.tolist()
    assert np.bincount(labels[easy.pool(1, labels, scores)], minlength=3)[2] == 0
    assert np.bincount(labels[nested.pool(1, labels)], minlength=3)[2] > 5
    # Class numbers that no training row has take nothing from the others.
    sparse = matched.pool(1, labels * 2, scores)
    assert np.array_equal(sparse, matched.pool(1, labels, scores))


def test_confidence_is_random_in_the_first_epoch():
    curriculum = Curriculum("model_confidence", "linear", 5, seed=4)
    labels = np.zeros(100, dtype=int)
    first = curriculum.pool(0, labels)
    assert np.array_equal(first, curriculum.pool(0, labels, confidence=np.arange(100.0)))
    assert len(first) == 20 and first.tolist() != list(range(80, 100))
    assert curriculum.pool(1, labels, confidence=np.arange(100.0)).tolist() == list(range(60, 100))


def test_class_balance_lets_classes_in_by_order():
    classes = [sorted(set(LABELS[pool("class_balance", epoch, epochs=4)])) for epoch in range(4)]
    assert classes == [[0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]  # min(4, int(fraction * 4) + 1)
    slowly = [sorted(set(LABELS[pool("class_balance", epoch, epochs=8)])) for epoch in range(4)]
    assert slowly == [[0], [0, 1], [0, 1], [0, 1, 2]]
    assert set(LABELS[pool("class_balance", 0, epochs=8, class_order=(2, 0, 3, 1))]) == {2}
    assert set(LABELS[pool("class_balance", 1, epochs=8, class_order=(2, 0, 3, 1))]) == {0, 2}
    assert pool("class_balance", 0, epochs=8) == [0, 4, 8]  # all rows of the class


def test_class_balance_with_other_numbers_of_classes():
    labels = np.repeat(np.arange(7), 3)
    sizes = [len(Curriculum("class_balance", "linear", 7).pool(epoch, labels)) for epoch in range(7)]
    assert sizes == [6, 9, 12, 15, 18, 21, 21]
    # A class that no training row has takes nobody's turn.
    assert Curriculum("class_balance", "linear", 8).pool(0, np.array([1, 1, 2])).tolist() == [0, 1]
    assert Curriculum("class_balance", "linear", 8, (0, 2, 1)).pool(0, np.array([1, 1, 2])).tolist() == [2]
    with pytest.raises(ValueError, match=r"lacks class \[3\]"):
        pool("class_balance", 0, class_order=(0, 1, 2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "dificulty"}, "inverse_difficulty"),
        ({"pacing": "cosine"}, "exponential"),
        ({"epochs": -1}, "-1"),
        ({"seed": -1}, "-1"),
        ({"class_order": (0, 1, 1)}, "once"),
    ],
)
def test_curriculum_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        Curriculum(**fields)


@pytest.mark.parametrize(
    ("curriculum_type", "name"),
    [
        ("difficulty", "difficulty"),
        ("inverse_difficulty", "difficulty"),
        ("random_matched", "difficulty"),
        ("model_confidence", "confidence"),
        ("preset_order", "preset_order"),
    ],
)
def test_pool_refuses_scores_that_are_not_one_a_row(curriculum_type, name):
    curriculum = Curriculum(curriculum_type, epochs=5)
    with pytest.raises(ValueError, match=f"needs the {name}"):
        curriculum.pool(1, LABELS)
    with pytest.raises(ValueError, match="10 numbers"):
        curriculum.pool(1, LABELS, **{name: SCORES[:9]})
    with pytest.raises(ValueError, match="1 NaN"):
        curriculum.pool(1, LABELS, **{name: np.where(SCORES == 9, np.nan, SCORES)})
    with pytest.raises(ValueError, match="no training rows"):
        curriculum.pool(1, LABELS[:0])


def test_pool_statistics():
    speakers = np.array(["x", "y", "z", "x"])
    assert pool_statistics(np.array([0, 1, 3]), np.array([0, 2, 2, 2]), 4, np.array([1.0, 2, 9, 6]), speakers) == {
        "curriculum/pool_size": 3.0,
        "curriculum/pool_fraction": 0.75,
        "curriculum/class_0": pytest.approx(1 / 3),
        "curriculum/class_1": 0.0,
        "curriculum/class_2": pytest.approx(2 / 3),
        "curriculum/class_3": 0.0,
        "curriculum/mean_difficulty": 3.0,
        "curriculum/speakers": 2.0,
    }
    bare = pool_statistics(np.array([2]), np.array([0, 1, 1]), 2)
    assert "curriculum/mean_difficulty" not in bare and "curriculum/speakers" not in bare
    assert all(type(value) is float for value in bare.values())
