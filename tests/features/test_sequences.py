"""Rows in contiguous arrays against plain lists of arrays."""

import numpy as np
import pytest

from emomm.data_collator import EmoMMDataCollator
from emomm.experiments.emotion_rows import EmotionRows
from emomm.features.sequences import Sequences

RANDOM = np.random.default_rng(0)


def plain(lengths: list[int], dim: int = 3, dtype=np.float32) -> list[np.ndarray]:
    return [RANDOM.standard_normal((length, dim)).astype(dtype) for length in lengths]


def stored(rows: list[np.ndarray]) -> Sequences:
    return Sequences.from_arrays(np.concatenate(rows), [len(row) for row in rows])


def assert_rows(sequences: Sequences, expected: list[np.ndarray]):
    assert len(sequences) == len(expected)
    for i, row in enumerate(expected):
        np.testing.assert_array_equal(sequences[i], row)
        assert sequences[i].dtype == row.dtype


def test_rows_come_back_as_they_were():
    rows = plain([2, 0, 5, 1])
    sequences = stored(rows)
    assert_rows(sequences, rows)
    assert sequences.dim == 3
    assert all(np.shares_memory(sequences[i], sequences.parts[0]) for i in (0, 2, 3))  # views, no copies


def test_lengths_must_add_up():
    with pytest.raises(ValueError, match="the lengths sum to 5, but there are 4 vectors"):
        Sequences.from_arrays(np.zeros((4, 3)), [2, 3])


def test_take_reorders_and_repeats_without_a_copy():
    rows = plain([2, 0, 5, 1])
    taken = stored(rows).take(np.array([3, 0, 0, 1]))
    assert_rows(taken, [rows[3], rows[0], rows[0], rows[1]])
    assert np.shares_memory(taken[1], taken[2])
    assert_rows(taken.take(np.array([2])), [rows[0]])


@pytest.mark.parametrize("lengths", [([2, 1], [3], [0, 4]), ([], [2, 1]), ([2], [], [1]), ([1], [])])
def test_concatenated_pieces_keep_their_rows(lengths):
    pieces = [plain(piece) for piece in lengths]
    whole = Sequences.concatenate(
        [
            Sequences.from_arrays(np.concatenate([np.zeros((0, 3), np.float32), *p]), [len(r) for r in p])
            for p in pieces
        ]
    )
    expected = [row for piece in pieces for row in piece]
    assert_rows(whole, expected)
    reversed_order = np.arange(len(expected))[::-1]
    assert_rows(whole.take(reversed_order), expected[::-1])


def test_concatenating_what_was_concatenated():
    a, b, c = plain([2, 1]), plain([3]), plain([1, 4])
    inner = Sequences.concatenate([stored(a), stored(b)])
    assert_rows(Sequences.concatenate([inner, stored(c)]).take(np.array([4, 2, 1])), [c[1], b[0], a[1]])


