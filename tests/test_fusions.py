"""Each fusion against its formula, written out with torch's own modules; and the registry."""

import inspect
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from emomm import fusions
from emomm.fusions import CrossAttentionFusion
from emomm.fusions import Fusion
from emomm.fusions import FusionOutput
from emomm.fusions import ModalityState
from emomm.fusions import SingleQueryAttention
from emomm.fusions import build_fusion
from emomm.fusions import fusion_names
from emomm.fusions import get_fusion
from emomm.fusions import load_fusion_module
from emomm.fusions import register_fusion

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def registry(monkeypatch):
    """The registry, put back after the test."""
    monkeypatch.setattr(fusions, "_REGISTRY", dict(fusions._REGISTRY))


def state(batch: int, length: int, dim: int, dtype: torch.dtype, lengths: list[int] | None = None) -> ModalityState:
    """A random modality; where `lengths` are shorter than the sequence, what follows is noise, not zeros."""
    sequence = torch.randn(batch, length, dim, dtype=dtype)
    lengths = torch.tensor([length] * batch if lengths is None else lengths)
    mask = torch.arange(length) < lengths[:, None]
    pooled = torch.stack(
        [row[:n].mean(0) if n else row.new_zeros(dim) for row, n in zip(sequence, lengths, strict=True)]
    )
    return ModalityState(pooled, sequence, mask, lengths > 0)


def built(name: str, dims: list[int], dtype: torch.dtype, hidden_dim: int = 16, num_heads: int = 4) -> Fusion:
    """A fusion in evaluation mode, with LayerNorms that are not the identity."""
    fusion = build_fusion(name, dims, hidden_dim, num_heads, 0.1).to(dtype).eval()
    for module in fusion.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias)
    return fusion


