"""emotion2vec: waveforms to frames, and to emotions. Needs torch and transformers alone; travels to the Hub.

Ma et al., "emotion2vec: Self-Supervised Pre-Training for Speech Emotion Representation", Findings of ACL 2024,
arXiv 2312.15185, a model of the data2vec 2.0 family (Baevski et al., arXiv 2212.07525); the authors' code and weights
are under the MIT licence. This is the encoder as it makes features and is tuned: without masking and decoder; dropout
and layer drop are those of the configuration, 0 unless they are set.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel
from transformers import AutoModelForAudioClassification
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_emotion2vec import Emotion2VecConfig
from .configuration_emotion2vec import frames_of

_PIECE = 100
"""Frames that go through the waveform's convolutions at a time on a CPU: 2 s, whose states stay in the cache."""
_BIAS = 1 << 26
"""Numbers of the attention's bias that are held at once: all of them up to about 45 s in the base model."""


def alibi_slopes(heads: int) -> list[float]:
    """The slope of each head's bias: Press et al., ICLR 2022, arXiv 2108.12409.

    For a power of two, 2^(-8/n), 2^(-16/n) and so on; for other numbers those of the power of two below, then every
    other one of the power above.
    """
    below = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / below) for head in range(below)]
    return slopes + [2 ** (-8 * (2 * head + 1) / (2 * below)) for head in range(heads - below)]


class Emotion2VecLinear(nn.Linear):
    """A linear layer, which in float32 inference on a CPU is computed as a convolution of width 1.

    The matrix product that torch calls there is written for one maker's processors; the convolution is as quick on
    those and, measured, twice as quick on others. The stride over an axis of length 1 changes nothing but that torch
    does not hand the convolution back to the same matrix product.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
            return super().forward(x)
        rows = x.reshape(1, 1, -1, self.in_features).permute(0, 3, 1, 2)  # (1, in, 1, rows), channels last in memory
        rows = F.conv2d(rows, self.weight[:, :, None, None], self.bias, stride=(2, 1))  # (1, out, 1, rows)
        return rows.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)


def _convolve(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """(batch, length, in) to (batch, new length, out): the convolution with channels last in memory throughout.

    So layer norms need no transposed copies.
    """
    weight = conv.weight.unsqueeze(2)  # (out, in / groups, 1, kernel)
    x = F.conv2d(
        x.transpose(1, 2).unsqueeze(2), weight, conv.bias, (1, *conv.stride), (0, *conv.padding), groups=conv.groups
    )
    return x.squeeze(2).transpose(1, 2)


class Emotion2VecConvLayer(nn.Module):
    """One of the convolutions on the waveform, with layer norm over the channels of each position, and GELU."""

    def __init__(self, config: Emotion2VecConfig, number: int):
        super().__init__()
        width = config.conv_dim[number]
        before = config.conv_dim[number - 1] if number else 1
        self.conv = nn.Conv1d(before, width, config.conv_kernel[number], config.conv_stride[number], bias=False)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, channels before) to (batch, new length, channels)."""
        if self.conv.in_channels == 1:  # the waveform: as windows, since one channel has no layout
            x = F.linear(x[..., 0].unfold(1, *self.conv.kernel_size, *self.conv.stride), self.conv.weight[:, 0])
        else:
            x = _convolve(x, self.conv)
        return F.gelu(self.layer_norm(x))


