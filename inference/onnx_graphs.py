"""The parts of a model as modules that `torch.export` can follow: no look at values, no loop over rows.

What a recording gives is what it gives alone, whatever it is padded with, as in `encoder_layers`: the group norm of
wav2vec2-base is over real samples alone, and what pads is masked before each convolution over frames.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from ..encoder_layers import EncoderLayers
from ..modeling_emomm import EmoMMForEmotionClassification
from ..modeling_emotion2vec import Emotion2VecLinear
from ..modeling_emotion2vec import alibi_slopes
from ..speech_layers import Emotion2VecLayers
from ..speech_layers import Wav2Vec2Layers
from ..speech_layers import WavLMLayers
from ..speech_layers import WhisperLayers


def head_of(model: EmoMMForEmotionClassification) -> EmoMMForEmotionClassification:
    """A copy of the model without its encoders, in evaluation. It doesn't look whether a row lacks a modality: who
    gives it rows does."""
    held = model.text_encoder, model.speech_encoder
    model.text_encoder = model.speech_encoder = None
    head = copy.deepcopy(model).eval()
    model.text_encoder, model.speech_encoder = held
    if head.fusion is not None:
        head.fusion.handles_missing = True
    return head


class TextGraph(nn.Module):
    """Token ids and their mask (batch, tokens) to `text_features` (batch, tokens, given width)."""

    def __init__(self, model: EmoMMForEmotionClassification):
        super().__init__()
        self.model = head_of(model)
        self.model.fusion = self.model.classifier = self.model.vad_head = None
        self.model.text_encoder = copy.deepcopy(model.text_encoder)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"text_features": self.model.encode_text(input_ids, attention_mask)}


class SpeechGraph(nn.Module):
    """Recordings, as the encoder's feature extractor makes them, and their mask, to `audio_features` (batch, frames,
    width) and `audio_mask` (batch, frames), True at real frames.

    Args:
        encoder: of which a copy is made.
        wanted: the layers whose states are used.
        start: the layers up to it run as the encoder was trained.
        side_by_side: whether several layers' states are given side by side; else their mean.

    Raises ValueError for an encoder of an unknown family.
    """

    def __init__(self, encoder: PreTrainedModel, wanted: Sequence[int], start: int, side_by_side: bool):
        super().__init__()
        family = type(EncoderLayers.of(encoder))
        if family not in _TRACEABLE:
            raise ValueError(f"no graph is made of an encoder of the type {encoder.config.model_type}")
        self.encoder = copy.deepcopy(encoder).eval()
        _unwrap(self.encoder)
        self.layers = _TRACEABLE[family](self.encoder)
        self.wanted, self.start, self.side_by_side = sorted(wanted), start, side_by_side

    @property
    def takes(self) -> str:
        """The name of its input beside the mask."""
        return self.encoder.main_input_name

    def forward(self, mask: Tensor, **recordings: Tensor) -> dict[str, Tensor]:
        found, frames = self.layers.states(recordings[self.takes], mask, self.wanted, self.start)
        states = [found[layer] for layer in sorted(found)]
        if self.side_by_side:
            joined = torch.cat(states, dim=-1)
        else:
            joined = states[0] if len(states) == 1 else torch.stack(states).mean(dim=0)
        return {"audio_features": joined, "audio_mask": frames & mask.bool().any(dim=1, keepdim=True)}


def _unwrap(encoder: nn.Module) -> None:
    """Weights that are made anew at each step become plain ones, and linear layers that are computed as convolutions
    plain linear layers."""
    for name, module in list(encoder.named_modules()):
        if isinstance(module, Emotion2VecLinear):
            module.__class__ = nn.Linear
        if parametrize.is_parametrized(module):
            encoder.set_submodule(name, _plain(module))


def _plain(module: nn.Module) -> nn.Module:
    """The module with the weights that its parametrizations make. `remove_parametrizations` would change its class,
    which it shares with the module that it is a copy of."""
    plain = object.__new__(parametrize.type_before_parametrizations(module))
    plain.__dict__.update(module.__dict__)
    made = {name: nn.Parameter(getattr(module, name).detach().clone(), False) for name in module.parametrizations}
    plain._parameters = {**module._parameters, **made}
    plain._modules = {name: each for name, each in module._modules.items() if name != "parametrizations"}
    return plain


def _within(counts: Tensor, length: int) -> Tensor:
    """(batch,) to (batch, length) bool: the first so many."""
    return torch.arange(length, device=counts.device) < counts.unsqueeze(1)


class _Wav2Vec2(Wav2Vec2Layers):
    def _convolved(self, inputs: Tensor, samples: Tensor, mask: Tensor | None) -> Tensor:
        first, *others = self.encoder.feature_extractor.conv_layers
        states = inputs.unsqueeze(1)
        norm = getattr(first, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            states = first.conv(states)
            states = first.activation(_normed_over_time(states, self._counts(samples)[0], norm))
        else:
            states = first(states)
        for layer in others:
            states = layer(states)
        return states


class _WavLM(_Wav2Vec2, WavLMLayers):
    pass


def _normed_over_time(states: Tensor, counts: Tensor, norm: nn.GroupNorm) -> Tensor:
    """A group norm on (batch, channels, length) with a group for each channel, as all these encoders have it, of each
    row over its first `counts` (batch,) positions; the rest is zeros."""
    real = _within(counts, states.shape[2]).unsqueeze(1).to(states.dtype)  # (batch, 1, length)
    share = real / counts.to(states.dtype)[:, None, None]
    mean = (states * share).sum(dim=2, keepdim=True)
    variance = ((states - mean).square() * share).sum(dim=2, keepdim=True)
    normed = (states - mean) * (variance + norm.eps).rsqrt()
    return (normed * norm.weight[:, None] + norm.bias[:, None]) * real


class _Whisper(WhisperLayers):
    def _narrowed(self, states: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        return states, frame_mask  # how many frames the longest has is known to none who looks at no values


class _Bias:
    """What is added to the scores of emotion2vec's attention, as `AttentionBias` in one block."""

    blocks = (slice(None),)

    def __init__(self, whole: Tensor):
        self.whole = whole

    def of(self, rows: slice) -> Tensor:
        return self.whole


