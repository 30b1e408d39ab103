"""What of an encoder is trained: layers, adapters, and what becomes of those."""

import copy
from functools import partial

import pytest
import torch
from test_encoder_layers import DEPTH
from test_encoder_layers import SPEECH
from test_encoder_layers import TEXT
from test_encoder_layers import assert_close
from test_encoder_layers import encoder_of
from test_encoder_layers import hidden_of
from test_encoder_layers import inputs_of
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel
from transformers import SEWConfig
from transformers import SEWModel

from emomm.configuration_emomm import EmoMMConfig
from emomm.encoder_layers import EncoderLayers
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.tuning import Lora
from emomm.tuning import adapted_modules
from emomm.tuning import apply_tuning
from emomm.tuning import lora_targets
from emomm.tuning import merge_lora
from emomm.tuning import merged_state
from emomm.tuning import save_adapter

each = pytest.mark.parametrize("name", [*SPEECH, *TEXT])


def trained(encoder: nn.Module) -> list[str]:
    return [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]


def adapted(name: str, tuned_layers: int | None = None, **lora) -> nn.Module:
    """An encoder with adapters that are not zero, as new ones are."""
    encoder = encoder_of(name)
    apply_tuning(encoder, "lora", tuned_layers, Lora(**lora))
    with torch.no_grad():
        for key, parameter in encoder.named_parameters():
            if "lora_B" in key:
                parameter.normal_(0, 0.3)
    return encoder


def states_of(name: str, encoder: nn.Module) -> torch.Tensor:
    inputs, mask = inputs_of(name, [20, 9])
    found, frame_mask = EncoderLayers.of(encoder).states(inputs, mask, [DEPTH])
    return found[DEPTH][frame_mask]


@each
def test_full_tuning_trains_everything_but_convolutions(name):
    """And every parameter that is said to be trained has a gradient: several processes would wait for it."""
    encoder = encoder_of(name)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    apply_tuning(encoder, "full")
    layers = EncoderLayers.of(encoder)
    layers.train(True)
    assert not any(p.requires_grad for module in layers.convolutions for p in module.parameters())
    assert all(p.requires_grad for p in layers.layers.parameters())
    states_of(name, encoder).square().sum().backward()
    without = [key for key, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert any(p.grad.abs().max() > 0 for p in layers.front_parameters() if p.requires_grad) or name == "whisper"
    if layers.convolutions:
        apply_tuning(encoder, "full", convolutions=True)
        assert all(p.requires_grad for module in layers.convolutions for p in module.parameters())
        states_of(name, encoder).square().sum().backward()
        assert all(p.grad is not None for module in layers.convolutions for p in module.parameters())


@each
def test_the_last_layers_are_tuned_and_what_comes_after_them(name):
    encoder = encoder_of(name)
    apply_tuning(encoder, "last_k", 2)
    layers = EncoderLayers.of(encoder)
    expected = {id(p) for module in (*layers.layers[2:], *layers.final) for p in module.parameters()}
    assert {id(p) for p in encoder.parameters() if p.requires_grad} == expected
    apply_tuning(encoder, "last_k")  # four, which is all here
    assert all(p.requires_grad for p in layers.layers.parameters())
    apply_tuning(encoder, "frozen")
    assert trained(encoder) == []


@each
def test_adapters_are_heard_and_learn_alone(name):
    plain = states_of(name, encoder_of(name)).detach()
    new = encoder_of(name)
    apply_tuning(new, "lora")
    assert_close(states_of(name, new), plain)  # new adapters add nothing
    encoder = adapted(name)
    layers = EncoderLayers.of(encoder)
    layers.train(True)
    assert trained(encoder) and all(".lora_" in key for key in trained(encoder))
    assert len(list(adapted_modules(encoder))) == DEPTH * len(lora_targets(encoder.config.model_type))
    layers.train(False)
    found = states_of(name, encoder)
    assert (found - plain).abs().max() > 1e-3
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters() if p.requires_grad)


@each
def test_merged_adapters_give_the_same_states(name):
    encoder = adapted(name, tuned_layers=2)
    assert {key.split(".lora_")[0] for key in trained(encoder)} == {key for key, _ in adapted_modules(encoder)}
    assert len(list(adapted_modules(encoder))) == 2 * len(lora_targets(encoder.config.model_type))
    expected = states_of(name, encoder).detach()
    plain = encoder_of(name)
    assert (states_of(name, plain) - expected).abs().max() > 1e-3
    before = copy.deepcopy(encoder.state_dict())
    plain.load_state_dict(merged_state(encoder))
    assert_close(states_of(name, plain).detach(), expected)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    merge_lora(encoder)
    assert_close(states_of(name, encoder).detach(), expected)
    assert list(encoder.state_dict()) == list(plain.state_dict()) and not list(adapted_modules(encoder))


@pytest.mark.parametrize("name", ["wav2vec2-stable", "wavlm", "whisper", "w2v-bert", "emotion2vec", "bert"])
def test_a_saved_adapter_loads_on_its_base_by_peft(name, tmp_path):
    """On what AutoModel gives, of Whisper more than the encoder; merged, as WavLM's own code reads weights."""
    from peft import PeftModel

    encoder = adapted(name, tuned_layers=3, rank=3, alpha=5, targets=None)
    save_adapter(encoder, tmp_path, "some/base")
    base = encoder_of(name)
    if name == "whisper":
        whole = AutoModel.from_config(base.config)
        whole.encoder.load_state_dict(base.state_dict())
        base = whole
    loaded = PeftModel.from_pretrained(base, tmp_path)
    assert loaded.peft_config["default"].base_model_name_or_path == "some/base"
    merged = loaded.merge_and_unload()
    assert_close(states_of(name, merged.get_encoder() if name == "whisper" else merged), states_of(name, encoder))


