"""The model as numbers: what padding, order and company must not change, its loss, encoders, dropout, files."""

import inspect
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from test_losses import loss_by_hand
from tiny_encoders import KINDS
from tiny_encoders import tiny_encoder
from tiny_speech_encoders import KINDS as SPEECH_KINDS
from tiny_speech_encoders import WIDTH as SPEECH_WIDTH
from tiny_speech_encoders import tiny_speech_encoder
from torch import nn
from transformers import AutoFeatureExtractor
from transformers import AutoModel
from transformers import AutoModelForAudioClassification
from transformers import AutoModelForSequenceClassification
from transformers import AutoTokenizer
from transformers import Trainer
from transformers import TrainingArguments
from transformers.utils import can_return_loss
from transformers.utils import find_labels

from emomm import fusions
from emomm.configuration_emomm import EmoMMConfig
from emomm.data_collator import EmoMMDataCollator
from emomm.encoder_layers import EncoderLayers
from emomm.fusions import Fusion
from emomm.fusions import FusionOutput
from emomm.fusions import register_fusion
from emomm.losses import vad_loss
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.speech_encoders import SpeechEncoder

AUDIO_DIM, TEXT_DIM, CLASSES = 12, 16, 4
FIXTURES = Path(__file__).parent / "fixtures" / "exported_0_1"
SENTENCES = ["I am so happy today!", "leave me alone", "sad", "What a day, what a day."]

# Every setting of modality, fusion and pooling, and the voice projected or not.
SETTINGS = [
    *({"modality": "audio", "audio_projection_dim": width} for width in (None, 6)),
    *({"modality": "text", "text_pooling": pooling} for pooling in ("cls", "mean")),
    *(
        {"modality": "both", "fusion_type": fusion, "text_pooling": pooling, "audio_projection_dim": width}
        for fusion in ("adaptive", "concat", "cross_attention", "gated")
        for pooling, width in (("cls", None), ("mean", 6))
    ),
]
each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(str(v) for v in s.values()))


def config(**values) -> EmoMMConfig:
    given = {
        "audio_dim": AUDIO_DIM,
        "text_dim": TEXT_DIM,
        "fusion_hidden_dim": 16,
        "num_attention_heads": 4,
        "hidden_dim": 20,
        "num_labels": CLASSES,
    }
    return EmoMMConfig(**(given | values))


def model_of(seed: int = 0, **values) -> EmoMMForEmotionClassification:
    """A model in evaluation mode, whose LayerNorms are not the identity."""
    torch.manual_seed(seed)
    model = EmoMMForEmotionClassification(config(**values))
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias)
    return model.eval()


def rows_of(lengths: list[tuple[int, int]], seed: int = 0) -> list[dict]:
    """Rows with so many frames and tokens; 0 is none."""
    random = np.random.default_rng(seed)
    return [
        {
            "audio_features": random.standard_normal((frames, AUDIO_DIM)).astype(np.float32) if frames else None,
            "text_features": random.standard_normal((tokens, TEXT_DIM)).astype(np.float32) if tokens else None,
            "labels": i % CLASSES,
        }
        for i, (frames, tokens) in enumerate(lengths)
    ]


@torch.no_grad()
def outputs(model: EmoMMForEmotionClassification, batch: list[dict] | dict):
    return model(**(EmoMMDataCollator()(batch) if isinstance(batch, list) else batch))


def assert_close(got: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-6):
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)


