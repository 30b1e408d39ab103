"""Pools, difficulty and order, as numbers; the order also as the plain iterator that several processes share."""

import hashlib
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from emomm.choices import CURRICULUM_TYPES
from emomm.choices import PACINGS
from emomm.curriculum.curricula import CURRICULA
from emomm.curriculum.curricula import pool_size
from emomm.curriculum.curriculum import Curriculum
from emomm.curriculum.curriculum import difficulty_weights
from emomm.curriculum.curriculum import epoch_batches
from emomm.curriculum.curriculum import epoch_order
from emomm.curriculum.curriculum import fill_unrated
from emomm.curriculum.curriculum import fit_prototypes
from emomm.curriculum.curriculum import pacing_fraction
from emomm.curriculum.curriculum import pool_statistics
from emomm.curriculum.curriculum import vad_difficulty

NAMES = ("neutral", "happy", "sad", "anger")
PROTOTYPES = np.array([[3.0, 2.5, 3.0], [4.0, 3.8, 3.8], [1.8, 2.2, 2.0], [1.8, 4.2, 4.0]])


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


# Difficulty


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


def test_difficulty_weights():
    weights = difficulty_weights(np.array([0.0, 1.0, 2.0, 5.0]))
    np.testing.assert_allclose(weights, np.array([1, 2, 3, 6]) / 3, rtol=1e-6)
    assert weights.dtype == np.float32
    many = difficulty_weights(np.random.default_rng(0).random(10_000) * 4)
    assert many.mean(dtype=np.float64) == pytest.approx(1.0, abs=1e-7) and many.min() >= 0
    for bad in (-0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="row 1"):
            difficulty_weights(np.array([0.0, bad]))


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


# Order


