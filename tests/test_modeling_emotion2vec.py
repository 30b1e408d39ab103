"""emotion2vec as numbers: against FunASR's class where it is installed, against slow loops, in company and alone."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig
from transformers import AutoModel
from transformers import AutoModelForAudioClassification

from emomm import modeling_emotion2vec
from emomm.configuration_emotion2vec import EMOTIONS
from emomm.configuration_emotion2vec import Emotion2VecConfig
from emomm.modeling_emotion2vec import Emotion2VecForEmotionClassification
from emomm.modeling_emotion2vec import Emotion2VecModel
from emomm.modeling_emotion2vec import alibi_slopes

TINY = {
    "conv_dim": [8, 8, 6],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "hidden_size": 24,
    "prenet_depth": 1,
    "depth": 2,
    "num_attention_heads": 6,
    "intermediate_size": 40,
    "num_extra_tokens": 3,
    "conv_pos_kernel": 5,
    "conv_pos_depth": 2,
    "conv_pos_groups": 4,
}
VARIANTS = [
    {},
    {"conv_pos_kernel": 4},
    {"alibi_scale_per_layer": True},
    {"alibi_scale_per_head": False},
    {"num_extra_tokens": 0, "conv_pos_depth": 0},
    {"prenet_depth": 0, "normalize": False, "num_attention_heads": 4},
]
LENGTHS = [60, 2000, 1103, 9001, 2000]


def scattered(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation mode with weights of which none is 0, 1 or alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if "alibi_scale" in name:  # some below 0, which counts as 0
                value.copy_(torch.rand(value.shape, generator=generator) * 1.5 - 0.2)
            elif "extra_tokens" in name:
                value.copy_(noise)
            elif value.ndim == 1:
                value.add_(0.3 * noise)
    return model.eval()


def tiny(seed: int = 0, model_class=Emotion2VecModel, **values):
    torch.manual_seed(seed)
    return scattered(model_class(Emotion2VecConfig(**{**TINY, "initializer_range": 0.2, **values})), seed)


def waveforms(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    """Noise of another loudness and offset for each recording."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, generator=generator) * 0.1 * (i + 1) + 0.05 * i for i, length in enumerate(lengths)]


def padded(rows: list[torch.Tensor], extra: int = 0, fill: float = 0.0) -> dict[str, torch.Tensor]:
    most = max(len(row) for row in rows) + extra
    values = torch.full((len(rows), most), fill)
    mask = torch.zeros(len(rows), most, dtype=torch.long)
    for number, row in enumerate(rows):
        values[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"input_values": values, "attention_mask": mask}


# ---- the whole encoder, slowly --------------------------------------------------------------------------------------


def slow_norm(x: np.ndarray, weight=1.0, bias=0.0, eps: float = 1e-5) -> np.ndarray:
    return np.stack([(row - row.mean()) / math.sqrt(row.var() + eps) * weight + bias for row in x])


def slow_gelu(x: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda value: value * 0.5 * (1 + math.erf(value / math.sqrt(2))))(x)


def slow_conv(x: np.ndarray, weight: np.ndarray, bias=None, stride: int = 1, groups: int = 1) -> np.ndarray:
    """(length, in) and (out, in / groups, kernel) to (length', out), position by position."""
    out, inner, kernel = weight.shape
    found = []
    for start in range(0, len(x) - kernel + 1, stride):
        row = np.zeros(out)
        for channel in range(out):
            first = channel // (out // groups) * inner
            row[channel] = (x[start : start + kernel, first : first + inner].T * weight[channel]).sum()
        found.append(row if bias is None else row + bias)
    return np.stack(found)