def some_steps(model: EmoMMForEmotionClassification, rows: list[dict], steps: int = 5) -> list[float]:
    """Real optimiser steps; returns the losses."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    batch, losses = EmoMMDataCollator()(rows), []
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


# ---- what training rows alone decide --------------------------------------------------------------------------------


def statistics(dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 5 + torch.randn(dim, generator=generator), 0.2 + torch.rand(dim, generator=generator)


def standardizing(**values) -> EmoMMForEmotionClassification:
    model = model_of(feature_normalization="standardize", **values)
    for name, dim in model.config.standardized.items():
        model.set_feature_statistics(name, *statistics(dim, dim))
    return model


@each_setting
def test_a_standardising_model_is_a_plain_one_on_standardised_features(setting, tmp_path):
    """Frames, tokens, padding and single vectors; after saving and loading too."""
    standardized, plain = standardizing(**setting), model_of(**setting)
    standardized.save_pretrained(tmp_path)
    loaded = EmoMMForEmotionClassification.from_pretrained(tmp_path).eval()
    for lengths in ([(5, 3), (1, 4), (2, 1)], [(1, 1), (1, 1)]):
        batch = EmoMMDataCollator()(rows_of(lengths))
        by_hand = dict(batch)
        for name, dim in (("audio", AUDIO_DIM), ("text", TEXT_DIM)):
            mean, std = statistics(dim, dim)
            by_hand[f"{name}_features"] = (batch[f"{name}_features"] - mean) / std
        expected = outputs(plain, by_hand).logits
        assert_close(outputs(standardized, batch).logits, expected, 2e-5)
        assert torch.equal(outputs(loaded, batch).logits, outputs(standardized, batch).logits)
        assert not torch.allclose(outputs(plain, batch).logits, expected, atol=1e-3)


def test_a_tuned_encoders_states_are_not_standardised(encoders):
    """They change while it trains: statistics of its first states would be those of no model."""
    model = model_of(feature_normalization="standardize", freeze_text_encoder=False)
    assert list(model.config.standardized) == ["audio"]
    assert [name for name, _ in model.named_buffers()] == ["audio_mean", "audio_std"]


def test_wrong_statistics_are_refused():
    model = model_of(feature_normalization="standardize", modality="audio")
    right = torch.ones(AUDIO_DIM)
    for modality, mean, std, message in (
        ("text", right, right, "does not standardise 'text'"),
        ("audio", right[1:], right, r"audio_mean must be \(12,\), got \(11,\)"),
        ("audio", right, torch.zeros(AUDIO_DIM), "above 0"),
        ("audio", torch.full((AUDIO_DIM,), math.nan), right, "must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            model.set_feature_statistics(modality, mean, std)


def states_in_training(model, batch) -> list:
    """What the fusion sees in one training step."""
    seen = []
    model.fusion.register_forward_pre_hook(lambda _, states: seen.extend(states[0]))
    model.train()
    model(**batch)
    model.eval()
    return seen


@pytest.mark.parametrize("normalization", ["none", "standardize"])
def test_modality_dropout_hides_one_of_two_and_in_training_alone(normalization):
    torch.manual_seed(0)
    build = standardizing if normalization == "standardize" else model_of
    model = build(modality_dropout=0.4, fusion_type="adaptive")
    rows = rows_of([(2, 3)] * 3000 + [(0, 3), (2, 0)] * 500)
    audio, text = states_in_training(model, EmoMMDataCollator()(rows))
    hidden = torch.stack([~audio.present, ~text.present])
    assert hidden[:, :3000].sum(dim=1).tolist() == pytest.approx([600, 600], abs=75)  # 0.2 each; 3.4 deviations
    assert not hidden.all(dim=0).any()
    assert hidden[0, 3000::2].all() and not hidden[0, 3001::2].any()  # rows that lack one keep the other
    for state in (audio, text):
        assert not state.pooled[~state.present].any() and state.pooled[state.present].any(dim=1).all()
        assert not state.sequence[:3000][~state.present[:3000]].any()
    assert torch.equal(outputs(model, rows).logits, outputs(model, rows).logits)
    audio, text = states_in_training(build(fusion_type="adaptive"), EmoMMDataCollator()(rows[:3000]))
    assert audio.present.all() and text.present.all()


def test_noise_is_added_in_training_to_what_is_there():
    torch.manual_seed(0)
    noisy = standardizing(feature_noise={"audio": 0.5}, fusion_type="adaptive")
    clean = standardizing(fusion_type="adaptive")
    batch = EmoMMDataCollator()(rows_of([(2, 3)] * 400 + [(0, 2)] * 10))
    (audio, text), (audio_before, text_before) = states_in_training(noisy, batch), states_in_training(clean, batch)
    noise = audio.pooled - audio_before.pooled
    assert noise[:400].std().item() == pytest.approx(0.5, rel=0.05) and abs(noise.mean().item()) < 0.05
    assert not noise[400:].any() and torch.equal(text.pooled, text_before.pooled)
    moved = audio.sequence[:400] - audio_before.sequence[:400]  # (rows, frames, dim): every frame by the same
    torch.testing.assert_close(moved, noise[:400, None].expand_as(moved), atol=1e-5, rtol=0)
    assert torch.equal(outputs(noisy, batch).logits, outputs(clean, batch).logits)


@pytest.mark.parametrize("fusion", ["cross_attention", "gated", "concat"])
def test_models_exported_before_load_as_before(fusion):
    """Folders that version 0.1 wrote give the logits that it gave."""
    made = load_file(FIXTURES / f"{fusion}.safetensors")
    model = EmoMMForEmotionClassification.from_pretrained(FIXTURES / fusion).eval()
    assert (model.config.feature_normalization, model.config.fusion_block) == ("none", "original")
    given = {name: value for name, value in made.items() if name != "logits"}
    assert_close(outputs(model, given).logits, made["logits"])


@pytest.mark.parametrize("modality", ["both", "audio"])
def test_models_exported_with_their_code_load_as_before(modality, tmp_path):
    """Folders written before modalities were objects: standardising, cross attention, V/A/D, a projection."""
    folder = FIXTURES.parent / "exported_with_code"
    made = load_file(folder / f"{modality}.safetensors")
    model = EmoMMForEmotionClassification.from_pretrained(folder / modality).eval()
    found = outputs(model, {name: made[name] for name in made if name in inspect.signature(model.forward).parameters})
    assert_close(found.logits, made["logits"])
    assert_close(found.embedding, made["embedding"])
    if modality == "both":
        assert_close(found.vad, made["vad"])
        for i, weights in enumerate(found.attentions):
            assert_close(weights, made[f"attention_{i}"])
    model.config.save_pretrained(tmp_path)
    before, after = (json.loads((place / "config.json").read_text()) for place in (folder / modality, tmp_path))
    assert list(before) == list(after)
    assert {**before, "transformers_version": ""} == {**after, "transformers_version": ""}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: tiny_encoder(folder / kind, kind, TEXT_DIM) for kind in KINDS}


# Padding, order, company


@each_setting
def test_padding_changes_nothing(setting):
    model, rows = model_of(**setting), rows_of([(5, 3), (1, 7), (8, 1), (2, 2)])
    batch = EmoMMDataCollator()(rows)
    plain = outputs(model, batch)
    noise = torch.Generator().manual_seed(1)
    padded = dict(batch)
    for name, extra in (("audio", 6), ("text", 9)):
        mask, features = batch[f"{name}_mask"], batch[f"{name}_features"].clone()
        features[~mask] = 50 * torch.randn((~mask).sum(), features.shape[2], generator=noise)
        more = 50 * torch.randn(len(mask), extra, features.shape[2], generator=noise)
        padded[f"{name}_features"] = torch.cat([features, more], dim=1)
        padded[f"{name}_mask"] = torch.cat([mask, torch.zeros(len(mask), extra, dtype=torch.bool)], dim=1)
    longer = outputs(model, padded)
    for name in ("loss", "logits", "embedding", "gates"):
        if getattr(plain, name) is not None:
            assert_close(getattr(longer, name), getattr(plain, name))
    for short, long in zip(plain.attentions or (), longer.attentions or (), strict=True):
        assert_close(long[..., : short.shape[-1]], short)
        assert long[..., short.shape[-1] :].abs().max() == 0


@each_setting
def test_neither_order_nor_company_changes_a_row(setting):
    model, rows = model_of(**setting), rows_of([(5, 3), (1, 7), (8, 1), (2, 2), (4, 4)])
    whole = outputs(model, rows)
    order = [3, 0, 4, 2, 1]
    shuffled = outputs(model, [rows[i] for i in order])
    for name in ("logits", "embedding", "gates"):
        values = getattr(whole, name)
        if values is not None:
            assert_close(getattr(shuffled, name), values[order])
            for i, row in enumerate(rows):
                assert_close(getattr(outputs(model, [row]), name)[0], values[i])
    assert_close(shuffled.loss, whole.loss)
    assert whole.logits.std(dim=0).min() > 1e-3  # the rows do differ


@each_setting
def test_a_vector_is_a_sequence_of_one(setting):
    model, rows = model_of(**setting), rows_of([(1, 1), (1, 1), (1, 1)])
    batch = EmoMMDataCollator()(rows)
    assert batch["audio_features"].ndim == batch["text_features"].ndim == 2
    sequences = {name: value[:, None] if name.endswith("features") else value for name, value in batch.items()}
    assert_close(outputs(model, batch).logits, outputs(model, sequences).logits, 0)


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_one_modality_is_its_pooled_vector_through_the_classifier(modality):
    model = model_of(modality=modality, text_pooling="mean")
    rows = rows_of([(5, 3), (2, 4)])
    linear, norm, _, _, last = model.classifier
    for row, logits in zip(rows, outputs(model, rows).logits, strict=True):
        pooled = torch.from_numpy(row[f"{modality}_features"]).mean(dim=0)
        hidden = F.layer_norm(linear(pooled), (20,), norm.weight, norm.bias).relu()
        assert_close(logits, last(hidden).detach(), 2e-6)


def test_the_projection_of_the_voice_is_before_the_mean():
    model = model_of(modality="audio", audio_projection_dim=6, hidden_dim=0)
    rows = rows_of([(5, 0), (2, 0)])
    output = outputs(model, rows)
    for row, embedding, logits in zip(rows, output.embedding, output.logits, strict=True):
        frames = F.linear(torch.from_numpy(row["audio_features"]), *model.audio_projection.parameters()).relu()
        assert_close(embedding, frames.mean(dim=0).detach())
        assert_close(logits, model.classifier(frames.mean(dim=0)).detach())


def test_the_order_of_the_dict_of_outputs_and_the_tuple():
    model, rows = model_of(fusion_type="cross_attention"), rows_of([(5, 3), (1, 7)])
    batch = EmoMMDataCollator()(rows)
    output = outputs(model, batch)
    assert list(output.keys()) == ["loss", "logits", "embedding", "attentions"]
    as_tuple = outputs(model, batch | {"return_dict": False})
    assert_close(as_tuple[0], output.loss, 0)
    assert_close(as_tuple[1], output.logits, 0)
    assert output.embedding.shape == (2, 16)
    assert [a.shape for a in output.attentions] == [(2, 4, 7), (2, 4, 5)]


# Missing modalities


def test_adaptive_deals_with_each_row_as_if_alone():
    model = model_of(fusion_type="adaptive", dropout=0.2)
    losses = some_steps(model, rows_of([(3, 4), (2, 1), (5, 2), (1, 6)] * 4, seed=1), steps=20)
    assert losses[-1] < losses[0]
    rows = rows_of([(5, 3), (4, 0), (0, 7), (2, 2), (0, 1), (1, 0)])
    output = outputs(model, rows)
    for i, row in enumerate(rows):
        present = {name: value for name, value in row.items() if value is not None}
        for alone in (outputs(model, [row]), outputs(model, [present])):
            assert_close(alone.logits[0], output.logits[i])
            assert_close(alone.embedding[0], output.embedding[i])
            assert_close(alone.gates[0], output.gates[i], 0)
    assert output.gates.tolist() == [[0.5, 0.5], [1, 0], [0, 1], [0.5, 0.5], [0, 1], [1, 0]]
    # A row without words is what the voice's encoder makes of it, whatever the words would have been.
    pooled = torch.from_numpy(rows[1]["audio_features"]).mean(dim=0)
    assert_close(output.embedding[1], model.fusion.encoders[0](pooled).detach())
    whole = outputs(model, rows_of([(5, 3), (4, 6)]))
    assert (output.embedding[1] - whole.embedding[1]).abs().max() > 1e-2


def test_adaptive_trains_on_mixed_rows_and_every_part_learns():
    model = model_of(fusion_type="adaptive")
    model.train()
    model(**EmoMMDataCollator()(rows_of([(5, 3), (4, 0), (0, 7)]))).loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(p.grad.abs().max() > 0 for p in model.fusion.parameters())


@pytest.mark.parametrize("fusion", ["concat", "cross_attention", "gated"])
@pytest.mark.parametrize(("lengths", "name"), [([(3, 2), (3, 0)], "words"), ([(0, 2), (3, 2)], "voice")])
def test_the_other_fusions_name_the_missing_modality(fusion, lengths, name):
    model, rows = model_of(fusion_type=fusion), rows_of(lengths)
    with pytest.raises(ValueError, match=f"some rows have no {name}.*{fusion}.*adaptive"):
        outputs(model, rows)
    with pytest.raises(ValueError, match=f"row {1 if name == 'words' else 0} of the batch has no {name}.*adaptive"):
        EmoMMDataCollator(allow_missing=False)(rows)
    column = "text_features" if name == "words" else "audio_features"
    for mode in (model.eval(), model.train()):  # none of the rows has it
        with pytest.raises(ValueError, match=f"some rows have no {name}"):
            outputs(mode, [{key: value for key, value in row.items() if key != column} for row in rows])


@pytest.mark.parametrize(
    ("modality", "fusion", "needs"),
    [
        ("audio", "concat", "audio_features"),
        ("text", "concat", "input_ids or text_features"),
        ("both", "adaptive", "audio_features, input_ids or text_features"),
    ],
)
def test_a_batch_without_any_input_is_refused(modality, fusion, needs):
    model = model_of(modality=modality, fusion_type=fusion)
    with pytest.raises(ValueError, match=f"this model \\({modality}\\) needs {needs}"):
        model(labels=torch.tensor([0]))


def test_a_modality_that_the_model_does_not_use_is_not_looked_at():
    rows = rows_of([(5, 3), (1, 7)])
    for modality, column in (("audio", "text_features"), ("text", "audio_features")):
        model = model_of(modality=modality)
        without = [{key: value for key, value in row.items() if key != column} for row in rows]
        assert_close(outputs(model, rows).logits, outputs(model, without).logits, 0)


def test_features_and_masks_of_another_shape_are_refused():
    model = model_of(fusion_type="concat")
    audio, text = torch.zeros(2, AUDIO_DIM), torch.zeros(2, TEXT_DIM)
    with pytest.raises(ValueError, match=r"audio_features has shape \(2, 16\); this model takes \(batch, 12\)"):
        model(audio_features=text, text_features=text)
    with pytest.raises(ValueError, match=r"text_features has shape \(2, 12\).*\(batch, 16\) or \(batch, tokens, 16\)"):
        model(audio_features=audio, text_features=audio)
    with pytest.raises(ValueError, match=r"mask has shape \(2, 3\), the sequence \(2, 1\)"):
        model(audio_features=audio, audio_mask=torch.ones(2, 3), text_features=text)
    with pytest.raises(ValueError, match="holds no text encoder"):
        model(audio_features=audio, input_ids=torch.zeros(2, 3, dtype=torch.long))


# Losses (tests/test_losses.py has the functions)


def test_the_model_takes_its_loss_from_its_configuration():
    chosen = {
        "loss": "focal",
        "focal_gamma": 1.5,
        "loss_temperature": 0.5,
        "label_smoothing": 0.1,
        "class_weights": [1.0, 2.0, 0.5, 3.0],
    }
    model, rows = model_of(fusion_type="concat", **chosen), rows_of([(2, 3)] * 6)
    weights = np.linspace(0.5, 1.5, 6)
    batch = EmoMMDataCollator()([row | {"sample_weights": w} for row, w in zip(rows, weights, strict=True)])
    output = outputs(model, batch)
    expected = loss_by_hand(
        output.logits.double().tolist(), batch["labels"].tolist(), 1.5, 0.5, 0.1, chosen["class_weights"], weights
    )
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)
    assert outputs(model, {key: batch[key] for key in ("audio_features", "audio_mask", "text_features", "text_mask")})[
        "logits"
    ].equal(output.logits)


# Valence, arousal and dominance


def rated_batch(rows: int = 4) -> dict[str, torch.Tensor]:
    """A batch whose rows are rated, but the second not in arousal and the third not at all."""
    vad = np.linspace(1, 5, 3 * rows).reshape(rows, 3).astype(np.float32)
    vad[1, 1], vad[2] = np.nan, np.nan
    return EmoMMDataCollator()([row | {"vad": vad[i]} for i, row in enumerate(rows_of([(2, 3)] * rows))])


@pytest.mark.parametrize("hidden", [0, 20])
@pytest.mark.parametrize("setting", [{"modality": "audio"}, {"fusion_type": "gated"}], ids=str)
def test_a_model_of_ratings_gives_them_and_learns_them(tmp_path, setting, hidden):
    model = model_of(vad_loss_weight=0.5, hidden_dim=hidden, **setting)
    batch = rated_batch()
    output = outputs(model, batch)
    assert output.vad.shape == (4, 3) and ((1 < output.vad) & (output.vad < 5)).all()
    rest = {name: value for name, value in batch.items() if name != "vad"}
    without = outputs(model, rest)
    assert_close(output.loss, without.loss + 0.5 * vad_loss(output.vad, batch["vad"]))
    assert_close(output.logits, without.logits, 0)
    assert_close(output.logits, model.classifier(output.embedding))  # the same classes as without the head
    model.save_pretrained(tmp_path)
    assert_close(outputs(AutoModel.from_pretrained(tmp_path), batch).vad, output.vad, 0)
    goal = np.array([4.5, 1.5, 3.0], np.float32)
    some_steps(model, [row | {"vad": goal} for row in rows_of([(2, 3)] * 4)], 400)
    left = (outputs(model, rest).vad - torch.from_numpy(goal)).abs().mean()
    assert left < 0.3 * (output.vad - torch.from_numpy(goal)).abs().mean()


def test_a_model_without_ratings_has_no_head_for_them():
    model = model_of()
    assert model.vad_head is None and not any("vad" in name for name in model.state_dict())
    output = outputs(model, rated_batch())
    assert output.vad is None and len(output.to_tuple()) == 4


# Text encoders


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_words_of_each_encoder_are_pooled_as_by_hand(encoders, kind, pooling):
    encoder, tokenizer = AutoModel.from_pretrained(encoders[kind]), AutoTokenizer.from_pretrained(encoders[kind])
    model = model_of(modality="text", text_pooling=pooling, hidden_dim=0)
    model.attach_text_encoder(AutoModel.from_pretrained(encoders[kind]))
    ids = tokenizer(SENTENCES)["input_ids"]
    batch = EmoMMDataCollator(pad_token_id=tokenizer.pad_token_id)([{"input_ids": np.array(row)} for row in ids])
    output = outputs(model, batch)
    rows = []
    for i, row in enumerate(ids):
        with torch.no_grad():
            states = encoder(input_ids=torch.tensor([row])).last_hidden_state[0]  # alone, so without padding
        pooled = states[0] if pooling == "cls" else sum(states) / len(row)
        rows.append({"text_features": states.numpy()})
        assert_close(output.embedding[i], pooled, 2e-6)
        assert_close(output.logits[i], F.linear(pooled, model.classifier.weight, model.classifier.bias).detach(), 2e-6)
    # Stored states in place of tokens: the same; and so it is with more padding.
    assert_close(outputs(model, rows).logits, output.logits, 2e-6)
    longer = {
        "input_ids": F.pad(batch["input_ids"], (0, 9), value=tokenizer.pad_token_id),
        "attention_mask": F.pad(batch["attention_mask"], (0, 9)),
    }
    assert_close(outputs(model, longer).logits, output.logits)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_words_beside_rows_with_them(encoders, kind):
    tokenizer = AutoTokenizer.from_pretrained(encoders[kind])
    model = model_of(fusion_type="adaptive")
    model.attach_text_encoder(AutoModel.from_pretrained(encoders[kind]))
    ids = [np.array(row) for row in tokenizer(SENTENCES)["input_ids"]]
    rows = [
        {"audio_features": row["audio_features"], "input_ids": words}
        for row, words in zip(rows_of([(3, 0)] * 4), [ids[0], None, ids[2], np.zeros(0, np.int64)], strict=True)
    ]
    collator = EmoMMDataCollator(pad_token_id=tokenizer.pad_token_id)
    masks = []
    model.text_encoder.register_forward_pre_hook(
        lambda module, given, named: masks.append(named["attention_mask"]), with_kwargs=True
    )
    output = outputs(model, collator(rows))
    assert masks[0].any(dim=1).all()  # some attention kernels give NaN for a row without a token
    assert output.gates.tolist() == [[0.5, 0.5], [1, 0], [0.5, 0.5], [1, 0]]
    for i, row in enumerate(rows):
        assert_close(outputs(model, collator([row])).logits[0], output.logits[i], 2e-6)
    voice = outputs(model, collator([{"audio_features": rows[1]["audio_features"]}]))
    assert_close(voice.logits[0], output.logits[1])


def with_encoder(path: str, frozen: bool, **values) -> EmoMMForEmotionClassification:
    model = model_of(fusion_type="cross_attention", dropout=0.0, freeze_text_encoder=frozen, **values)
    model.attach_text_encoder(AutoModel.from_pretrained(path))
    return model


def token_batch(path: str) -> dict[str, torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = tokenizer(SENTENCES)["input_ids"]
    rows = rows_of([(3, 0), (1, 0), (5, 0), (2, 0)])
    return EmoMMDataCollator(pad_token_id=tokenizer.pad_token_id)(
        [
            {"audio_features": row["audio_features"], "input_ids": np.array(words), "labels": row["labels"]}
            for row, words in zip(rows, ids, strict=True)
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_encoder_stays_in_evaluation_and_learns_nothing(encoders, kind):
    model, batch = with_encoder(encoders[kind], frozen=True), token_batch(encoders[kind])
    expected = outputs(model, batch).logits
    model.train()
    assert model.classifier.training and not any(module.training for module in model.text_encoder.modules())
    output = model(**batch)
    assert_close(output.logits.detach(), expected, 0)  # no dropout in the encoder, none in the head
    output.loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in model.text_encoder.parameters())
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("text_encoder."))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fine_tuned_encoder_learns(encoders, kind):
    model, batch = with_encoder(encoders[kind], frozen=False), token_batch(encoders[kind])
    expected = outputs(model, batch).logits
    model.train()
    assert all(module.training for module in model.text_encoder.modules())
    output = model(**batch)
    assert (output.logits.detach() - expected).abs().max() > 1e-4  # the encoder's own dropout
    output.loss.backward()
    without = [name for name, p in model.text_encoder.named_parameters() if p.grad is None]
    assert without == []
    assert model.text_encoder.get_input_embeddings().weight.grad.abs().max() > 0


def test_a_model_built_with_a_frozen_encoder_is_frozen_from_the_start(encoders):
    source = with_encoder(encoders["bert"], frozen=True)
    model = EmoMMForEmotionClassification(source.config)
    assert not any(module.training for module in model.text_encoder.modules()) and model.classifier.training
    assert not any(p.requires_grad for p in model.text_encoder.parameters())
    assert all(p.requires_grad for p in model.fusion.parameters())


def test_an_encoder_of_another_width_is_refused(encoders):
    with pytest.raises(ValueError, match="states are 16 wide, the model expects text_dim=32"):
        model_of(text_dim=32).attach_text_encoder(AutoModel.from_pretrained(encoders["bert"]))


def test_a_model_for_voice_builds_no_encoder(encoders):
    source = with_encoder(encoders["bert"], frozen=True)
    voice = EmoMMForEmotionClassification(config(modality="audio", text_config=source.config.text_config))
    assert voice.text_encoder is None and voice.fusion is None
    assert {name.split(".")[0] for name in voice.state_dict()} == {"classifier"}


# Dropout


@pytest.mark.parametrize("fusion", ["adaptive", "concat", "cross_attention", "gated"])
def test_set_dropout_reaches_the_whole_head_and_no_encoder(encoders, fusion):
    model = model_of(fusion_type=fusion, dropout=0.1, freeze_text_encoder=False)
    model.attach_text_encoder(AutoModel.from_pretrained(encoders["bert"]))
    of_encoder = {name: m.p for name, m in model.text_encoder.named_modules() if isinstance(m, nn.Dropout)}
    head = [m for name, m in model.named_modules() if isinstance(m, nn.Dropout) and "text_encoder" not in name]
    # By hand: cross attention has 2 in each of 2 blocks and 1 after; the classifier has 1.
    assert len(head) == {"adaptive": 3, "concat": 2, "cross_attention": 5, "gated": 1}[fusion] + 1
    assert of_encoder and {m.p for m in head} == {0.1}
    model.set_dropout(0.35)
    assert {m.p for m in head} == {0.35}
    assert {name: m.p for name, m in model.text_encoder.named_modules() if isinstance(m, nn.Dropout)} == of_encoder
    for wrong in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="dropout="):
            model.set_dropout(wrong)


def test_set_dropout_reaches_every_kind_of_an_own_fusion():
    """Dropout of other shapes, and layers that hold it as a number."""
    model = model_of(fusion_type="concat", dropout=0.1)
    kinds = [nn.Dropout(0.2), nn.Dropout1d(0.2), nn.Dropout2d(0.2), nn.AlphaDropout(0.2), nn.FeatureAlphaDropout(0.2)]
    layers = [nn.MultiheadAttention(8, 2, dropout=0.2), nn.GRU(8, 8, num_layers=2, dropout=0.2)]
    model.fusion.others = nn.ModuleList([*kinds, *layers, nn.TransformerEncoderLayer(8, 2, dropout=0.2)])
    model.set_dropout(0.35)
    assert {each.p for each in kinds} == {each.dropout for each in layers} == {0.35}
    block = model.fusion.others[-1]
    assert {block.self_attn.dropout, block.dropout.p, block.dropout1.p, block.dropout2.p} == {0.35}


@each_setting
def test_dropout_0_makes_training_the_same_as_evaluation(setting):
    model, rows = model_of(dropout=0.3, **setting), rows_of([(5, 3), (1, 7), (8, 1)])
    batch = EmoMMDataCollator()(rows)
    expected = outputs(model, batch).logits
    model.train()
    assert (outputs(model, batch).logits - expected).abs().max() > 1e-3
    model.set_dropout(0.0)
    assert_close(outputs(model, batch).logits, expected, 0)


# Files


@pytest.mark.parametrize("frozen", [True, False])
def test_a_trained_model_comes_back_bitwise(tmp_path, encoders, frozen):
    chosen = {"class_weights": [1.0, 2.0, 0.5, 3.0], "audio_projection_dim": 6, "label_smoothing": 0.1}
    if frozen:
        model = model_of(fusion_type="cross_attention", text_model_name=encoders["bert"], **chosen)
        batch = EmoMMDataCollator()(rows_of([(3, 2), (1, 4), (2, 2), (4, 1)]))
    else:
        model, batch = with_encoder(encoders["bert"], frozen=False, **chosen), token_batch(encoders["bert"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.eval()
    assert not all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.save_pretrained(tmp_path)
    for auto_class in (AutoModel, AutoModelForSequenceClassification, AutoModelForAudioClassification):
        loaded = auto_class.from_pretrained(tmp_path)
        assert type(loaded) is EmoMMForEmotionClassification and not loaded.training
        assert loaded.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
        got, expected = outputs(loaded, batch), outputs(model, batch)
        assert_close(got.logits, expected.logits, 0)
        assert_close(got.loss, expected.loss, 0)


def test_while_a_frozen_model_trains_its_files_hold_what_trains_alone(tmp_path, encoders):
    model = model_of(fusion_type="cross_attention", text_model_name=encoders["bert"], dropout=0.1)
    model.config.text_config = AutoModel.from_pretrained(encoders["bert"]).config
    some_steps(model, rows_of([(3, 2), (1, 4)]))
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    assert names == set(dict(model.named_parameters()))
    assert {name.split(".")[0] for name in names} == {"fusion", "classifier"}
    assert json.loads((tmp_path / "config.json").read_text())["holds_text_encoder"] is False
    assert EmoMMForEmotionClassification.from_pretrained(tmp_path).text_encoder is None


def test_initial_weights_are_torchs_own_and_a_function_of_the_seed():
    first, again, other = model_of(seed=0), model_of(seed=0), model_of(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.classifier[0].weight, other.classifier[0].weight)
    torch.manual_seed(0)
    wide = EmoMMForEmotionClassification(config(modality="audio", audio_dim=400, hidden_dim=500))
    bound = 1 / math.sqrt(400)
    for values in (wide.classifier[0].weight, wide.classifier[0].bias):
        assert values.abs().max() <= bound
        assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_a_fusion_of_the_users_own_says_how_it_is_loaded(monkeypatch):
    with pytest.raises(
        ValueError, match="fusion_type='mine' comes with the model, in my_fusion.py.*trust_remote_code"
    ):
        model_of(fusion_type="mine", fusion_module="my_fusion")
    with pytest.raises(ValueError, match="fusion_type='mine' is not known; it can be adaptive"):
        model_of(fusion_type="mine")
    monkeypatch.setattr(fusions, "_REGISTRY", dict(fusions._REGISTRY))

    @register_fusion("mine")
    class Mine(Fusion):
        def __init__(self, dims, hidden_dim):
            super().__init__()
            self.projections = nn.ModuleList(nn.Linear(dim, hidden_dim) for dim in dims)

        def forward(self, states):
            return FusionOutput(sum(p(s.pooled) for p, s in zip(self.projections, states, strict=True)))

    model, rows = model_of(fusion_type="mine", text_pooling="mean"), rows_of([(2, 3)])
    audio, text = (torch.from_numpy(rows[0][f"{name}_features"]).mean(0) for name in ("audio", "text"))
    expected = model.fusion.projections[0](audio) + model.fusion.projections[1](text)
    assert_close(outputs(model, rows).embedding[0], expected.detach())


# What the Trainer makes of the model


def test_the_trainer_finds_one_label_and_gives_no_keyword_arguments():
    assert EmoMMForEmotionClassification.accepts_loss_kwargs is False  # or it would divide the loss by itself
    with pytest.raises(TypeError, match=r"this model \(both\) takes no gaze_features"):
        model_of()(**EmoMMDataCollator()(rows_of([(1, 1)])), gaze_features=torch.zeros(1, 5))
    assert find_labels(EmoMMForEmotionClassification) == ["labels"]
    assert not can_return_loss(EmoMMForEmotionClassification)


def test_a_plain_trainer_evaluates_and_predicts(tmp_path):
    model, rows = model_of(fusion_type="cross_attention", class_weights=[1.0, 2.0, 0.5, 3.0]), rows_of([(2, 3)] * 10)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        per_device_eval_batch_size=4,
    )
    seen = []

    def scores(prediction):
        seen.append(prediction)
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = Trainer(model, arguments, eval_dataset=rows, data_collator=EmoMMDataCollator(), compute_metrics=scores)
    assert trainer.label_names == ["labels"]
    assert not trainer.model_accepts_loss_kwargs
    metrics = trainer.evaluate()
    expected = outputs(model, rows)
    assert metrics["eval_accuracy"] == pytest.approx(
        float((expected.logits.argmax(-1).numpy() == [row["labels"] for row in rows]).mean())
    )
    # Neither embedding nor attentions are gathered: the predictions are the logits.
    assert isinstance(seen[0].predictions, np.ndarray)
    np.testing.assert_allclose(seen[0].predictions, expected.logits.numpy(), atol=1e-6)
    unlabelled = [{key: value for key, value in row.items() if key != "labels"} for row in rows]
    np.testing.assert_allclose(trainer.predict(unlabelled).predictions, expected.logits.numpy(), atol=1e-6)


# ---- the speech encoder ---------------------------------------------------------------------------------------------

SPEECH_LENGTHS = [6400, 2000, 4100]


@pytest.fixture(scope="module")
def speech_encoders(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("speech")
    return {kind: tiny_speech_encoder(folder / kind, kind) for kind in SPEECH_KINDS}


def recordings(lengths: list[int] = SPEECH_LENGTHS) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [0.1 * random.standard_normal(length).astype(np.float32) for length in lengths]


def heard(path: str, waveforms: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """What an encoder's own feature extractor makes of recordings, under the names that the model takes."""
    extractor = AutoFeatureExtractor.from_pretrained(path)
    padding = "max_length" if "Whisper" in type(extractor).__name__ else True
    made = extractor(waveforms, sampling_rate=16000, padding=padding, return_attention_mask=True, return_tensors="pt")
    return {name if name != "attention_mask" else f"speech_{name}": value for name, value in made.items()}