def dense(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Linear, LayerNorm, ReLU by hand (dropout is off in evaluation)."""
    linear, norm = layers[0], layers[1]
    x = x @ linear.weight.T + linear.bias
    centred = x - x.mean(-1, keepdim=True)
    return (centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias).clamp(min=0)


def multihead_attention(attention: SingleQueryAttention, key_bias: Tensor) -> nn.MultiheadAttention:
    """torch's own attention with the weights of ours; the key's bias, which ours has not, can be anything."""
    hidden = attention.query.in_features
    reference = nn.MultiheadAttention(hidden, attention.num_heads, batch_first=True).to(attention.query.weight.dtype)
    with torch.no_grad():
        reference.in_proj_weight.copy_(
            torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
        )
        reference.in_proj_bias.copy_(torch.cat([attention.query.bias, key_bias, attention.value.bias]))
        reference.out_proj.load_state_dict(attention.output.state_dict())
    return reference.eval()


def reference_cross_attention(
    fusion: CrossAttentionFusion, states: list[ModalityState]
) -> tuple[Tensor, list[Tensor]]:
    """The formula in original_system.md, over sequences: everything projected, torch's attention each way."""
    projected = [projection(state.sequence) for projection, state in zip(fusion.projections, states, strict=True)]
    sides, attentions = [], []
    for i, (block, own) in enumerate(zip(fusion.blocks, states, strict=True)):
        query = fusion.projections[i](own.pooled)
        others = [j for j in range(len(states)) if j != i]
        attended, weights = multihead_attention(block.attention, torch.randn_like(query[0]))(
            query[:, None],
            torch.cat([projected[j] for j in others], dim=1),
            torch.cat([projected[j] for j in others], dim=1),
            key_padding_mask=~torch.cat([states[j].mask for j in others], dim=1),
            average_attn_weights=False,
        )
        x = F.layer_norm(
            query + attended[:, 0], query.shape[1:], block.attention_norm.weight, block.attention_norm.bias
        )
        wide, narrow = block.feed_forward[0], block.feed_forward[3]
        assert wide.out_features == 4 * query.shape[1]
        fed = F.linear(F.linear(x, wide.weight, wide.bias).relu(), narrow.weight, narrow.bias)
        sides.append(F.layer_norm(x + fed, x.shape[1:], block.feed_forward_norm.weight, block.feed_forward_norm.bias))
        attentions.append(weights[:, :, 0])
    return dense(fusion.output, torch.cat(sides, dim=-1)), attentions


# Cross attention


@precisions
@pytest.mark.parametrize(("dims", "hidden", "heads"), [([12, 20], 16, 4), ([768, 768], 512, 8)])
def test_cross_attention_over_one_vector_is_the_seeds_formula(dtype, dims, hidden, heads):
    fusion = built("cross_attention", dims, dtype, hidden, heads)
    audio, text = (torch.randn(6, dim, dtype=dtype) for dim in dims)
    one = torch.ones(6, 1, dtype=torch.bool)
    with torch.no_grad():
        output = fusion([ModalityState(x, x[:, None], one, one[:, 0]) for x in (audio, text)])
        a, t = fusion.projections[0](audio), fusion.projections[1](text)
        sides = []
        for block, query, other in zip(fusion.blocks, (a, t), (t, a), strict=True):
            attention = multihead_attention(block.attention, torch.randn(hidden, dtype=dtype))
            attended = attention(query[:, None], other[:, None], other[:, None], need_weights=False)[0][:, 0]
            x = block.attention_norm(query + attended)
            sides.append(block.feed_forward_norm(x + block.feed_forward(x)))
        expected = dense(fusion.output, torch.cat(sides, dim=-1))
    # 768 and 512 wide, torch's own attention in float32 is 3e-6 from its value in float64: there, 1e-6 of the value.
    relative = TOLERANCE[dtype] if hidden > 16 else 0
    torch.testing.assert_close(output.embedding, expected, atol=TOLERANCE[dtype], rtol=relative)
    assert [weights.unique().tolist() for weights in output.attentions] == [[1.0], [1.0]]


@precisions
def test_cross_attention_over_sequences_is_torchs_attention_over_projected_ones(dtype):
    states = [state(5, 9, 12, dtype, [9, 1, 4, 7, 3]), state(5, 6, 20, dtype, [2, 6, 1, 5, 3])]
    fusion = built("cross_attention", [12, 20], dtype)
    with torch.no_grad():
        output = fusion(states)
        expected, attentions = reference_cross_attention(fusion, states)
    torch.testing.assert_close(output.embedding, expected, atol=TOLERANCE[dtype], rtol=0)
    for weights, reference in zip(output.attentions, attentions, strict=True):
        torch.testing.assert_close(weights, reference, atol=TOLERANCE[dtype], rtol=0)
    assert output.attentions[0][~states[1].mask[:, None].expand(-1, 4, -1)].abs().max() == 0
    # Not degenerate: the queries do choose among the frames.
    assert output.attentions[1][0].std(dim=-1).min() > 1e-3


@precisions
def test_cross_attention_of_three_modalities_looks_at_both_others(dtype):
    states = [state(4, 5, 6, dtype, [5, 2, 3, 1]), state(4, 3, 8, dtype, [1, 3, 3, 2]), state(4, 1, 10, dtype)]
    fusion = built("cross_attention", [6, 8, 10], dtype)
    with torch.no_grad():
        output = fusion(states)
        expected, attentions = reference_cross_attention(fusion, states)
    torch.testing.assert_close(output.embedding, expected, atol=TOLERANCE[dtype], rtol=0)
    assert [weights.shape for weights in output.attentions] == [(4, 4, 4), (4, 4, 6), (4, 4, 8)]
    for weights, reference in zip(output.attentions, attentions, strict=True):
        torch.testing.assert_close(weights, reference, atol=TOLERANCE[dtype], rtol=0)


def test_dropped_attention_weights_are_those_of_the_projected_values():
    attention, projection = SingleQueryAttention(8, 2, 0.5).double(), nn.Linear(5, 8).double()
    x, query, keep = torch.randn(3, 4, 5).double(), torch.randn(3, 8).double(), torch.rand(3, 2, 4).double()
    attention.dropout = Scaled(keep)
    with torch.no_grad():
        output, weights = attention(query, [x], [torch.ones(3, 4, dtype=torch.bool)], [projection])
        value = attention.value(projection(x)).view(3, 4, 2, 4)
        expected = attention.output(torch.einsum("bhl,blhd->bhd", weights * keep, value).reshape(3, 8))
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2).double())


class Scaled(nn.Module):
    """A dropout whose draw is known."""

    def __init__(self, keep: Tensor):
        super().__init__()
        self.keep = keep

    def forward(self, weights: Tensor) -> Tensor:
        return weights * self.keep


