"""Rows that are masked and mixed: by seed, epoch and row alone, partners from the pool, labels as the vectors are."""

import numpy as np
import pytest

from emomm.experiments.augmented_rows import AugmentedRows
from emomm.experiments.augmented_rows import masked
from emomm.experiments.augmented_rows import spread
from emomm.experiments.emotion_rows import EmotionRows
from emomm.features.sequences import Sequences

LENGTHS = np.array([3, 5, 1, 0, 4, 2])
LABELS = np.array([0, 1, 2, 0, 1, 2])


def rows(**more):
    """Of a row all vectors are its number; the fourth has no voice."""
    values = np.repeat(np.arange(6), LENGTHS)[:, None] * np.ones(2, np.float16)
    text = Sequences.from_arrays(np.arange(6, dtype=np.float32)[:, None] * np.ones(3, np.float32), np.ones(6, int))
    voice = Sequences.from_arrays(values, LENGTHS)
    return EmotionRows(labels=LABELS, audio=voice, text=text, **more)


def test_vectors_labels_weights_and_ratings_are_mixed_alike():
    weights, ratings = np.linspace(0.5, 2, 6, dtype=np.float32), np.full((6, 3), 3, np.float32)
    ratings[1] = np.nan
    plain = rows(sample_weights=weights, vad=ratings)
    made = AugmentedRows(plain, 3, seed=0, mixup=1.0)
    shares, unrated = [], 0
    for epoch in range(30):
        made.set_epoch(epoch)
        row = made[0]
        other = row["text_features"][0, 0] / max(1 - row["labels"][0], 1e-9)  # the partner's number, of another class
        assert row["labels"].dtype == np.float32 and row["labels"].sum() == pytest.approx(1)
        assert row["audio_features"].shape == (3, 2)  # its own length
        if row["labels"][0] == 1:  # its partner was itself
            continue
        partner = round(float(other))
        share = row["labels"][0]
        shares.append(share)
        assert partner in (1, 2, 4, 5) and row["labels"][LABELS[partner]] == pytest.approx(1 - share)
        assert row["audio_features"] == pytest.approx((1 - share) * partner, abs=1e-5)
        assert row["sample_weights"] == pytest.approx(share * weights[0] + (1 - share) * weights[partner], abs=1e-6)
        assert np.isnan(row["vad"]).all() if partner == 1 else (row["vad"] == 3).all()
        unrated += partner == 1
    assert unrated and min(shares) >= 0.5 and max(shares) > 0.7
    assert made.plain[0]["labels"] == 0 and made.labels is plain.labels


def test_a_row_without_voice_is_mixed_with_such_rows_alone():
    made = AugmentedRows(rows(), 3, seed=0, mixup=1.0)
    for epoch in range(10):
        made.set_epoch(epoch)
        row = made[3]
        assert row["audio_features"] is None and row["text_features"] == pytest.approx(3)
        assert row["labels"] == pytest.approx([1, 0, 0])


def test_partners_are_taken_from_the_pool():
    made = AugmentedRows(rows(), 3, seed=0, mixup=1.0)
    made.set_pool(np.array([0, 4]))
    for epoch in range(20):
        made.set_epoch(epoch)
        row = made[0]
        assert row["labels"][2] == 0 and row["text_features"] == pytest.approx(4 * row["labels"][1], abs=1e-5)


def test_a_row_is_a_function_of_seed_epoch_and_row():
    def found(made, epoch, order):
        made.set_epoch(epoch)
        return {i: {name: np.asarray(value).tolist() for name, value in made[i].items()} for i in order}

    made, again = (AugmentedRows(rows(), 3, seed=7, time_mask=0.4, mixup=0.3) for _ in range(2))
    first = found(made, 2, range(6))
    assert first == found(again, 2, reversed(range(6))) == found(made, 2, [3, 1, 5, 0, 2, 4])
    assert first != found(made, 3, range(6))
    assert first != found(AugmentedRows(rows(), 3, seed=8, time_mask=0.4, mixup=0.3), 2, range(6))


def test_masked_vectors_are_the_mean_of_the_others():
    vectors = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    counts = []
    for draw in range(50):
        changed = masked(vectors, 0.3, np.random.default_rng(draw))
        hidden = (changed != vectors).any(axis=1)
        counts.append(hidden.sum())
        assert changed[hidden] == pytest.approx(np.tile(vectors[~hidden].mean(axis=0), (hidden.sum(), 1)), abs=1e-6)
    assert max(counts) == 10 and min(counts) >= 10  # one stretch of ten, where two would be more than 15
    assert masked(vectors[:1], 0.3, np.random.default_rng(0)) is not None
    assert (masked(vectors[:1], 0.9, np.random.default_rng(0)) == vectors[:1]).all()


def test_a_partners_vectors_are_spread_evenly():
    vectors = np.arange(4)[:, None]
    assert spread(vectors, 4)[:, 0].tolist() == [0, 1, 2, 3]
    assert spread(vectors, 8)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert spread(vectors, 2)[:, 0].tolist() == [1, 3] and spread(vectors, 1)[:, 0].tolist() == [2]


def test_tokens_are_not_mixed():
    with pytest.raises(ValueError, match="not recordings and tokens"):
        AugmentedRows(rows(tokens=[np.ones(2, int)] * 6), 3, seed=0, mixup=1.0)