def with_speech(path: str, **values) -> EmoMMForEmotionClassification:
    encoder = AutoModel.from_pretrained(path)
    given = {"modality": "audio", "audio_dim": SPEECH_WIDTH, "speech_config": encoder.config, "dropout": 0.0}
    model = model_of(**(given | values))
    model.attach_speech_encoder(encoder)
    return model.eval()


@pytest.mark.parametrize("layers", ["last", "mean", "weighted", [0, -1]], ids=str)
@pytest.mark.parametrize("kind", SPEECH_KINDS)
def test_recordings_give_what_their_stored_states_give(speech_encoders, kind, layers):
    """Whatever they are batched with; by the code that extracts features, which is transformers' own."""
    model = with_speech(speech_encoders[kind], speech_layers=layers, feature_normalization="standardize")
    width = model.config.given_width("audio")
    model.set_feature_statistics("audio", *statistics(width, 3))
    if layers == "weighted":
        nn.init.normal_(model.speech_layer_weights)
    waveforms = recordings()
    batch = heard(speech_encoders[kind], waveforms)
    found = outputs(model, batch).logits
    numbers = layers if isinstance(layers, list) else {"last": [-1]}.get(layers, range(4))
    by_layer = []
    for layer in numbers:
        encoder = SpeechEncoder.from_pretrained(speech_encoders[kind], layers=[layer], device="cpu")
        by_layer.append([torch.from_numpy(states) for states in encoder(waveforms)])
    for row in range(len(waveforms)):
        states = [of_layer[row] for of_layer in by_layer]
        joined = torch.cat(states, dim=-1) if layers == "weighted" else torch.stack(states).mean(dim=0)
        expected = outputs(model, {"audio_features": joined[None]}).logits
        assert_close(found[row : row + 1], expected, 1e-5)
        alone = outputs(model, heard(speech_encoders[kind], [waveforms[row]])).logits
        assert_close(found[row : row + 1], alone, 1e-5)
        if layers == "weighted":  # pooling commutes
            assert_close(outputs(model, {"audio_features": joined.mean(dim=0)[None]}).logits, expected, 1e-5)


