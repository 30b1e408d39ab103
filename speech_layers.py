"""The layers of speech encoders, by family. Travels to the Hub with the model."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn
from transformers import PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from .encoder_layers import EncoderLayers
from .encoder_layers import lengths_of
from .encoder_layers import recorded
from .encoder_layers import trains
from .modeling_emotion2vec import AttentionBias

SPAN = 10
"""Frames that SpecAugment masks in a row, as wav2vec2 does."""

_SAMPLES_ON_CPU, _SAMPLES = 2**18, 2**21  # that convolutions are given at a time: 16 s, and 131 s


def spans_masked(states: Tensor, frame_mask: Tensor, share: float, masked: Tensor | float) -> Tensor:
    """SpecAugment along the time: spans of `SPAN` frames, anew for each row, become `masked`.

    So many spans are drawn that the expected share of real frames in any of them is about `share`, overlaps counted
    once. They are drawn from torch's own generator on the CPU, which resume states hold.

    Args:
        states: (batch, frames, width).
        frame_mask: (batch, frames) bool.
        masked: (width,) or a number.
    """
    batch, frames = frame_mask.shape
    rate = -torch.log1p(torch.tensor(-float(share))).item() / SPAN  # spans for each frame
    most = int(frames * rate) + 1
    draws = torch.rand(batch, most + 1).to(states.device)
    counts = lengths_of(frame_mask).unsqueeze(1)  # (batch, 1)
    spans = (counts * rate + draws[:, :1]).floor()  # rounded at random: right on the mean
    # A span may begin before the row and end after it, so that its borders are masked as often as its middle.
    first = (draws[:, 1:] * (counts + SPAN - 1)).floor() - (SPAN - 1)
    first = first.masked_fill(torch.arange(most, device=states.device) >= spans, -SPAN)
    position = torch.arange(frames, device=states.device)
    hit = ((position >= first.unsqueeze(2)) & (position < first.unsqueeze(2) + SPAN)).any(dim=1)  # (batch, frames)
    hit = (hit & frame_mask).unsqueeze(-1)
    if isinstance(masked, Tensor):
        return torch.where(hit, masked.to(states.dtype), states)
    return states.masked_fill(hit, masked)


class Wav2Vec2Layers(EncoderLayers):
    """wav2vec2, HuBERT, data2vec-audio, UniSpeech: convolutions on the waveform, a convolution for the positions."""

    @classmethod
    def fits(cls, encoder: PreTrainedModel) -> bool:
        """Not with layers that shorten the sequence after the encoder."""
        return getattr(encoder, "adapter", None) is None

    @property
    def layers(self) -> nn.ModuleList:
        return self.encoder.encoder.layers

    @property
    def convolutions(self) -> list[nn.Module]:
        return [self.encoder.feature_extractor]

    @property
    def _stable(self) -> bool:
        return getattr(self.config, "do_stable_layer_norm", False)

    @property
    def front(self) -> list[nn.Module]:
        inner = self.encoder.encoder
        norm = [] if self._stable else [inner.layer_norm]
        return [self.encoder.feature_projection, inner.pos_conv_embed, *norm, inner.dropout]

    @property
    def final(self) -> list[nn.Module]:
        return [self.encoder.encoder.layer_norm] if self._stable else []

    def enter(self, inputs: Tensor, mask: Tensor | None, spec_augment: float = 0.0) -> tuple[Tensor, Tensor]:
        samples = inputs.new_full(inputs.shape[:1], inputs.shape[1], dtype=torch.long)
        samples = samples if mask is None else mask.sum(dim=1)
        with recorded(self.convolutions, inputs):
            features = self._in_pieces(inputs.to(self.encoder.dtype), samples, mask)  # (batch, channels, frames)
        frame_mask = _within(self._counts(samples)[-1], features.shape[2])
        with recorded((*self.convolutions, *self.front), inputs):
            states = self.encoder.feature_projection(features.transpose(1, 2))
            states = states[0] if isinstance(states, tuple) else states
            if spec_augment and self.encoder.feature_projection.training:
                masked = getattr(self.encoder, "masked_spec_embed", 0.0)
                states = spans_masked(states, frame_mask, spec_augment, masked)
            states = states.masked_fill(~frame_mask.unsqueeze(-1), 0)
            states = states + self._positions(states, frame_mask)
            if not self._stable:
                states = self.encoder.encoder.layer_norm(states)
            return self.encoder.encoder.dropout(states), frame_mask

    def _counts(self, samples: Tensor) -> list[Tensor]:
        """(batch,) positions after each convolution that are of real samples alone; at least one, as attention to
        nothing is no number."""
        found = []
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            samples = ((samples - kernel).div(stride, rounding_mode="floor") + 1).clamp(min=1)
            found.append(samples)
        return found

    def _in_pieces(self, inputs: Tensor, samples: Tensor, mask: Tensor | None) -> Tensor:
        """The convolutions, a few rows at a time where nothing is kept for the gradient: what they make on the way is
        the largest that a step holds, 512 values for each 5 samples."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._convolved(inputs, samples, mask)
        most = _SAMPLES_ON_CPU if inputs.device.type == "cpu" else _SAMPLES
        pieces = range(0, len(inputs), max(most // inputs.shape[1], 1))
        if len(pieces) < 2:
            return self._convolved(inputs, samples, mask)
        found = []
        for first in pieces:
            rows = slice(first, first + pieces.step)
            found.append(self._convolved(inputs[rows], samples[rows], None if mask is None else mask[rows]))
        return torch.cat(found)

    def _convolved(self, inputs: Tensor, samples: Tensor, mask: Tensor | None) -> Tensor:
        extractor = self.encoder.feature_extractor
        if not hasattr(extractor, "conv_layers"):  # something in its place, which keeps frames of a window before
            return extractor(inputs)
        first, *others = extractor.conv_layers
        states = inputs.unsqueeze(1)
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm) and not (mask is None or bool(mask.all())):
            states = first.conv(states)
            states = first.activation(_normed_over_time(states, self._counts(samples)[0], first.layer_norm))
        else:
            states = first(states)
        for layer in others:
            states = layer(states)
        return states

    def _positions(self, states: Tensor, frame_mask: Tensor) -> Tensor:
        positions, padding = self.encoder.encoder.pos_conv_embed, ~frame_mask.unsqueeze(1)
        states = states.transpose(1, 2)
        if hasattr(positions, "layers"):
            for layer in positions.layers:
                states = layer(states.masked_fill(padding, 0))
        else:
            if getattr(positions, "batch_norm", None) is not None:
                states = positions.batch_norm(states).masked_fill(padding, 0)
            states = positions.activation(positions.padding(positions.conv(states)))
        return states.transpose(1, 2)

    def leave(self, states: Tensor) -> Tensor:
        return self.encoder.encoder.layer_norm(states) if self._stable else states


def _within(counts: Tensor, frames: int) -> Tensor:
    """(batch,) to (batch, frames) bool: the first so many."""
    return torch.arange(frames, device=counts.device) < counts.unsqueeze(1)


def _normed_over_time(states: Tensor, counts: Tensor, norm: nn.GroupNorm) -> Tensor:
    """A group norm on (batch, channels, length), of each row over its first `counts` (batch,) positions; the rest is
    zeros."""
    rows, length = [], states.shape[2]
    for row, count in zip(states, counts.tolist(), strict=True):
        # Not that of `functional`, which refuses a recording of a single frame.
        normed = torch.group_norm(row[None, :, :count], norm.num_groups, norm.weight, norm.bias, norm.eps)
        rows.append(F.pad(normed, (0, length - count)) if count < length else normed)
    return torch.cat(rows)


class WavLMAttentionByModules(WavLMAttention):
    """WavLM's attention, but its projections are called: where the weights alone are handed on, as in the parent,
    what an adapter adds to them is left out. And the weights of the attention, which nobody asks for, aren't kept."""

    def torch_multi_head_self_attention(
        self, hidden_states: Tensor, attention_mask: Tensor | None, gated_position_bias: Tensor
    ) -> tuple[Tensor, None]:
        """(batch, frames, width), (batch, frames) bool and (batch · heads, frames, frames) to the first shape."""
        batch, frames, width = hidden_states.shape
        heads = (batch, frames, self.num_heads, self.head_dim)
        query, key, value = (
            projection(hidden_states).view(heads).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = gated_position_bias.view(batch, self.num_heads, frames, frames).to(query.dtype)
        if attention_mask is not None:
            bias = bias.masked_fill(~attention_mask[:, None, None].bool(), -torch.inf)
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(found.transpose(1, 2).reshape(batch, frames, width)), None


class WavLMLayers(Wav2Vec2Layers):
    """WavLM: the first layer holds the relative position bias of all."""

    def __init__(self, encoder: PreTrainedModel):
        super().__init__(encoder)
        for layer in self.layers:
            if type(layer.attention) is WavLMAttention:
                layer.attention.__class__ = WavLMAttentionByModules

    def given(self, states: Tensor, frame_mask: Tensor | None) -> dict[str, Any]:
        frames = states.shape[1]
        bias = self.layers[0].attention.compute_bias(frames, frames)  # (heads, frames, frames)
        bias = bias.expand(states.shape[0], -1, -1, -1).reshape(-1, frames, frames)
        return {"attention_mask": frame_mask, "position_bias": bias}


class Wav2Vec2BertLayers(EncoderLayers):
    """w2v-BERT 2.0: mel features, two frames of 10 ms in one; conformer layers."""

    @classmethod
    def fits(cls, encoder: PreTrainedModel) -> bool:
        """Not with layers that shorten the sequence after the encoder."""
        return encoder.adapter is None

    @property
    def layers(self) -> nn.ModuleList:
        return self.encoder.encoder.layers

    @property
    def front(self) -> list[nn.Module]:
        return [self.encoder.feature_projection, self.encoder.encoder.dropout]

    def enter(self, inputs: Tensor, mask: Tensor | None, spec_augment: float = 0.0) -> tuple[Tensor, Tensor]:
        counts = inputs.new_full(inputs.shape[:1], inputs.shape[1], dtype=torch.long)
        frame_mask = _within(counts if mask is None else mask.sum(dim=1).clamp(min=1), inputs.shape[1])
        with recorded(self.front, inputs):
            states, _ = self.encoder.feature_projection(inputs.to(self.encoder.dtype))
            if spec_augment and self.encoder.feature_projection.training:
                masked = getattr(self.encoder, "masked_spec_embed", 0.0)
                states = spans_masked(states, frame_mask, spec_augment, masked)
            states = states.masked_fill(~frame_mask.unsqueeze(-1), 0)
            return self.encoder.encoder.dropout(states), frame_mask

    def given(self, states: Tensor, frame_mask: Tensor | None) -> dict[str, Any]:
        positions = self.encoder.encoder.embed_positions
        return {
            **super().given(states, frame_mask),
            "relative_position_embeddings": None if positions is None else positions(states),
            "conv_attention_mask": frame_mask,
        }

    def _narrowed(self, states: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        longest = int(lengths_of(frame_mask).max())  # one fewer than there are, where 10 ms are left over
        return states[:, :longest], frame_mask[:, :longest]


class WhisperLayers(EncoderLayers):
    """Whisper's encoder: windows of 30 s of mel features. Layers up to `start` run over the whole window, the silence
    that fills it included, as in its training; those above over real frames alone."""

    @property
    def layers(self) -> nn.ModuleList:
        return self.encoder.layers

    @property
    def convolutions(self) -> list[nn.Module]:
        return [self.encoder.conv1, self.encoder.conv2]

    @property
    def front(self) -> list[nn.Module]:
        return [self.encoder.embed_positions]

    @property
    def final(self) -> list[nn.Module]:
        return [self.encoder.layer_norm]

    def enter(self, inputs: Tensor, mask: Tensor | None, spec_augment: float = 0.0) -> tuple[Tensor, Tensor]:
        encoder = self.encoder
        with recorded(self.convolutions, inputs):
            states = F.gelu(encoder.conv1(inputs.to(encoder.dtype)))
            states = F.gelu(encoder.conv2(states)).transpose(1, 2)  # (batch, frames, width)
        counts = inputs.new_full(inputs.shape[:1], states.shape[1], dtype=torch.long)
        if mask is not None:
            counts = (mask.sum(dim=1) + 1).div(2, rounding_mode="floor").clamp(min=1)
        frame_mask = _within(counts, states.shape[1])
        training = trains(self.layers) and self.layers[-1].training
        if spec_augment and training:
            states = spans_masked(states, frame_mask, spec_augment, 0.0)
        states = states + encoder.embed_positions.weight[: states.shape[1]]
        return F.dropout(states, encoder.dropout, training and trains(self.convolutions)), frame_mask

    def _below(self, states: Tensor, frame_mask: Tensor) -> dict[str, Any]:
        return self.given(states, None)

    def _narrowed(self, states: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        longest = int(lengths_of(frame_mask).max())
        return states[:, :longest], frame_mask[:, :longest]

    def leave(self, states: Tensor) -> Tensor:
        return self.encoder.layer_norm(states)


class Emotion2VecLayers(EncoderLayers):
    """emotion2vec: `extra` learned tokens are in front of the frames."""

    @property
    def extra(self) -> int:
        return self.config.num_extra_tokens

    @property
    def layers(self) -> nn.ModuleList:
        return self.encoder.layers

    @property
    def convolutions(self) -> list[nn.Module]:
        return [self.encoder.conv_layers]

    @property
    def front(self) -> list[nn.Module]:
        encoder = self.encoder
        return [encoder.projection_norm, encoder.projection, encoder.positional_layers, encoder.layer_norm]

    def front_parameters(self) -> list[nn.Parameter]:
        return [*super().front_parameters(), self.encoder.extra_tokens, self.encoder.alibi_scale]

    def enter(self, inputs: Tensor, mask: Tensor | None, spec_augment: float = 0.0) -> tuple[Tensor, Tensor]:
        if mask is not None:  # a row without a recording, which the encoder refuses; its frames are masked out later
            field = torch.arange(inputs.shape[1], device=inputs.device) < self.config.receptive_field
            mask = mask.bool() | field
        augment: Callable[[Tensor, Tensor], Tensor] | None = None
        if spec_augment and self.encoder.projection.training:

            def augment(states: Tensor, frame_mask: Tensor) -> Tensor:
                return spans_masked(states, frame_mask, spec_augment, 0.0)

        with recorded((*self.convolutions, *self.front), inputs):
            states, frame_mask = self.encoder.embed(inputs, mask, augment)
        return states, F.pad(frame_mask, (self.extra, 0), value=True)

    def given(self, states: Tensor, frame_mask: Tensor | None) -> dict[str, Any]:
        real = None if frame_mask is None else frame_mask[:, self.extra :]
        return {"biases": self.encoder.attention_biases(states.shape[1] - self.extra, real, states)}

    def of_layer(self, number: int, given: dict[str, Any]) -> dict[str, Any]:
        biases: list[AttentionBias] = given["biases"]
        return {"bias": biases[min(number, len(biases) - 1)]}


SPEECH_FAMILIES: dict[str, type[EncoderLayers]] = {
    **dict.fromkeys(("wav2vec2", "hubert", "data2vec-audio", "unispeech", "unispeech-sat"), Wav2Vec2Layers),
    "wavlm": WavLMLayers,
    "wav2vec2-bert": Wav2Vec2BertLayers,
    "whisper": WhisperLayers,
    "emotion2vec": Emotion2VecLayers,
}
"""By the `model_type` of their configuration."""

__all__ = ["SPAN", "SPEECH_FAMILIES", "spans_masked"]
