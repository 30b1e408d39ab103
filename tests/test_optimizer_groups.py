"""The groups of an optimiser, by hand; what of a model is written while it trains."""

import pytest
import torch
from tiny_speech_encoders import LAYERS
from tiny_speech_encoders import WIDTH
from tiny_speech_encoders import tiny_speech_encoder

from emomm.configuration_emomm import EmoMMConfig
from emomm.curriculum.arguments import CurriculumTrainingArguments
from emomm.encoder_layers import EncoderLayers
from emomm.features.voice_encoders import load_speech_encoder
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.optimizer_groups import gradient_norm
from emomm.optimizer_groups import heights
from emomm.optimizer_groups import refuse_missing
from emomm.optimizer_groups import regroup
from emomm.optimizer_groups import trained_state
from emomm.tuning import apply_tuning


@pytest.fixture
def model(tmp_path):
    """One for voice alone that holds an encoder of which the last two layers are tuned."""
    encoder = load_speech_encoder(tiny_speech_encoder(tmp_path / "encoder")).model
    apply_tuning(encoder, "last_k", 2)
    config = EmoMMConfig(
        modality="audio", audio_dim=WIDTH, speech_config=encoder.config, speech_tuning="last_k", hidden_dim=8
    )
    made = EmoMMForEmotionClassification(config)
    made.attach_speech_encoder(encoder)
    return made


def grouped(model, tmp_path, **fields):
    """The optimiser of all that is trained, in one group before, and whose its groups are now."""
    args = CurriculumTrainingArguments(output_dir=str(tmp_path), weight_decay=0.1, learning_rate=0.01, **fields)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
    return optimizer, regroup(optimizer, model, args)


def test_rates_fall_from_layer_to_layer_and_biases_and_norms_do_not_decay(model, tmp_path):
    optimizer, owners = grouped(model, tmp_path, speech_learning_rate=1e-3, speech_layer_decay=0.5)
    found = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    names = {name: found.get(id(p)) for name, p in model.speech_encoder.named_parameters()}
    top, below, frozen = (f"encoder.layers.{i}.attention.q_proj" for i in (2, 1, 0))
    assert names[f"{frozen}.weight"] is None
    assert (names[f"{top}.weight"]["lr"], names[f"{below}.weight"]["lr"]) == pytest.approx((1e-3, 5e-4))
    assert (names[f"{top}.weight"]["weight_decay"], names[f"{top}.bias"]["weight_decay"]) == (0.1, 0.0)
    assert names["encoder.layers.2.layer_norm.weight"]["weight_decay"] == 0.0
    assert found[id(model.classifier[0].weight)]["lr"] == 0.01
    assert owners == ["", *["speech"] * 4]  # two layers, each with and without decay
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(found)


def test_rates_that_rounding_alone_tells_apart_are_one_group(model, tmp_path):
    optimizer, owners = grouped(model, tmp_path, speech_learning_rate=1e-3, speech_layer_decay=1 - 1e-12)
    assert owners == ["", "speech", "speech"]


def test_what_is_above_each_parameter(model):
    encoder = model.speech_encoder
    found = {name: heights(encoder)[p] for name, p in encoder.named_parameters()}
    assert [found[f"encoder.layers.{i}.attention.k_proj.weight"] for i in range(LAYERS)] == [2, 1, 0]
    assert found["feature_projection.projection.weight"] == LAYERS == EncoderLayers.of(encoder).depth


def test_what_stays_as_it_was_loaded_is_not_written(model):
    state = trained_state(model)
    assert "speech_encoder.encoder.layers.0.attention.q_proj.weight" not in state
    assert "speech_encoder.encoder.layers.2.attention.q_proj.weight" in state and "classifier.0.weight" in state
    refuse_missing(model, model.load_state_dict(state, strict=False))
    del state["classifier.0.weight"]
    with pytest.raises(ValueError, match="not those of this model: classifier.0.weight"):
        refuse_missing(model, model.load_state_dict(state, strict=False))


def test_the_norm_of_the_gradients_of_some_parameters(model):
    assert gradient_norm(model.parameters()) is None
    model.classifier[0].weight.grad = torch.full_like(model.classifier[0].weight, 2.0)
    model.classifier[0].bias.grad = torch.full_like(model.classifier[0].bias, 1.0)
    expected = (4.0 * model.classifier[0].weight.numel() + model.classifier[0].bias.numel()) ** 0.5
    assert gradient_norm(model.parameters()).item() == pytest.approx(expected)