@pytest.mark.parametrize("kind", SPEECH_KINDS)
def test_recordings_give_what_the_states_of_a_layer_give(speech_encoders, kind):
    """Of a tuned encoder whose lower layers are stored."""
    model = with_speech(speech_encoders[kind], speech_tuning="last_k", speech_start=1, speech_layers=[2, 3])
    batch = heard(speech_encoders[kind], recordings())
    inputs, mask = next(iter(batch.values())), batch["speech_attention_mask"]
    with torch.no_grad():
        states, frame_mask = EncoderLayers.of(model.speech_encoder).lower(inputs, mask, 1)
    stored = {"speech_states": states, "speech_mask": frame_mask}
    assert_close(outputs(model, stored).logits, outputs(model, batch).logits, 1e-5)
    with pytest.raises(ValueError, match="of layer 1, and the model uses layer 0"):
        model.config.speech_layers = [0, 3]
        outputs(model, stored)


def test_rows_without_a_recording_beside_rows_with_one(speech_encoders):
    for kind in SPEECH_KINDS:
        model = with_speech(speech_encoders[kind], modality="both", fusion_type="adaptive")
        batch = heard(speech_encoders[kind], recordings())
        batch["speech_attention_mask"][1] = 0
        words = {"text_features": torch.randn(3, 2, TEXT_DIM), "text_mask": torch.ones(3, 2)}
        found = outputs(model, {**batch, **words})
        assert found.gates[1].tolist() == [0, 1] and found.logits.isfinite().all()
        alone = outputs(model, {name: value[1:2] for name, value in words.items()})
        assert_close(found.logits[1:2], alone.logits)