@pytest.mark.parametrize("how", ["mean", "cls"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_pooled_rows_equal_those_of_the_sequences(how, dtype):
    first, second = plain([2, 0, 5, 1], dtype=dtype), plain([7, 3], dtype=dtype)
    sequences = Sequences.concatenate([stored(first), stored(second)]).take(np.array([4, 0, 1, 2, 0, 5]))
    pooled = sequences.pooled(how)
    for i in range(len(sequences)):
        row = sequences[i].astype(np.float64)
        assert pooled[i].dtype == np.float32
        if len(row) == 0:
            assert pooled[i].shape == (0, 3)
            continue
        expected = row[0] if how == "cls" else row.mean(axis=0)
        np.testing.assert_allclose(pooled[i], expected[None], atol=1e-6)
    assert len(pooled.parts[0]) == 4  # each distinct stretch once


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("block", [1, 7, 4096])
def test_statistics_are_those_of_all_vectors(dtype, block, monkeypatch):
    """Over frames, in float64, in blocks; missing rows count nothing, a stretch that two rows share counts twice."""
    monkeypatch.setattr("emomm.features.sequences._BLOCK", block)
    rows = [100 + 3 * row for row in plain([4, 0, 9, 1, 3], 5, dtype)]
    pieces = Sequences.concatenate([stored(rows[:2]), stored(rows[2:])]).take(np.array([4, 1, 0, 2, 3, 2]))
    found = pieces.statistics()
    vectors = np.concatenate([rows[4], rows[0], rows[2], rows[3], rows[2]]).astype(np.float64)
    np.testing.assert_allclose(found.mean, vectors.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, vectors.std(axis=0), rtol=1e-9)
    means = np.stack([rows[row].astype(np.float64).mean(axis=0) for row in (4, 0, 2, 3, 2)])
    assert found.spread == pytest.approx(np.sqrt(np.mean((means.std(axis=0) / vectors.std(axis=0)) ** 2)))
    assert 0 < found.spread < 1 and pieces.pooled("mean").statistics().spread == 1


def test_dimensions_without_variation_are_left_as_they_are():
    """Constant ones, and those that rounding alone moves: dividing by their deviation would make noise of them."""
    values = RANDOM.standard_normal((50, 4)).astype(np.float32)
    values[:, 1], values[:, 2] = 7.0, 1e4 * (1 + 1e-7 * RANDOM.standard_normal(50))
    values[:, 3] *= 1e-5
    found = stored(list(values[:, None])).statistics()
    np.testing.assert_allclose(found.mean, values.astype(np.float64).mean(axis=0))
    assert found.std[1:].tolist() == [1, 1, 1] and found.std[0] == pytest.approx(values[:, 0].std())
    assert found.spread == 1
    assert stored([np.full((3, 2), 7.0, np.float32)]).statistics().spread == 1  # nothing varies
    with pytest.raises(ValueError, match="no row has a vector"):
        stored(list(values[:, None])).take(np.array([], int)).statistics()


def test_pooling_rows_that_are_all_missing():
    pooled = stored(plain([0, 0])).pooled("mean")
    assert len(pooled) == 2 and pooled[1].shape == (0, 3)


def test_a_long_mean_in_half_precision_does_not_overflow():
    values = np.full((5000, 2), 60.0, dtype=np.float16)
    np.testing.assert_array_equal(Sequences.from_arrays(values, [5000]).pooled("mean")[0], [[60.0, 60.0]])


# The data set


def test_items_of_the_data_set():
    audio, text = plain([2, 0, 1]), plain([0, 3, 1])
    rows = EmotionRows(
        audio=stored(audio),
        text=stored(text),
        labels=np.array([2, 0, 1]),
        sample_weights=np.array([0.5, 1.0, 1.5], dtype=np.float32),
    )
    assert len(rows) == 3
    assert rows[0]["text_features"] is None and rows[1]["audio_features"] is None
    np.testing.assert_array_equal(rows[0]["audio_features"], audio[0])
    np.testing.assert_array_equal(rows[1]["text_features"], text[1])
    assert [rows[i]["labels"] for i in range(3)] == [2, 0, 1]
    assert [rows[i]["sample_weights"] for i in range(3)] == [0.5, 1.0, 1.5]
    batch = EmoMMDataCollator()([rows[i] for i in range(3)])
    assert batch["audio_mask"].tolist() == [[True, True], [False, False], [True, False]]
    assert batch["text_mask"].sum(dim=1).tolist() == [0, 3, 1]
    np.testing.assert_array_equal(batch["text_features"][1].numpy(), text[1])


def test_only_the_columns_that_are_given():
    rows = EmotionRows(tokens=[np.array([4, 5]), np.zeros(0, np.int64)])
    assert list(rows[0]) == ["input_ids"] and rows[1] == {"input_ids": None}
    assert list(EmotionRows(audio=stored(plain([1, 1])))[0]) == ["audio_features"]


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="same number of rows, got {'audio': 2, 'labels': 3}"):
        EmotionRows(audio=stored(plain([1, 1])), labels=np.zeros(3))
    with pytest.raises(ValueError, match="same number of rows"):
        EmotionRows()
