"""Every architectural choice of an emotion2vec model, validated. Needs transformers alone; travels to the Hub."""

from collections.abc import Sequence
from math import prod
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers import PreTrainedConfig

EMOTIONS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
"""The nine classes of the emotion2vec+ models, in the order of their logits."""


@strict
class Emotion2VecConfig(PreTrainedConfig):
    """Configuration of `Emotion2VecModel` and `Emotion2VecForEmotionClassification`; the defaults are the base model.

    emotion2vec: Ma et al., "Self-Supervised Pre-Training for Speech Emotion Representation", Findings of ACL 2024,
    arXiv 2312.15185; code and weights under the MIT licence. Recordings are mono at 16 kHz.

    Args:
        conv_dim (`list[int]`, defaults to seven times 512): channels of the convolutions on the waveform.
        conv_kernel (`list[int]`, defaults to `[10, 3, 3, 3, 3, 2, 2]`): their widths.
        conv_stride (`list[int]`, defaults to `[5, 2, 2, 2, 2, 2, 2]`): their strides; the product, 320 samples, is
            the distance of two frames (50 Hz).
        hidden_size (`int`, defaults to 768): width of the frames.
        prenet_depth (`int`, defaults to 4): transformer blocks of what the paper calls the context encoder.
        depth (`int`, defaults to 8): transformer blocks after those.
        num_attention_heads (`int`, defaults to 12): heads of every block; they divide `hidden_size`.
        intermediate_size (`int`, defaults to 3072): hidden width of the blocks' MLP (an MLP ratio of 4).
        num_extra_tokens (`int`, defaults to 10): learned tokens in front of the frames, dropped at the end.
        conv_pos_kernel (`int`, defaults to 19): width of each positional convolution (95 split over the depth of 5).
        conv_pos_depth (`int`, defaults to 5): how many positional convolutions.
        conv_pos_groups (`int`, defaults to 16): their groups; they divide `hidden_size`.
        alibi_scale_per_head (`bool`, defaults to `True`): whether each head scales its ALiBi bias, or all alike.
        alibi_scale_per_layer (`bool`, defaults to `False`): whether each block has scales of its own.
        layer_norm_eps (`float`, defaults to 1e-5): of the blocks' layer norms and of the one before them.
        normalize (`bool`, defaults to `True`): whether the model brings each whole recording to mean 0 and variance 1.
        initializer_range (`float`, defaults to 0.02): standard deviation of newly made weights.
        hidden_dropout (`float`, defaults to 0.0): in training, the dropout after each part of a block, in [0, 1).
        attention_dropout (`float`, defaults to 0.0): of the attention's weights.
        activation_dropout (`float`, defaults to 0.0): within the blocks' MLP.
        layerdrop (`float`, defaults to 0.0): in training, the share of the blocks that are passed over.
        trained_with_labels (`bool`, *optional*): whether the weights were trained with the emotion labels of corpora,
            as those of the plus models were; None where that is not known. Written down for who uses the frames: the
            head, which tells it, is not part of `Emotion2VecModel`.
        id2label (`dict[int, str]`, defaults to the nine classes of the plus models): what the logits stand for.
    """

    model_type = "emotion2vec"

    conv_dim: list[int] | tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_kernel: list[int] | tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: list[int] | tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    hidden_size: int = 768
    prenet_depth: int = 4
    depth: int = 8
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    num_extra_tokens: int = 10
    conv_pos_kernel: int = 19
    conv_pos_depth: int = 5
    conv_pos_groups: int = 16
    alibi_scale_per_head: bool = True
    alibi_scale_per_layer: bool = False
    layer_norm_eps: float = 1e-5
    normalize: bool = True
    initializer_range: float | int = 0.02
    hidden_dropout: float | int = 0.0
    attention_dropout: float | int = 0.0
    activation_dropout: float | int = 0.0
    layerdrop: float | int = 0.0
    trained_with_labels: bool | None = None

    def __post_init__(self, **kwargs: Any):
        if self.id2label is None and kwargs.get("num_labels") in (None, len(EMOTIONS)):
            self.id2label = dict(enumerate(EMOTIONS))
            self.label2id = {label: number for number, label in enumerate(EMOTIONS)}
        super().__post_init__(**kwargs)

    @property
    def num_hidden_layers(self) -> int:
        """Transformer blocks in all."""
        return self.prenet_depth + self.depth

    @property
    def samples_per_frame(self) -> int:
        """Distance of two frames, in samples."""
        return prod(self.conv_stride)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame is made of, and the least that a recording must have."""
        field = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            field = (field - 1) * stride + kernel
        return field

    def validate_convolutions(self):
        """Raises ValueError where the convolutions on the waveform are not described as many times, or not above 0."""
        described = {name: getattr(self, name) for name in ("conv_dim", "conv_kernel", "conv_stride")}
        for name, values in described.items():
            if not values or min(values) < 1:
                raise ValueError(f"{name}={list(values)} must be at least one number, each 1 or more")
        if len({len(values) for values in described.values()}) > 1:
            counts = ", ".join(f"{len(values)} in {name}" for name, values in described.items())
            raise ValueError(f"the convolutions must be as many in each list; there are {counts}")

    def validate_sizes(self):
        """Raises ValueError for a size out of its range."""
        least = {"prenet_depth": 0, "depth": 0, "num_extra_tokens": 0, "conv_pos_depth": 0}
        sizes = ("hidden_size", "num_attention_heads", "intermediate_size", "conv_pos_kernel", "conv_pos_groups")
        for name, low in (least | dict.fromkeys(sizes, 1)).items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}={getattr(self, name)} is out of range; it must be at least {low}")
        for name in ("hidden_dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is out of range; it must be at least 0 and below 1")
        if not 0 < self.layer_norm_eps < 1:
            raise ValueError(f"layer_norm_eps={self.layer_norm_eps} is out of range; it must be above 0 and below 1")
        if self.num_hidden_layers < 1:
            raise ValueError("prenet_depth=0 and depth=0 make a model without a block; one of them must be above 0")

    def validate_divisors(self):
        """Raises ValueError where the heads, or the groups of the positional convolutions, do not divide the width."""
        for name in ("num_attention_heads", "conv_pos_groups"):
            parts = getattr(self, name)
            if parts > 0 and self.hidden_size % parts:
                raise ValueError(f"{name}={parts} does not divide hidden_size={self.hidden_size}")


def frames_of(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """How many frames convolutions of such widths and strides make of so many samples; 0 where they are too few."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = max((samples - kernel) // stride + 1, 0)
    return samples


# The copy that travels with a model on the Hub is found through `auto_map`; registering it as well would take the
# place of the installed package's class for everything else in that process.
if not __name__.startswith("transformers_modules"):
    AutoConfig.register("emotion2vec", Emotion2VecConfig, exist_ok=True)

__all__ = ["EMOTIONS", "Emotion2VecConfig", "frames_of"]