def test_a_voice_model_takes_the_mask_as_pipelines_give_it(speech_encoders):
    model = with_speech(speech_encoders["wavlm"])
    batch = heard(speech_encoders["wavlm"], recordings())
    plain = outputs(model, batch).logits
    batch["attention_mask"] = batch.pop("speech_attention_mask")
    assert torch.equal(outputs(model, batch).logits, plain)


@pytest.mark.parametrize("kind", SPEECH_KINDS)
def test_a_model_with_its_speech_encoder_comes_back_bitwise(speech_encoders, kind, tmp_path):
    model = with_speech(speech_encoders[kind], speech_layers="weighted", speech_tuning="full", spec_augment=0.1)
    nn.init.normal_(model.speech_layer_weights)
    model.save_pretrained(tmp_path)
    loaded = EmoMMForEmotionClassification.from_pretrained(tmp_path).eval()
    batch = heard(speech_encoders[kind], recordings())
    assert torch.equal(outputs(loaded, batch).logits, outputs(model, batch).logits)
    assert loaded.config.speech_config.model_type == model.config.speech_config.model_type


def test_a_frozen_speech_encoder_stays_in_evaluation_and_a_tuned_one_learns(speech_encoders):
    batch = heard(speech_encoders["wavlm"], recordings()) | {"labels": torch.tensor([0, 1, 2])}
    frozen = with_speech(speech_encoders["wavlm"]).train()
    assert not any(module.training for module in frozen.speech_encoder.modules())
    output = frozen(**batch)
    assert_close(output.logits.detach(), outputs(frozen.eval(), batch).logits, 0)
    output.loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in frozen.speech_encoder.parameters())
    tuned = with_speech(speech_encoders["wavlm"], speech_tuning="full", layer_drop=0.9, spec_augment=0.5)
    assert list(tuned.config.standardized) == []
    expected = outputs(tuned, batch).logits
    tuned.train()
    tuned(**batch).loss.backward()
    torch.manual_seed(0)
    first = tuned(**batch).logits
    torch.manual_seed(0)
    assert torch.equal(tuned(**batch).logits, first)  # as resume states need it
    assert (first.detach() - expected).abs().max() > 1e-4
    assert tuned.speech_encoder.feature_projection.projection.weight.grad.abs().max() > 0