def slow_slopes(heads: int) -> list[float]:
    """As the ALiBi authors write them."""

    def of_power(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    if math.log2(heads).is_integer():
        return of_power(heads)
    below = 2 ** math.floor(math.log2(heads))
    return of_power(below) + slow_slopes(2 * below)[0::2][: heads - below]


def slow_attention(x: np.ndarray, w: dict[str, np.ndarray], name: str, config, scale: np.ndarray) -> np.ndarray:
    width = config.hidden_size // config.num_attention_heads
    qkv = x @ w[f"{name}.attention.qkv.weight"].T + w[f"{name}.attention.qkv.bias"]
    query, key, value = np.split(qkv, 3, axis=1)
    found = np.zeros_like(x)
    for head, slope in enumerate(slow_slopes(config.num_attention_heads)):
        part = slice(head * width, (head + 1) * width)
        factor = max(float(scale[head % len(scale)]), 0.0)
        for i in range(len(x)):
            scores = []
            for j in range(len(x)):
                score = query[i, part] @ key[j, part] / math.sqrt(width)
                if i >= config.num_extra_tokens and j >= config.num_extra_tokens:
                    score -= slope * factor * abs(i - j)
                scores.append(score)
            share = np.exp(np.array(scores) - max(scores))
            found[i, part] = share / share.sum() @ value[:, part]
    return found @ w[f"{name}.attention.proj.weight"].T + w[f"{name}.attention.proj.bias"]


def slow_encoder(model: Emotion2VecModel, waveform: torch.Tensor) -> list[np.ndarray]:
    """The states (frames, width) before the first block and after each, in float64."""
    config = model.config
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    x = waveform.double().numpy()
    if config.normalize:
        x = (x - x.mean()) / math.sqrt(x.var() + 1e-5)
    x = x[:, None]
    for i, stride in enumerate(config.conv_stride):
        x = slow_conv(x, w[f"conv_layers.{i}.conv.weight"], stride=stride)
        name = f"conv_layers.{i}.layer_norm"
        x = slow_gelu(slow_norm(x, w[f"{name}.weight"], w[f"{name}.bias"]))
    x = slow_norm(x, w["projection_norm.weight"], w["projection_norm.bias"])
    x = x @ w["projection.weight"].T + w["projection.bias"]
    position = x
    for i in range(config.conv_pos_depth):
        name, zeros = f"positional_layers.{i}.conv", np.zeros((config.conv_pos_kernel // 2, config.hidden_size))
        position = np.concatenate([zeros, position, zeros])
        position = slow_conv(position, w[f"{name}.weight"], w[f"{name}.bias"], groups=config.conv_pos_groups)[: len(x)]
        position = slow_gelu(slow_norm(position))
    x = np.concatenate([w["extra_tokens"][0], x + position])
    x = slow_norm(x, w["layer_norm.weight"], w["layer_norm.bias"])
    states = [x]
    for i in range(config.num_hidden_layers):
        name, scales = f"layers.{i}", w["alibi_scale"]
        x = x + slow_attention(x, w, name, config, scales[i if len(scales) > 1 else 0])
        x = slow_norm(x, w[f"{name}.norm1.weight"], w[f"{name}.norm1.bias"])
        inner = slow_gelu(x @ w[f"{name}.fc1.weight"].T + w[f"{name}.fc1.bias"])
        x = x + inner @ w[f"{name}.fc2.weight"].T + w[f"{name}.fc2.bias"]
        x = slow_norm(x, w[f"{name}.norm2.weight"], w[f"{name}.norm2.bias"])
        states.append(x)
    return [state[config.num_extra_tokens :] for state in states]


@pytest.mark.parametrize("values", VARIANTS, ids=str)
@pytest.mark.parametrize("inference", [True, False])
def test_is_what_slow_loops_give(values, inference):
    model = tiny(**values)
    (waveform,) = waveforms([330])
    with torch.inference_mode() if inference else torch.enable_grad():
        output = model(waveform[None], output_hidden_states=True)
    expected = slow_encoder(model, waveform)
    assert len(output.hidden_states) == len(expected) == model.config.num_hidden_layers + 1
    for state, slow in zip(output.hidden_states, expected, strict=True):
        np.testing.assert_allclose(state[0].detach().numpy(), slow, atol=2e-5, rtol=0)
    assert torch.equal(output.last_hidden_state, output.hidden_states[-1])
    np.testing.assert_allclose(output.pooler_output[0].detach().numpy(), expected[-1].mean(0), atol=1e-5)


# ---- in company and alone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", VARIANTS, ids=str)
@pytest.mark.parametrize("inference", [True, False])
def test_a_batch_gives_what_each_recording_gives_alone(values, inference):
    model, rows = tiny(**values), waveforms(LENGTHS)
    with torch.inference_mode() if inference else torch.enable_grad():
        alone = [model(row[None]) for row in rows]
        # What the padding holds must not matter, not even what is no number.
        for given in (padded(rows), padded(rows, extra=777, fill=float("nan"))):
            together = model(**given)
            mask = model.frame_mask(given["attention_mask"])
            assert together.last_hidden_state.shape[:2] == mask.shape
            for number, single in enumerate(alone):
                frames = together.last_hidden_state[number][mask[number]]
                torch.testing.assert_close(frames, single.last_hidden_state[0], atol=1e-5, rtol=0)
                pooled = together.pooler_output[number]
                torch.testing.assert_close(pooled, single.pooler_output[0], atol=1e-5, rtol=0)
    assert not torch.equal(alone[1].pooler_output, alone[4].pooler_output)


def test_half_precision_runs_and_is_near():
    rows = padded(waveforms([400, 900]))
    exact = tiny()(**rows).pooler_output.detach()
    for dtype in (torch.bfloat16, torch.float16):
        with torch.inference_mode():
            pooled = tiny().to(dtype)(**rows).pooler_output
        assert pooled.dtype == dtype
        torch.testing.assert_close(pooled.float(), exact, atol=0.1, rtol=0)


def test_long_recordings_go_through_in_pieces_unnoticed():
    model = tiny()
    (waveform,) = waveforms([12345])  # 616 frames, of which 100 at a time
    with torch.inference_mode():
        pieces = model(waveform[None]).last_hidden_state
    torch.testing.assert_close(pieces, model(waveform[None]).last_hidden_state.detach(), atol=1e-5, rtol=0)


def test_normalising_is_the_models_own():
    model = tiny()
    (waveform,) = waveforms([500])
    louder = model(waveform[None] * 300 + 20).last_hidden_state
    torch.testing.assert_close(louder, model(waveform[None]).last_hidden_state, atol=2e-3, rtol=0)
    plain = tiny(normalize=False)
    given = F.layer_norm(waveform, waveform.shape)[None]
    torch.testing.assert_close(plain(given).pooler_output, model(waveform[None]).pooler_output, atol=1e-5, rtol=0)


# ---- sizes ----------------------------------------------------------------------------------------------------------


def test_sizes_of_base_and_large():
    with torch.device("meta"):
        base = Emotion2VecModel(Emotion2VecConfig())
        large_config = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
        large = Emotion2VecModel(Emotion2VecConfig(**large_config, prenet_depth=8, depth=16))
    assert base.num_parameters() == 93_171_212
    assert len(base.state_dict()) == 183
    assert 290e6 < large.num_parameters() < 330e6
    assert (base.config.receptive_field, base.config.samples_per_frame) == (400, 320)
    assert base._get_feat_extract_output_lengths(32_000) == 99
    assert base._get_feat_extract_output_lengths(torch.tensor([0, 399, 400, 32_000])).tolist() == [0, 0, 1, 99]


def test_two_seconds_are_99_frames():
    narrow = Emotion2VecModel(
        Emotion2VecConfig(
            **{**TINY, "conv_dim": [8] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, *[2] * 6]}
        )
    )
    with torch.inference_mode():
        assert narrow(torch.randn(1, 32_000)).last_hidden_state.shape == (1, 99, 24)
        assert narrow(torch.randn(1, 400)).last_hidden_state.shape == (1, 1, 24)
        with pytest.raises(ValueError, match=r"recording 0 .* 399 samples; one frame needs 400 \(25 ms"):
            narrow(torch.randn(1, 399))


@pytest.mark.parametrize("heads", [1, 2, 6, 8, 12, 16, 20])
def test_slopes(heads):
    assert alibi_slopes(heads) == pytest.approx(slow_slopes(heads))


def test_the_bias_of_attention():
    model = tiny()
    real = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])
    (made,) = model.attention_biases(7, real, torch.zeros(1))
    (rows,) = made.blocks
    bias = made.of(rows)
    assert bias.shape == (2, 6, 10, 10)
    assert bias[1, :, :, 8:].eq(-torch.inf).all() and bias[0].isfinite().all()
    assert torch.equal(bias[0], bias[0].mT)
    assert bias[0, :, :3].eq(0).all() and bias[0, :, :, :3].eq(0).all()
    scale = model.alibi_scale[0].clamp(min=0).detach()
    expected = -5 * scale * torch.tensor(slow_slopes(6))
    torch.testing.assert_close(bias[0, :, 3, 8].detach(), expected)


