"""Whole batches, tensor by tensor."""

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor
from transformers import WhisperFeatureExtractor

from emomm.data_collator import EmoMMDataCollator


def frames(*values: float) -> np.ndarray:
    """(frames, 2): each value twice, the second negative."""
    return np.array([[value, -value] for value in values], dtype=np.float32)


def assert_batch(batch: dict[str, torch.Tensor], **expected: torch.Tensor):
    assert list(batch) == list(expected)
    for name, value in expected.items():
        assert batch[name].dtype == value.dtype and torch.equal(batch[name], value), name


def test_variable_lengths_are_padded_and_masked():
    rows = [
        {"audio_features": frames(1, 2, 3), "text_features": frames(7), "labels": 2, "sample_weights": 0.5},
        {"audio_features": frames(4), "text_features": frames(8, 9), "labels": 0, "sample_weights": 1.5},
    ]
    for row, vad in zip(rows, ([1, 2, 3], [4, 5, 1]), strict=True):
        row["vad"] = np.array(vad, np.float32)
    assert_batch(
        EmoMMDataCollator(allow_missing=False)(rows),
        audio_features=torch.tensor([[[1, -1], [2, -2], [3, -3]], [[4, -4], [0, 0], [0, 0]]], dtype=torch.float32),
        audio_mask=torch.tensor([[True, True, True], [True, False, False]]),
        text_features=torch.tensor([[[7, -7], [0, 0]], [[8, -8], [9, -9]]], dtype=torch.float32),
        text_mask=torch.tensor([[True, False], [True, True]]),
        labels=torch.tensor([2, 0]),
        sample_weights=torch.tensor([0.5, 1.5]),
        vad=torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 1.0]]),
    )


@pytest.mark.parametrize("shape", ["vector", "sequence of one"])
def test_one_vector_a_row_needs_no_mask(shape):
    values = [frames(1)[0], frames(2)[0]] if shape == "vector" else [frames(1), frames(2)]
    rows = [{"audio_features": value, "label": i} for i, value in enumerate(values)]
    assert_batch(
        EmoMMDataCollator()(rows),
        audio_features=torch.tensor([[1.0, -1.0], [2.0, -2.0]]),
        labels=torch.tensor([0, 1]),
    )


def test_vectors_and_sequences_mix():
    batch = EmoMMDataCollator()([{"audio_features": frames(1)[0]}, {"audio_features": frames(2, 3)}])
    assert_batch(
        batch,
        audio_features=torch.tensor([[[1.0, -1.0], [0.0, 0.0]], [[2.0, -2.0], [3.0, -3.0]]]),
        audio_mask=torch.tensor([[True, False], [True, True]]),
    )


@pytest.mark.parametrize("missing", [None, np.zeros((0, 2), np.float32)])
def test_a_missing_modality_is_a_mask_of_zeros(missing):
    rows = [
        {"audio_features": frames(1, 2), "text_features": missing},
        {"audio_features": missing, "text_features": frames(8)},
    ]
    assert_batch(
        EmoMMDataCollator()(rows),
        audio_features=torch.tensor([[[1.0, -1.0], [2.0, -2.0]], [[0.0, 0.0], [0.0, 0.0]]]),
        audio_mask=torch.tensor([[True, True], [False, False]]),
        text_features=torch.tensor([[[0.0, 0.0]], [[8.0, -8.0]]]),
        text_mask=torch.tensor([[False], [True]]),
    )


def test_a_modality_that_no_row_has_is_left_out():
    rows = [{"audio_features": None, "text_features": frames(8), "labels": 1}]
    batch = EmoMMDataCollator()(rows)
    assert_batch(batch, text_features=torch.tensor([[8.0, -8.0]]), labels=torch.tensor([1]))


def test_tokens_are_padded_with_the_tokenizers_token():
    ids = [np.array([5, 6, 7]), [8], None, np.array([])]
    voice = np.ones(2, np.float32)
    assert_batch(
        EmoMMDataCollator(pad_token_id=1)([{"input_ids": row, "audio_features": voice} for row in ids]),
        audio_features=torch.ones(4, 2),
        input_ids=torch.tensor([[5, 6, 7], [8, 1, 1], [1, 1, 1], [1, 1, 1]]),
        attention_mask=torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]),
    )


def test_tokens_that_no_row_has_are_one_masked_place():
    assert_batch(
        EmoMMDataCollator(pad_token_id=3)(2 * [{"input_ids": None, "audio_features": np.ones(2, np.float32)}]),
        audio_features=torch.ones(2, 2),
        input_ids=torch.tensor([[3], [3]]),
        attention_mask=torch.tensor([[0], [0]]),
    )


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("audio_features", frames(1, 2), "voice"),
        ("text_features", frames(1), "words"),
        ("input_ids", np.array([4, 5]), "words"),
    ],
)
def test_rows_that_may_lack_nothing(name, value, what):
    collator = EmoMMDataCollator(allow_missing=False)
    assert len(collator([{name: value}, {name: value}])[name]) == 2
    with pytest.raises(ValueError, match=f"row 1 of the batch has no {what} \\({name} is empty\\).*adaptive"):
        collator([{name: value}, {name: None}])
    with pytest.raises(ValueError, match=f"row 0 of the batch has no {what}"):
        collator([{name: None}, {name: None}])