class Emotion2VecPositionalLayer(nn.Module):
    """One of the grouped convolutions over frames, with a layer norm without parameters, and GELU."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__()
        kernel = config.conv_pos_kernel
        self.conv = nn.Conv1d(
            config.hidden_size, config.hidden_size, kernel, padding=kernel // 2, groups=config.conv_pos_groups
        )

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """(batch, frames, width) to the same; `padding` (batch, frames, 1) is True where frames count as zeros."""
        if padding is not None:
            x = x.masked_fill(padding, 0)
        x = _convolve(x, self.conv)[:, : x.shape[1]]  # an even width makes a frame too many
        return F.gelu(F.layer_norm(x, x.shape[-1:]))


class AttentionBias:
    """What is added to the scores of the attention, made in blocks of queries where the whole would fill the memory.

    Between frames it is minus their distance times the head's slope and learned scale; 0 from and to the extra tokens;
    minus infinity to the padding.

    Args:
        scale: (heads,) slope times learned scale.
        extra: tokens in front of the frames.
        frames: after those.
        padding: (batch, tokens) where there is none to be looked at, or None.
        dtype: of the scores.

    `blocks` are the queries of each block.
    """

    def __init__(self, scale: Tensor, extra: int, frames: int, padding: Tensor | None, dtype: torch.dtype):
        self.scale, self.padding, self.dtype = scale, padding, dtype
        self.position = torch.arange(-extra, frames, device=scale.device, dtype=torch.float32)
        tokens = extra + frames
        row = len(scale) * tokens * (1 if padding is None else len(padding))
        size = max(_BIAS // row, 1)
        self.blocks = [slice(start, start + size) for start in range(0, tokens, size)]
        self._whole = self._made(self.blocks[0]) if len(self.blocks) == 1 else None

    def of(self, rows: slice) -> Tensor:
        """(1 or batch, heads, queries, tokens) of one of the blocks."""
        return self._made(rows) if self._whole is None else self._whole

    def _made(self, rows: slice) -> Tensor:
        query = self.position[rows, None]
        distance = (query - self.position).abs().masked_fill((query < 0) | (self.position < 0), 0)
        bias = (-self.scale[:, None, None] * distance).unsqueeze(0).to(self.dtype)
        return bias if self.padding is None else bias.masked_fill(self.padding[:, None, None], -torch.inf)


class Emotion2VecAttention(nn.Module):
    """Self-attention with a bias on the scores."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout = config.attention_dropout
        self.qkv = Emotion2VecLinear(config.hidden_size, 3 * config.hidden_size)
        self.proj = Emotion2VecLinear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, bias: "AttentionBias") -> Tensor:
        """(batch, tokens, width) to the same."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (batch, heads, tokens, width of a head) each
        dropout = self.dropout if self.training else 0.0
        parts = [
            F.scaled_dot_product_attention(query[:, :, rows], key, value, attn_mask=bias.of(rows), dropout_p=dropout)
            for rows in bias.blocks
        ]
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, width))


class Emotion2VecLayer(GradientCheckpointingLayer):
    """A transformer block whose layer norms come after each part and its residual."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__()
        self.attention = Emotion2VecAttention(config)
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.fc1 = Emotion2VecLinear(config.hidden_size, config.intermediate_size)
        self.fc2 = Emotion2VecLinear(config.intermediate_size, config.hidden_size)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)

    def forward(self, x: Tensor, bias: "AttentionBias") -> Tensor:
        """(batch, tokens, width) to the same."""
        x = self.norm1(x + self.dropout(self.attention(x, bias)))
        hidden = self.activation_dropout(F.gelu(self.fc1(x)))
        return self.norm2(x + self.dropout(self.fc2(hidden)))