def test_long_recordings_attend_in_blocks_unnoticed(monkeypatch):
    """Of five minutes the bias alone would be 11 GB."""
    rows = padded(waveforms([4000, 2500]))
    model = tiny()
    with torch.inference_mode():
        whole = model(**rows).last_hidden_state
        tokens = whole.shape[1] + model.config.num_extra_tokens
        monkeypatch.setattr(modeling_emotion2vec, "_BIAS", 2 * 6 * tokens * 5)  # 5 queries at a time
        (made,) = model.attention_biases(whole.shape[1], torch.ones(2, whole.shape[1], dtype=torch.bool), whole)
        assert [made.of(block).shape[2] for block in made.blocks][:2] == [5, 5] and len(made.blocks) > 2
        mask = model.frame_mask(rows["attention_mask"])
        torch.testing.assert_close(model(**rows).last_hidden_state[mask], whole[mask], atol=1e-6, rtol=1e-6)


# ---- as a module of torch and transformers --------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{}, {"alibi_scale_per_layer": True}], ids=str)
def test_every_weight_learns(values):
    model = tiny(model_class=Emotion2VecForEmotionClassification, **values).train()
    with torch.no_grad():
        model.emotion2vec.alibi_scale.abs_()
    output = model(**padded(waveforms([900, 500, 333])), labels=torch.tensor([3, 0, 8]))
    output.loss.backward()
    still = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []
    torch.testing.assert_close(output.loss, F.cross_entropy(output.logits, torch.tensor([3, 0, 8])))