def corpus_of(rows):
    """Speakers of unequal size, names that do not sort by size, and one with a single row."""
    speakers = np.random.default_rng(rows).choice(["d", "a", "c", "b"], rows, p=[0.1, 0.2, 0.3, 0.4])
    speakers[rows // 2] = "one row"
    return speakers


def pools_of(rows):
    """The whole, three quarters, and one smaller than a batch; the one-row speaker in each."""
    shuffled = np.random.default_rng(1).permutation(np.delete(np.arange(rows), rows // 2))
    return [np.sort(np.append(shuffled[: size - 1], rows // 2)) for size in (rows, rows * 3 // 4, 9)]


COMBINATIONS = list(product((203, 339, 1001), (16, 64), (1, 2, 3), (1, 2)))


@pytest.mark.parametrize(("rows", "batch_size", "world", "accumulation"), COMBINATIONS)
def test_order_without_speakers(rows, batch_size, world, accumulation):
    batches = epoch_batches(rows, batch_size, world * accumulation)
    least = -(-rows // batch_size)
    assert batches % (world * accumulation) == 0 and 0 <= batches - least < world * accumulation
    for pool in pools_of(rows):
        order = epoch_order(pool, batches, batch_size, seed=7, epoch=2)
        assert order.shape == (batches * batch_size,) and order.dtype == np.int64  # constant, whatever the pool
        ranks = [order.reshape(batches, batch_size)[rank::world] for rank in range(world)]
        assert {len(rank) for rank in ranks} == {batches // world}
        assert np.array_equal(np.unique(np.concatenate(ranks)), pool)  # the whole pool, nothing else
        for start in range(0, len(order), len(pool)):  # a pass: each row once, so on one rank
            of_pass = order[start : start + len(pool)]
            assert len(np.unique(of_pass)) == len(of_pass)
        if len(order) >= 2 * len(pool):
            assert not np.array_equal(order[: len(pool)], order[len(pool) : 2 * len(pool)])


@pytest.mark.parametrize(("rows", "batch_size", "world", "accumulation"), COMBINATIONS)
def test_order_with_speakers(rows, batch_size, world, accumulation):
    speakers = corpus_of(rows)
    batches = epoch_batches(rows, batch_size, world * accumulation, speakers)
    least = sum(-(-np.sum(speakers == speaker) // batch_size) for speaker in np.unique(speakers))
    assert batches % (world * accumulation) == 0 and 0 <= batches - least < world * accumulation
    for pool in pools_of(rows):
        order = epoch_order(pool, batches, batch_size, 7, 2, speakers)
        assert order.shape == (batches * batch_size,) and order.dtype == np.int64
        held = order.reshape(batches, batch_size)
        assert (speakers[held] == speakers[held][:, :1]).all()  # one speaker a batch
        counts = np.unique(speakers[pool], return_counts=True)[1]
        of_pass = int(np.sum(-(-counts // batch_size)))
        assert np.array_equal(np.unique(held[:of_pass]), pool)  # the whole pool, before any is seen again
        rank_of = np.arange(batches) % world
        for start in range(0, batches, of_pass):
            part, ranks = held[start : start + of_pass], rank_of[start : start + of_pass]
            distinct = [set(batch.tolist()) for batch in part]
            assert sum(map(len, distinct)) == len(set().union(*distinct))  # no row in two batches
            seen = [set(part[ranks == rank].ravel().tolist()) for rank in range(world)]
            assert sum(map(len, seen)) == len(set().union(*seen))  # nor on two ranks
        if batches >= 2 * of_pass and len(pool) > 16:
            assert not np.array_equal(held[:of_pass], held[of_pass : 2 * of_pass])


def test_short_batches_go_round_their_own_rows():
    speakers = np.array(["a"] * 10 + ["b"])
    held = epoch_order(np.arange(11), 4, 4, 0, 0, speakers).reshape(4, 4)
    sizes = sorted(len(set(batch.tolist())) for batch in held)
    assert sizes == [1, 2, 4, 4]
    for batch in held:
        own = len(set(batch.tolist()))
        assert np.array_equal(batch, np.resize(batch[:own], 4))  # so its mean loss is that of its own rows
    assert np.array_equal(held[[len(set(batch.tolist())) == 1 for batch in held]], [[10] * 4])


def test_every_row_has_its_turn_in_the_full_and_in_the_short_batch():
    speakers = np.array([0] * 5)
    short = {int(epoch_order(np.arange(5), 2, 4, 0, epoch, speakers).reshape(2, 4)[0, 0]) for epoch in range(40)}
    assert short == set(range(5))
    firsts = [len(set(epoch_order(np.arange(5), 2, 4, 0, epoch, speakers)[:4])) for epoch in range(40)]
    assert set(firsts) == {1, 4}  # the batches are shuffled too


@pytest.mark.parametrize("by_speaker", [False, True])
def test_order_follows_from_seed_and_epoch(by_speaker):
    speakers = corpus_of(203) if by_speaker else None
    pool = np.arange(203)
    order = epoch_order(pool, 18, 16, 5, 3, speakers)
    np.random.seed(0)  # nobody's global generator matters
    assert np.array_equal(order, epoch_order(pool, 18, 16, 5, 3, speakers))
    assert not np.array_equal(order, epoch_order(pool, 18, 16, 5, 4, speakers))
    assert not np.array_equal(order, epoch_order(pool, 18, 16, 6, 3, speakers))
    assert np.array_equal(order, epoch_order(pool, 24, 16, 5, 3, speakers)[: len(order)])  # longer: the same head
    if by_speaker:
        codes = np.unique(speakers, return_inverse=True)[1]
        assert np.array_equal(order, epoch_order(pool, 18, 16, 5, 3, codes))


def test_same_order_in_another_process():
    root = Path(__file__).resolve().parent.parent.parent
    program = (
        "import hashlib, numpy as np, conftest\n"
        "from emomm.curriculum.curriculum import Curriculum, epoch_order\n"
        "speakers = np.arange(339) % 7\n"
        "pool = Curriculum('random', 'sqrt', 9, seed=11).pool(4, speakers)\n"
        "for s in (None, speakers):\n"
        "    print(hashlib.sha256(epoch_order(pool, 36, 16, 11, 4, s).tobytes()).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root / "tests",
        capture_output=True,
        text=True,
        check=True,
    )
    speakers = np.arange(339) % 7
    pool = Curriculum("random", "sqrt", 9, seed=11).pool(4, speakers)
    here = [hashlib.sha256(epoch_order(pool, 36, 16, 11, 4, s).tobytes()).hexdigest() for s in (None, speakers)]
    assert done.stdout.split() == here


def test_order_and_batches_refuse():
    with pytest.raises(ValueError, match="0 rows"):
        epoch_order(np.array([], dtype=int), 3, 16, 0, 0)
    with pytest.raises(ValueError, match="0 batches"):
        epoch_order(np.arange(3), 0, 16, 0, 0)
    with pytest.raises(ValueError, match="at least 1"):
        epoch_batches(0, 16, 1)
    with pytest.raises(ValueError, match="at least 1"):
        epoch_batches(10, 16, 0)
    with pytest.raises(ValueError, match="9 speakers for 10 rows"):
        epoch_batches(10, 16, 1, np.arange(9))


def test_number_of_batches():
    assert epoch_batches(203, 16, 1) == 13
    assert epoch_batches(208, 16, 1) == 13
    assert epoch_batches(203, 16, 6) == 18
    assert epoch_batches(203, 16, 1, np.array(["a"] * 17 + ["b"] + ["c"] * 185)) == 2 + 1 + 12
    assert epoch_batches(203, 16, 4, np.array(["a"] * 17 + ["b"] + ["c"] * 185)) == 16


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