def test_gradients_of_cross_attention_are_those_of_the_reference():
    states = [state(4, 5, 6, torch.float64, [5, 2, 3, 1]), state(4, 3, 8, torch.float64, [1, 3, 3, 2])]
    fusion = built("cross_attention", [6, 8], torch.float64)
    for s in states:
        s.sequence.requires_grad_()
    fusion(states).embedding.pow(2).sum().backward()
    ours = [s.sequence.grad.clone() for s in states]
    weights = {name: p.grad.clone() for name, p in fusion.named_parameters()}
    fusion.zero_grad()
    for s in states:
        s.sequence.grad = None
    reference_cross_attention(fusion, states)[0].pow(2).sum().backward()
    for got, s in zip(ours, states, strict=True):
        torch.testing.assert_close(got, s.sequence.grad, atol=1e-11, rtol=0)
        assert got[~s.mask].abs().max() == 0
    for name, parameter in fusion.named_parameters():
        if parameter.grad is not None:  # the reference holds copies of the attention's own weights
            torch.testing.assert_close(weights[name], parameter.grad, atol=1e-11, rtol=0)
    assert all(grad.abs().max() > 0 for grad in weights.values())


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_attention_heads=3 does not divide fusion_hidden_dim=16"):
        build_fusion("cross_attention", [4, 4], 16, 3, 0.0)


# The others


@precisions
@pytest.mark.parametrize("dims", [[6, 8], [6, 8, 10]])
def test_concat_is_two_dense_layers_over_the_pooled_vectors(dtype, dims):
    states, fusion = [state(4, 3, dim, dtype) for dim in dims], built("concat", dims, dtype)
    with torch.no_grad():
        embedding = fusion(states).embedding
        inner = dense(fusion.output[0], torch.cat([s.pooled for s in states], dim=-1))
        expected = dense(fusion.output[1], inner)
    assert inner.shape == (4, 32) and embedding.shape == (4, 16)
    torch.testing.assert_close(embedding, expected, atol=TOLERANCE[dtype], rtol=0)


@precisions
@pytest.mark.parametrize("dims", [[6, 8], [6, 8, 10]])
def test_gated_is_a_softmax_weighted_sum(dtype, dims):
    states, fusion = [state(4, 3, dim, dtype) for dim in dims], built("gated", dims, dtype)
    with torch.no_grad():
        output = fusion(states)
        projected = [F.linear(s.pooled, p.weight, p.bias) for s, p in zip(states, fusion.projections, strict=True)]
        scores = (F.linear(torch.cat(projected, dim=-1), fusion.gate.weight, fusion.gate.bias)).exp()
        gates = scores / scores.sum(dim=-1, keepdim=True)
        fused = sum(gates[:, i : i + 1] * projected[i] for i in range(len(dims)))
        norm = fusion.output[0]
        expected = F.layer_norm(fused, (16,), norm.weight, norm.bias)
    torch.testing.assert_close(output.gates, gates, atol=TOLERANCE[dtype], rtol=0)
    torch.testing.assert_close(output.embedding, expected, atol=5 * TOLERANCE[dtype], rtol=0)


@precisions
def test_adaptive_is_the_fusion_net_or_the_lone_encoder(dtype):
    states = [state(4, 3, 6, dtype, [3, 0, 2, 0]), state(4, 5, 8, dtype, [1, 5, 0, 0])]
    fusion = built("adaptive", [6, 8], dtype)
    with torch.no_grad():
        output = fusion(states)
        audio, text = (dense(e, s.pooled) for e, s in zip(fusion.encoders, states, strict=True))
        both = dense(fusion.output, torch.cat([audio, text], dim=-1))
    expected = torch.stack([both[0], text[1], audio[2], torch.zeros_like(both[3])])
    torch.testing.assert_close(output.embedding, expected, atol=TOLERANCE[dtype], rtol=0)
    assert output.gates.tolist() == [[0.5, 0.5], [0, 1], [1, 0], [0, 0]]