RANDOM = {
    "hidden_dropout": {"hidden_dropout": 0.5},
    "attention_dropout": {"attention_dropout": 0.5},
    "activation_dropout": {"activation_dropout": 0.5},
    "layerdrop": {"layerdrop": 0.5},
}


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_drawn_in_training_is_drawn_there_alone(name):
    """And is repeated with torch's generator, which resume states hold."""
    plain, model = tiny(), tiny(**RANDOM[name])
    recordings = torch.stack(waveforms([3000, 3000]))
    assert torch.equal(model(recordings).last_hidden_state, plain(recordings).last_hidden_state)
    plain.train(), model.train()
    torch.manual_seed(0)
    drawn = [model(recordings).last_hidden_state for _ in range(8)]
    torch.manual_seed(0)
    assert torch.equal(model(recordings).last_hidden_state, drawn[0])
    assert any((each - drawn[0]).abs().max() > 1e-3 for each in drawn)
    assert torch.equal(plain(recordings).last_hidden_state, plain(recordings).last_hidden_state)  # the default


def test_checkpointing_changes_no_gradient():
    recordings = torch.stack(waveforms([3000, 3000]))

    def gradients(checkpointed: bool) -> dict[str, torch.Tensor]:
        model = tiny(hidden_dropout=0.2, attention_dropout=0.2).train()
        passes = []
        model.layers[0].attention.register_forward_pre_hook(lambda *_: passes.append(1))
        if checkpointed:
            model.activation_checkpointing_enable()
        torch.manual_seed(3)
        model(recordings).last_hidden_state.square().sum().backward()
        assert len(passes) == 1 + checkpointed  # again on the way back
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    plain, checkpointed = gradients(False), gradients(True)
    for name, gradient in plain.items():
        assert gradient is not None, name
        torch.testing.assert_close(checkpointed[name], gradient)


def test_frozen_convolutions_stay_and_the_rest_learns():
    model = tiny().train()
    model.conv_layers.requires_grad_(False)
    recordings = torch.stack(waveforms([3000, 3000]))
    model(recordings).last_hidden_state.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith("conv_layers."), name
    of_input = recordings.clone().requires_grad_()
    model(of_input).last_hidden_state.square().sum().backward()
    assert of_input.grad.abs().max() > 0