class Emotion2VecPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation of emotion2vec models."""

    config_class = Emotion2VecConfig
    base_model_prefix = "emotion2vec"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Emotion2VecLayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, Emotion2VecModel):
            init.normal_(module.extra_tokens)
            init.ones_(module.alibi_scale)

    def _get_feat_extract_output_lengths(self, input_lengths: Tensor | int) -> Tensor | int:
        """How many frames come of recordings of so many samples."""
        if isinstance(input_lengths, int):
            return frames_of(input_lengths, self.config.conv_kernel, self.config.conv_stride)
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            input_lengths = ((input_lengths - kernel).div(stride, rounding_mode="floor") + 1).clamp(min=0)
        return input_lengths

    def _get_feature_vector_attention_mask(self, feature_vector_length: int, attention_mask: Tensor) -> Tensor:
        """The mask of samples (batch, samples) as one of frames, (batch, feature_vector_length) bool."""
        counts = self._get_feat_extract_output_lengths(attention_mask.long().sum(dim=1))  # (batch,)
        return torch.arange(feature_vector_length, device=attention_mask.device) < counts.unsqueeze(1)

    def frame_mask(self, attention_mask: Tensor) -> Tensor:
        """The mask of samples (batch, samples) as one of frames, (batch, frames) bool, True at real frames."""
        frames = self._get_feat_extract_output_lengths(attention_mask.shape[1])
        return self._get_feature_vector_attention_mask(frames, attention_mask)


class Emotion2VecModel(Emotion2VecPreTrainedModel):
    """The emotion2vec encoder: mono waveforms at 16 kHz to frames at 50 Hz.

    What a recording gives is what it gives alone, whatever it is padded with or batched with.
    """

    _keys_to_ignore_on_load_unexpected = [r"^proj\."]  # the head of the plus models

    def __init__(self, config: Emotion2VecConfig):
        super().__init__(config)
        width = config.hidden_size
        self.conv_layers = nn.ModuleList(Emotion2VecConvLayer(config, i) for i in range(len(config.conv_dim)))
        self.projection_norm = nn.LayerNorm(config.conv_dim[-1])
        self.projection = Emotion2VecLinear(config.conv_dim[-1], width)
        self.positional_layers = nn.ModuleList(
            Emotion2VecPositionalLayer(config) for _ in range(config.conv_pos_depth)
        )
        self.extra_tokens = nn.Parameter(torch.empty(1, config.num_extra_tokens, width))
        scales = config.num_hidden_layers if config.alibi_scale_per_layer else 1
        self.alibi_scale = nn.Parameter(
            torch.empty(scales, config.num_attention_heads if config.alibi_scale_per_head else 1)
        )
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(Emotion2VecLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple:
        """
        Args:
            input_values: (batch, samples) waveforms, mono at 16 kHz, in any scale where `config.normalize` is on.
            attention_mask: (batch, samples), 1 at real samples, 0 at the padding after them; None if there is none.
            output_hidden_states: also what goes into the first block, and what comes out of each.

        Returns `last_hidden_state` (batch, frames, width) at 50 Hz, `pooler_output` (batch, width), the mean over a
        recording's frames, and `hidden_states`, one more than there are blocks, (batch, frames, width) each. Frames
        past a recording's end (see `frame_mask`) mean nothing.

        Raises ValueError for another shape, a mask with padding elsewhere than at the end, and for a recording
        shorter than one frame (400 samples, 25 ms).
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        extra = self.config.num_extra_tokens
        x, real = self.embed(input_values, attention_mask)  # (batch, extra + frames, width)
        padded = attention_mask is not None and not bool(real.all())
        real = real if padded else None
        biases = self.attention_biases(x.shape[1] - extra, real, x)
        states = [x[:, extra:]]
        for number, layer in enumerate(self.layers):
            passed_over = self.training and self.config.layerdrop and float(torch.rand(())) < self.config.layerdrop
            if not passed_over:
                x = layer(x, biases[min(number, len(biases) - 1)])
            if output_hidden_states:
                states.append(x[:, extra:])
        x = x[:, extra:]
        output = BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=_mean_of_real(x, real),
            hidden_states=tuple(states) if output_hidden_states else None,
        )
        return output if return_dict is not False else output.to_tuple()

    def embed(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        augment: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What goes into the first block, (batch, extra tokens + frames, width), and which frames are real, (batch,
        frames) bool. `augment` changes the frames before their positions are added; the rest is as in `forward`."""
        lengths = self._lengths(input_values, attention_mask)
        frames = self._get_feat_extract_output_lengths(input_values.shape[1])
        real, padded = torch.ones(len(input_values), frames, dtype=torch.bool, device=input_values.device), False
        if min(lengths) < input_values.shape[1]:
            real, padded = self._get_feature_vector_attention_mask(frames, attention_mask), True
        trained = input_values.requires_grad or any(each.requires_grad for each in self.conv_layers.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            x = self._local_features(input_values, lengths, frames)  # (batch, frames, conv_dim[-1])
        x = self.projection(self.projection_norm(x))  # (batch, frames, width)
        if augment is not None:
            x = augment(x, real)
        x = x + self._positions(x, real if padded else None)
        x = torch.cat([self.extra_tokens.expand(len(x), -1, -1), x], dim=1)
        return self.layer_norm(x), real

    def _lengths(self, input_values: Tensor, attention_mask: Tensor | None) -> list[int]:
        """Samples of each recording."""
        if input_values.ndim != 2 or len(input_values) == 0:
            raise ValueError(f"input_values has shape {tuple(input_values.shape)}; this model takes (batch, samples)")
        if attention_mask is None:
            lengths = [input_values.shape[1]] * len(input_values)
        else:
            if attention_mask.shape != input_values.shape:
                raise ValueError(
                    f"attention_mask has shape {tuple(attention_mask.shape)}, input_values "
                    f"{tuple(input_values.shape)}; they must be the same"
                )
            mask = attention_mask.bool()
            if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
                raise ValueError("attention_mask has a 1 after a 0; recordings must be padded at their end alone")
            lengths = mask.sum(dim=1).tolist()
        field = self.config.receptive_field
        for row, length in enumerate(lengths):
            if length < field:
                raise ValueError(
                    f"recording {row} of the batch has {length} samples; one frame needs {field} "
                    f"({1000 * field / 16000:g} ms at 16 kHz)"
                )
        return lengths

    def _local_features(self, input_values: Tensor, lengths: list[int], frames: int) -> Tensor:
        """Waveforms (batch, samples) to what the convolutions make of them: (batch, frames, conv_dim[-1])."""
        rows = [row[:length].float() for row, length in zip(input_values, lengths, strict=True)]
        if self.config.normalize:
            rows = [F.layer_norm(row, row.shape) for row in rows]
        rows = [row.to(self.dtype) for row in rows]
        if input_values.device.type == "cpu" and not torch.is_grad_enabled():
            # In pieces: the first states take 100 times the waveform's memory, and are quick only in the cache.
            found = pad_sequence([torch.cat(self._pieces(row)) for row in rows], batch_first=True)
        else:
            found = self._convolved(pad_sequence(rows, batch_first=True))
        return F.pad(found, (0, 0, 0, frames - found.shape[1]))

    def _pieces(self, waveform: Tensor) -> list[Tensor]:
        """(samples,) to the frames that the convolutions make of it, in pieces of (frames, conv_dim[-1])."""
        hop, field = self.config.samples_per_frame, self.config.receptive_field
        frames = self._get_feat_extract_output_lengths(len(waveform))
        starts = range(0, frames, _PIECE)
        ends = [(min(start + _PIECE, frames) - 1) * hop + field for start in starts]
        return [self._convolved(waveform[None, start * hop : end])[0] for start, end in zip(starts, ends, strict=True)]

    def _convolved(self, waveforms: Tensor) -> Tensor:
        """(batch, samples) to (batch, frames, conv_dim[-1])."""
        x = waveforms.unsqueeze(-1)
        for layer in self.conv_layers:
            x = layer(x)
        return x

    def _positions(self, x: Tensor, real: Tensor | None) -> Tensor:
        """The relative positional encoding of (batch, frames, width), of the same shape."""
        padding = None if real is None else ~real.unsqueeze(-1)
        for layer in self.positional_layers:
            x = layer(x, padding)
        return x

    def attention_biases(self, frames: int, real: Tensor | None, x: Tensor) -> list[AttentionBias]:
        """What is added to the scores: one for all blocks, or one for each.

        Args:
            frames: how many there are, without the extra tokens.
            real: (batch, frames) bool; None where all are.
            x: for its type and place.
        """
        extra = self.config.num_extra_tokens
        slopes = torch.tensor(alibi_slopes(self.config.num_attention_heads), device=x.device)
        scales = self.alibi_scale.float().clamp(min=0) * slopes  # (1 or blocks, heads)
        padding = None if real is None else ~F.pad(real, (extra, 0), value=True)  # (batch, tokens)
        return [AttentionBias(scale, extra, frames, padding, x.dtype) for scale in scales]


class Emotion2VecForEmotionClassification(Emotion2VecPreTrainedModel):
    """The emotion2vec+ models: a linear layer on the mean over frames, to nine classes by default."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__(config)
        self.emotion2vec = Emotion2VecModel(config)
        self.proj = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple:
        """As `Emotion2VecModel.forward`; `labels` (batch,) are class numbers.

        Returns `loss`, the cross-entropy where labels are given, `logits` (batch, classes), and `hidden_states`.
        """
        encoded = self.emotion2vec(input_values, attention_mask, output_hidden_states)
        logits = self.proj(encoded.pooler_output)
        loss = None if labels is None else F.cross_entropy(logits.float(), labels)
        output = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=encoded.hidden_states)
        return output if return_dict is not False else output.to_tuple()


def _mean_of_real(x: Tensor, real: Tensor | None) -> Tensor:
    """(batch, frames, width) to (batch, width): the mean over the frames that `real` (batch, frames) tells."""
    if real is None:
        return x.mean(dim=1)
    return x.masked_fill(~real.unsqueeze(-1), 0).sum(dim=1) / real.sum(dim=1, keepdim=True)


if not __name__.startswith("transformers_modules"):
    AutoModel.register(Emotion2VecConfig, Emotion2VecModel, exist_ok=True)
    AutoModelForAudioClassification.register(Emotion2VecConfig, Emotion2VecForEmotionClassification, exist_ok=True)

__all__ = ["Emotion2VecForEmotionClassification", "Emotion2VecModel", "Emotion2VecPreTrainedModel", "alibi_slopes"]