def test_adaptive_of_three_takes_the_mean_of_those_there():
    states = [state(3, 2, 6, torch.float64, [2, 1, 0]), state(3, 2, 8, torch.float64, [2, 2, 0])]
    states.append(state(3, 2, 10, torch.float64, [1, 0, 1]))
    fusion = built("adaptive", [6, 8, 10], torch.float64)
    with torch.no_grad():
        output = fusion(states).embedding
        encoded = [dense(e, s.pooled) for e, s in zip(fusion.encoders, states, strict=True)]
        all_three = dense(fusion.output, torch.cat(encoded, dim=-1))
    expected = torch.stack([all_three[0], (encoded[0][1] + encoded[1][1]) / 2, encoded[2][2]])
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)


# The registry


def test_the_four_fusions_are_registered():
    assert fusion_names() == ["adaptive", "concat", "cross_attention", "gated"]
    assert {name for name in fusion_names() if get_fusion(name).uses_sequences} == {"cross_attention"}
    assert {name for name in fusion_names() if get_fusion(name).handles_missing} == {"adaptive"}


def test_an_unknown_fusion_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="'atention' is not known; it can be adaptive, concat, cross_attention, gated"
    ):
        get_fusion("atention")


def test_register_refuses_what_is_no_class(registry):
    with pytest.raises(TypeError, match="register_fusion"):
        register_fusion("mine")(lambda states: None)


def test_a_fusion_gets_the_arguments_that_it_takes(registry):
    @register_fusion("sum")
    class Sum(Fusion):
        def __init__(self, dims, hidden_dim):
            super().__init__()
            self.taken = (dims, hidden_dim)

        def forward(self, states):
            return FusionOutput(sum(s.pooled for s in states))

    assert build_fusion("sum", [4, 4], 8, 2, 0.3).taken == ([4, 4], 8)
    with pytest.raises(NotImplementedError):
        Fusion()([])


@pytest.mark.parametrize("spelling", ["from .fusions", "from emomm.fusions"])
def test_a_users_file_registers_its_fusion(registry, tmp_path, spelling):
    name = "mine_relative" if spelling == "from .fusions" else "mine_absolute"
    (tmp_path / f"{name}.py").write_text(
        f"{spelling} import Fusion\n{spelling} import register_fusion\n\n\n"
        f"@register_fusion('{name}')\nclass Mine(Fusion):\n    pass\n"
    )
    assert load_fusion_module(tmp_path / f"{name}.py") == name
    assert issubclass(get_fusion(name), Fusion)
    assert Path(inspect.getfile(get_fusion(name))) == tmp_path / f"{name}.py"


@pytest.mark.parametrize("name", ["fusions.py", "modeling_emomm.py", "settings.py", "my-fusion.py", "2nd.py"])
def test_a_users_file_needs_a_name_of_its_own(tmp_path, name):
    with pytest.raises(ValueError, match="needs another name"):
        load_fusion_module(tmp_path / name)


@pytest.mark.parametrize("name", ["gated", "concat", "cross_attention"])
def test_the_normalized_block_by_hand(name):
    states = [state(5, 1, 3, torch.float64), state(5, 1, 12, torch.float64)]
    fusion = build_fusion(name, [3, 12], 8, 2, 0.0, "normalized").double().eval()
    pooled = [each.pooled for each in states]
    output = fusion(states)
    if name == "gated":
        projected = [F.layer_norm(p(x), (8,)) for p, x in zip([p[0] for p in fusion.projections], pooled, strict=True)]
        gates = (fusion.gate(torch.cat(projected, dim=1)) / 4).softmax(dim=1)  # the root of 16
        expected = F.layer_norm(gates[:, :1] * projected[0] + gates[:, 1:] * projected[1], (8,))
        torch.testing.assert_close(output.gates, gates)
    elif name == "concat":
        even = torch.cat([pooled[0] * 2.5**0.5, pooled[1] * 0.625**0.5], dim=1)  # 7.5 / 3 and 7.5 / 12
        expected = dense(fusion.output[1], dense(fusion.output[0], even))
    else:
        first, second = (layer(x) for layer, x in zip(fusion.projections, pooled, strict=True))
        hidden = []
        for block, query, value in zip(fusion.blocks, (first, second), (second, first), strict=True):
            query = F.layer_norm(query, (8,))
            attended = block.attention.output(block.attention.value(value))  # one vector: its weight is 1
            after = F.layer_norm(query + attended, (8,))
            hidden.append(F.layer_norm(after + block.feed_forward(after), (8,)))
        expected = dense(fusion.output, torch.cat(hidden, dim=1))
    torch.testing.assert_close(output.embedding, expected)