def test_the_head_sees_the_mean_over_frames():
    model, rows = tiny(model_class=Emotion2VecForEmotionClassification), padded(waveforms([900, 333]))
    logits = model(**rows).logits
    pooled = model.emotion2vec(**rows).pooler_output
    torch.testing.assert_close(logits, pooled @ model.proj.weight.T + model.proj.bias)
    assert [model.config.id2label[i] for i in range(logits.shape[1])] == list(EMOTIONS)
    assert model(**rows, return_dict=False)[0].shape == (2, 9)


def test_save_and_load(tmp_path):
    model, rows = tiny(model_class=Emotion2VecForEmotionClassification), padded(waveforms([900, 333]))
    model.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(again) is Emotion2VecForEmotionClassification
    with torch.inference_mode():
        assert torch.equal(again(**rows).logits, model(**rows).logits)
        encoder = AutoModel.from_pretrained(tmp_path)
        assert type(encoder) is Emotion2VecModel
        assert torch.equal(encoder(**rows).pooler_output, model.emotion2vec(**rows).pooler_output)
    assert AutoConfig.from_pretrained(tmp_path).to_json_string() == model.config.to_json_string()


def test_labels_of_the_configuration():
    assert Emotion2VecConfig().num_labels == 9 and Emotion2VecConfig().label2id["unknown"] == 8
    assert Emotion2VecConfig(num_labels=4).num_labels == 4
    assert Emotion2VecConfig(id2label={0: "calm", 1: "not"}).id2label == {0: "calm", 1: "not"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"conv_kernel": [10, 3]}, "3 in conv_dim, 2 in conv_kernel"),
        ({"conv_stride": [5, 0, 2]}, r"conv_stride=\[5, 0, 2\]"),
        ({"num_attention_heads": 5}, "num_attention_heads=5 does not divide hidden_size=24"),
        ({"conv_pos_groups": 7}, "conv_pos_groups=7 does not divide"),
        ({"prenet_depth": 0, "depth": 0}, "without a block"),
        ({"depth": -1}, "depth=-1 is out of range"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps=0.0"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_wrong_configurations(values, said):
    with pytest.raises(Exception, match=said):
        Emotion2VecConfig(**{**TINY, **values})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"input_values": torch.zeros(500)}, r"shape \(500,\); this model takes \(batch, samples\)"),
        ({"input_values": torch.zeros(0, 500)}, r"shape \(0, 500\)"),
        ({"input_values": torch.zeros(1, 500), "attention_mask": torch.ones(1, 499)}, "must be the same"),
        ({"input_values": torch.zeros(1, 500), "attention_mask": torch.arange(500)[None]}, "a 1 after a 0"),
        ({"input_values": torch.zeros(1, 500), "attention_mask": torch.zeros(1, 500)}, "has 0 samples"),
    ],
    ids=["one axis", "empty", "another mask", "padded in front", "nothing"],
)
def test_wrong_inputs(given, said):
    with pytest.raises(ValueError, match=said):
        tiny()(**given)


# ---- against the authors' code --------------------------------------------------------------------------------------

SECONDS = (0.1, 1, 7.3, 30)