def test_checkpointing_reaches_the_encoders(encoders, speech_encoders):
    """Also MPNet's, whose own code has none."""
    words = AutoModel.from_pretrained(encoders["mpnet"])
    model = with_speech(
        speech_encoders["wavlm"], modality="both", speech_tuning="full", text_tuning="full", text_config=words.config
    )
    model.attach_text_encoder(words)
    batch = token_batch(encoders["mpnet"])
    batch = {name: batch[name][:3] for name in ("input_ids", "attention_mask", "labels")}
    batch |= heard(speech_encoders["wavlm"], recordings())

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model.train()
        torch.manual_seed(0)
        model(**batch).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain, runs = gradients(), []
    model.activation_checkpointing_enable()
    for layer in (model.text_encoder.encoder.layer[0], model.speech_encoder.encoder.layers[0]):
        layer.attention.register_forward_pre_hook(lambda *_: runs.append(1))
    checkpointed = gradients()
    assert len(runs) == 4  # once forward, and once again backward, each
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)


def test_a_configuration_leaves_the_encoders_as_it_is(encoders):
    """transformers would make its attention forget the mask."""
    encoder = AutoModel.from_pretrained(encoders["bert"])
    before = encoder.config._attn_implementation
    config(text_config=encoder.config, speech_config=encoder.config)
    assert encoder.config._attn_implementation == before is not None


def test_what_does_not_fit_a_speech_encoder_is_refused(speech_encoders):
    encoder = AutoModel.from_pretrained(speech_encoders["wavlm"])
    with pytest.raises(ValueError, match="states are 16 wide, the model expects audio_dim=12"):
        model_of(modality="audio").attach_speech_encoder(encoder)
    with pytest.raises(ValueError, match="holds no speech encoder"):
        outputs(model_of(modality="audio"), {"input_values": torch.zeros(1, 4000)})
    with pytest.raises(ValueError, match="no layers that go on from them"):
        outputs(model_of(modality="audio"), {"speech_states": torch.zeros(1, 4, AUDIO_DIM)})