@pytest.mark.parametrize("names", [["audio_features"], ["input_ids"], ["audio_features", "text_features"]])
def test_a_row_must_have_something(names):
    full = {name: np.ones((1, 2), np.float32) if "features" in name else np.array([1]) for name in names}
    with pytest.raises(ValueError, match="row 1 of the batch has neither voice nor words"):
        EmoMMDataCollator()([full, dict.fromkeys(names)])


def test_half_precision_and_doubles_become_float32_and_nothing_is_shared():
    half = np.array([[1.5, 2.5]], dtype=np.float16)
    single = np.array([[1.0, 2.0]], dtype=np.float32)
    for value in (half, half.astype(np.float64), single):
        batch = EmoMMDataCollator()([{"audio_features": value}])
        assert batch["audio_features"].dtype == torch.float32
        np.testing.assert_array_equal(batch["audio_features"].numpy(), value)
        batch["audio_features"].zero_()
        assert value.any()


def test_other_columns_are_left_out():
    batch = EmoMMDataCollator()([{"audio_features": frames(1), "speaker": "IEMO/3", "difficulty": 0.4}])
    assert list(batch) == ["audio_features"]


# ---- recordings and states of encoders


def samples(*lengths):
    return [(np.random.default_rng(length).normal(size=length) * 0.1).astype(np.float32) for length in lengths]


def extractor(**values):
    return Wav2Vec2FeatureExtractor(return_attention_mask=False, **values)


def test_recordings_go_through_the_encoders_feature_extractor():
    """Normalised over what is real, whatever the extractor's own setting; a row without one is zeros, also masked."""
    first, last = samples(900, 400)
    rows = [{"input_values": value, "labels": i} for i, value in enumerate((first, None, last))]
    batch = EmoMMDataCollator(feature_extractor=extractor(do_normalize=True))(
        [{**row, "audio_features": frames(1)} for row in rows]
    )
    assert list(batch) == ["input_values", "speech_attention_mask", "audio_features", "labels"]
    assert batch["input_values"].shape == (3, 900) and batch["input_values"].dtype == torch.float32
    for row, value in ((0, first), (2, last)):
        expected = (value - value.mean()) / np.sqrt(value.var() + 1e-7)
        np.testing.assert_allclose(batch["input_values"][row, : len(value)], expected, atol=1e-5)
        assert not batch["input_values"][row, len(value) :].any()
    assert batch["speech_attention_mask"].sum(dim=1).tolist() == [900, 0, 400]
    assert not batch["input_values"][1].any() and batch["labels"].tolist() == [0, 1, 2]
    silent = EmoMMDataCollator(feature_extractor=extractor())(
        [{"input_values": None, "text_features": frames(1)}, {"input_values": None, "text_features": frames(2)}]
    )
    assert list(silent) == ["text_features"]


def test_mel_features_of_windows_of_thirty_seconds():
    collate = EmoMMDataCollator(feature_extractor=WhisperFeatureExtractor())
    batch = collate([{"input_values": value} for value in samples(16000, 3200)])
    assert batch["input_features"].shape == (2, 80, 3000) and batch["speech_attention_mask"].shape == (2, 3000)
    assert batch["speech_attention_mask"].sum(dim=1).tolist() == [100, 20]
    with pytest.raises(ValueError, match="a window of 480001 samples is too long: this encoder takes at most 480000"):
        collate([{"input_values": np.zeros(480001, np.float32)}])


def test_windows_of_a_row_are_rows_of_the_batch():
    """With all else that the row has, and told whose they are; where each row is one window nothing is told."""
    first, second, third = samples(500, 300, 400)
    rows = [
        {"input_values": first, "text_features": frames(1), "labels": 4},
        {"input_values": [second, third], "text_features": frames(2), "labels": 5},
    ]
    collate = EmoMMDataCollator(feature_extractor=extractor(do_normalize=False))
    batch = collate(rows)
    assert torch.equal(batch["window_of"], torch.tensor([0, 1, 1])) and batch["labels"].tolist() == [4, 5, 5]
    assert batch["speech_attention_mask"].sum(dim=1).tolist() == [500, 300, 400]
    np.testing.assert_allclose(batch["input_values"][2, :400], third)
    assert batch["text_features"][:, 0].tolist() == [1, 2, 2]
    assert "window_of" not in collate(rows[:1])


def test_states_of_encoders_are_always_a_sequence():
    rows = [
        {"speech_states": frames(1), "text_states": frames(2, 3)},
        {"speech_states": None, "text_states": frames(4)},
    ]
    assert_batch(
        EmoMMDataCollator()(rows),
        speech_states=torch.tensor([[[1.0, -1.0]], [[0.0, 0.0]]]),
        speech_mask=torch.tensor([[True], [False]]),
        text_states=torch.tensor([[[2.0, -2.0], [3.0, -3.0]], [[4.0, -4.0], [0.0, 0.0]]]),
        text_states_mask=torch.tensor([[True, True], [True, False]]),
    )


def test_recordings_that_are_missing_or_have_no_extractor():
    with pytest.raises(ValueError, match="row 1 of the batch has no voice"):
        EmoMMDataCollator(allow_missing=False, feature_extractor=extractor())(
            [{"input_values": samples(400)[0]}, {"input_values": None}]
        )
    with pytest.raises(ValueError, match="row 0 of the batch has neither voice nor words"):
        EmoMMDataCollator(feature_extractor=extractor())([{"input_values": None, "input_ids": None}])
    with pytest.raises(ValueError, match="give the speech encoder's feature_extractor"):
        EmoMMDataCollator()([{"input_values": samples(400)[0]}])