def published_settings(**audio) -> dict:
    """The base model's settings as published, with the entries that the class reads."""
    convolutions = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2"
    modality = {"type": "AUDIO", "prenet_depth": 4, "prenet_layerdrop": 0.05, "prenet_dropout": 0.1}
    modality |= {"start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0, "num_extra_tokens": 10}
    modality |= {"init_extra_token_zero": True, "mask_noise_std": 0.01, "use_alibi_encoder": True, "alibi_scale": 1.0}
    modality |= {"learned_alibi": False, "alibi_max_pos": None, "learned_alibi_scale": True}
    modality |= {"learned_alibi_scale_per_head": True, "learned_alibi_scale_per_layer": False, "num_alibi_heads": 12}
    modality |= {"model_depth": 8, "local_grad_mult": 1.0, "extractor_mode": "layer_norm", "conv_pos_width": 95}
    modality |= {"feature_encoder_spec": convolutions, "conv_pos_groups": 16, "conv_pos_depth": 5, "decoder": None}
    modality |= {"conv_pos_pre_ln": False, **audio}
    rates = ("encoder_dropout", "post_mlp_drop", "attention_dropout", "activation_dropout", "dropout_input")
    settings = {"depth": 8, "num_heads": 12, "embed_dim": 768, "mlp_ratio": 4.0, "norm_eps": 1e-5, "norm_affine": True}
    settings |= {"layer_norm_first": False, "end_of_block_targets": False, "average_top_k_layers": 8, "layerdrop": 0.0}
    settings |= {"start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0, "loss_beta": 0.0, "loss_scale": None}
    return settings | dict.fromkeys(rates, 0.0) | {"normalize": True, "modalities": {"audio": modality}}


@pytest.fixture(scope="module")
def reference():
    """FunASR's class, with a head and scattered weights."""
    reason = "the reference, funasr, is not installed"
    published = pytest.importorskip("funasr.models.emotion2vec.model", reason=reason, exc_type=ImportError)
    torch.manual_seed(0)
    return scattered(published.Emotion2vec(model_conf=published_settings(), vocab_size=9))


@pytest.fixture(scope="module")
def ours(reference, tmp_path_factory):
    """The same, converted: every weight has found its place, or the conversion would have refused."""
    from emomm.emotion2vec.conversion import convert

    folder = tmp_path_factory.mktemp("published")
    torch.save({"model": reference.state_dict()}, folder / "model.pt")
    model = AutoModelForAudioClassification.from_pretrained(convert(folder / "model.pt", folder / "converted"))
    assert model.num_parameters() == sum(value.numel() for value in reference.parameters())
    return model.eval()


@pytest.fixture(scope="module")
def expected(reference) -> list[torch.Tensor]:
    with torch.no_grad():  # not in inference mode: the class keeps its biases for the next call
        rows = [F.layer_norm(row, row.shape)[None] for row in waveforms([int(s * 16000) for s in SECONDS])]
        return [reference.extract_features(row, padding_mask=None)["x"][0] for row in rows]


def test_alone_as_the_reference(ours, expected, reference):
    for row, frames in zip(waveforms([int(s * 16000) for s in SECONDS]), expected, strict=True):
        with torch.inference_mode():
            output = ours(row[None], output_hidden_states=True)
        torch.testing.assert_close(output.hidden_states[-1][0], frames, atol=1e-4, rtol=0)
        torch.testing.assert_close(output.logits[0], reference.proj(frames.mean(dim=0)).detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("numbers", [(0, 2, 1), (3, 1)], ids=str)
def test_batched_as_the_reference_alone(ours, expected, numbers):
    rows = waveforms([int(s * 16000) for s in SECONDS])
    given = padded([rows[number] for number in numbers])
    with torch.inference_mode():
        output = ours.emotion2vec(**given)
    mask = ours.frame_mask(given["attention_mask"])
    for place, number in enumerate(numbers):
        found = output.last_hidden_state[place][mask[place]]
        torch.testing.assert_close(found, expected[number], atol=1e-4, rtol=0)
        torch.testing.assert_close(output.pooler_output[place], expected[number].mean(dim=0), atol=1e-4, rtol=0)


def test_gradients_are_the_references(reference, ours):
    """Every weight's, in training, where nothing is dropped: what fine-tuning by one does, by the other would be."""
    from emomm.emotion2vec.conversion import _translate

    (row,) = waveforms([4000])
    normalized = F.layer_norm(row, row.shape)[None]
    theirs = dict(reference.named_parameters())
    names = {name: _translate(name, prenet_depth=4) for name in theirs}
    own = dict(ours.named_parameters())
    reference.proj(reference.extract_features(normalized)["x"].mean(1)).square().sum().backward()
    ours.zero_grad()
    ours.train()(row[None]).logits.square().sum().backward()
    ours.eval()
    for name, value in theirs.items():
        other = own[names[name] if names[name].startswith("proj.") else f"emotion2vec.{names[name]}"].grad
        assert other is not None and other.any(), name
        error = (other.reshape(value.shape) - value.grad).norm() / value.grad.norm()
        assert error < 1e-4, f"{name}: {error}"