class _Emotion2Vec(Emotion2VecLayers):
    def enter(self, inputs: Tensor, mask: Tensor | None, spec_augment: float = 0.0) -> tuple[Tensor, Tensor]:
        encoder, config = self.encoder, self.config
        samples = torch.arange(inputs.shape[1], device=inputs.device)
        mask = mask.bool() | (samples < config.receptive_field)  # a row without a recording is masked out later
        waveforms = inputs.float()
        if config.normalize:
            share = mask / mask.sum(dim=1, keepdim=True)
            mean = (waveforms * share).sum(dim=1, keepdim=True)
            variance = ((waveforms - mean).square() * share).sum(dim=1, keepdim=True)
            waveforms = (waveforms - mean) * (variance + 1e-5).rsqrt()
        states = (waveforms * mask).unsqueeze(1)  # (batch, channels, length)
        for layer in encoder.conv_layers:
            states = layer.conv(states).transpose(1, 2)
            states = F.gelu(layer.layer_norm(states)).transpose(1, 2)
        counts = mask.sum(dim=1)
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            counts = (counts - kernel).div(stride, rounding_mode="floor") + 1
        real = _within(counts, states.shape[2])  # (batch, frames)
        states = encoder.projection(encoder.projection_norm(states.transpose(1, 2)))
        positions = states
        for layer in encoder.positional_layers:
            positions = positions.masked_fill(~real.unsqueeze(-1), 0)
            positions = layer.conv(positions.transpose(1, 2)).transpose(1, 2)
            positions = positions[:, : states.shape[1]] if layer.conv.kernel_size[0] % 2 == 0 else positions
            positions = F.gelu(F.layer_norm(positions, positions.shape[-1:]))
        states = torch.cat([encoder.extra_tokens.expand(states.shape[0], -1, -1), states + positions], dim=1)
        return encoder.layer_norm(states), F.pad(real, (self.extra, 0), value=True)

    def given(self, states: Tensor, frame_mask: Tensor | None) -> dict[str, Any]:
        position = torch.arange(states.shape[1], device=states.device) - self.extra
        apart = (position[:, None] - position).abs()
        apart = apart.masked_fill((position[:, None] < 0) | (position < 0), 0).to(states.dtype)
        slopes = torch.tensor(alibi_slopes(self.config.num_attention_heads), device=states.device)
        scales = self.encoder.alibi_scale.float().clamp(min=0) * slopes  # (1 or layers, heads)
        padding = ~frame_mask[:, None, None]
        biases = [(-scale[:, None, None] * apart).unsqueeze(0).masked_fill(padding, -torch.inf) for scale in scales]
        return {"biases": [_Bias(bias) for bias in biases]}


_TRACEABLE: dict[type[EncoderLayers], type[EncoderLayers]] = {
    Wav2Vec2Layers: _Wav2Vec2,
    WavLMLayers: _WavLM,
    WhisperLayers: _Whisper,
    Emotion2VecLayers: _Emotion2Vec,
}

__all__ = ["SpeechGraph", "TextGraph", "head_of"]