def test_a_saved_adapter_loads_by_transformers(tmp_path):
    encoder = adapted("hubert-stable", tuned_layers=1)
    save_adapter(encoder, tmp_path, "some/base")
    base = encoder_of("hubert-stable")
    base.load_adapter(str(tmp_path))
    assert_close(states_of("hubert-stable", base), states_of("hubert-stable", encoder))


def test_targets_of_the_users_own():
    encoder = adapted("wavlm", tuned_layers=1, targets=("feed_forward.output_dense", "out_proj"), dropout=0.5)
    names = [key for key, _ in adapted_modules(encoder)]
    assert names == ["encoder.layers.3.attention.out_proj", "encoder.layers.3.feed_forward.output_dense"]
    layers = EncoderLayers.of(encoder)
    layers.train(True)
    torch.manual_seed(0)
    first = states_of("wavlm", encoder)
    torch.manual_seed(0)
    assert torch.equal(first, states_of("wavlm", encoder))
    assert not torch.equal(first, states_of("wavlm", encoder))  # dropout draws


WRONG = {
    "unknown": (("wavlm", "some"), {}, "tuning='some' is not known; it can be frozen, full, last_k, lora"),
    "too many": (("wavlm", "last_k", 5), {}, "5 layers are to be tuned, and the encoder has 4"),
    "none": (("bert", "last_k", 0), {}, "0 layers are to be tuned, and the encoder has 4"),
    "too many adapted": (("whisper", "lora", 9), {}, "9 layers are to be tuned, and the encoder has 4"),
    "convolutions": (("wavlm", "last_k", 2), {"convolutions": True}, "convolutions are tuned with tuning 'full'"),
    "no such target": (
        ("wavlm", "lora"),
        {"lora": Lora(targets=("query",))},
        "'query' matches nothing that is tuned; there are .*q_proj",
    ),
    "not among the last": (
        ("wavlm", "lora", 2),
        {"lora": Lora(targets=("feature_projection.projection",))},
        "'feature_projection.projection' matches nothing that is tuned",
    ),
    "no layer": (("wavlm", "lora"), {"lora": Lora(targets=("layer_norm",))}, "is a GroupNorm; LoRA goes on linear"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_can_not_be_tuned_is_refused(case):
    (name, *given), more, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        apply_tuning(encoder_of(name), *given, **more)


def test_an_encoder_of_an_unknown_family_is_tuned_as_a_whole():
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    convolutions = {"conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [5, 4]}
    encoder = SEWModel(SEWConfig(**size, **convolutions, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2))
    assert EncoderLayers.of(encoder) is None
    apply_tuning(encoder, "full")
    assert "encoder.layers.0.attention.q_proj.weight" in trained(encoder)
    for tuning in ("last_k", "lora"):
        with pytest.raises(ValueError, match="can't be told apart"):
            apply_tuning(encoder, tuning, 1, Lora(targets=("q_proj",)))
    with pytest.raises(ValueError, match="no targets of LoRA are known for sew encoders: give lora_targets"):
        apply_tuning(encoder, "lora")
    apply_tuning(encoder, "lora", None, Lora(targets=("q_proj",)))
    assert len(trained(encoder)) == 4


def test_a_model_with_adapters_is_saved_with_them_merged(tmp_path):
    """So that whatever saves it, a Trainer for one, leaves a model that loads without peft."""
    torch.manual_seed(0)
    encoder = adapted("wavlm", tuned_layers=2)
    config = EmoMMConfig(modality="audio", audio_dim=16, speech_config=encoder.config, speech_tuning="lora")
    model = EmoMMForEmotionClassification(config)
    model.attach_speech_encoder(encoder)
    model.save_pretrained(tmp_path)
    loaded = EmoMMForEmotionClassification.from_pretrained(tmp_path)
    assert not list(adapted_modules(loaded))
    inputs, mask = inputs_of("wavlm", [20, 9])
    given = {"input_values": inputs, "speech_attention_mask": mask}
    with torch.no_grad():
        assert_close(loaded(**given).logits, model.eval()(**given).logits)


@each
def test_bfloat16_autocast_trains(name):
    """Forward, backward and checkpointing, as the Trainer does it with bf16."""
    encoder = adapted(name)
    for checkpointed in (False, True):
        if checkpointed and name != "mpnet":  # which the whole model checkpoints (test_modeling_emomm.py)
            encoder._set_gradient_checkpointing(True, partial(checkpoint, use_reentrant=False))
        layers = EncoderLayers.of(encoder)
        layers.train(True)
        encoder.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = states_of(name, encoder)
        found.float().square().sum().backward()
        grads = [parameter.grad for parameter in encoder.parameters() if parameter.requires_grad]
        assert all(grad.isfinite().all() for grad in grads) and max(grad.abs().max() for grad in grads) > 0
    plain = encoder_of(name)
    inputs, _ = inputs_of(name, [60, 60] if name == "whisper" else [20, 20])
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = hidden_of(name, plain, inputs)[-1]
        found, _ = EncoderLayers.of(plain).states(inputs, None, [DEPTH])
    assert (found[DEPTH] - expected).abs().max() < 0.03 * expected.abs().max()
