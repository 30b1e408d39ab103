"""Small speech encoders of random weights, the same at each call: for `synthetic_tones`, and where no weights can be
had."""

import torch
from transformers import PreTrainedModel
from transformers import Wav2Vec2Config
from transformers import Wav2Vec2FeatureExtractor
from transformers import Wav2Vec2Model
from transformers import WavLMConfig
from transformers import WavLMModel

from ..errors import InputError

PREFIX = "random:"
_POSITIONS = 0.6
"""Standard deviation of WavLM's bias by distance, that of trained ones (0.1 and less as it is initialised): with it,
what came before what can be told from the upper layers alone, whatever is frozen below."""

# 50 frames a second from two convolutions, whose channels are enough to tell one tone from another.
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "conv_dim": (32, 32),
    "conv_kernel": (64, 8),
    "conv_stride": (20, 16),
    "num_feat_extract_layers": 2,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "initializer_range": 0.1,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "layerdrop": 0.0,
    "apply_spec_augment": False,
}
_MADE = {
    "tiny-wavlm": (WavLMModel, WavLMConfig(**_SIZES, num_buckets=64, max_bucket_distance=128)),
    "tiny-wav2vec2": (Wav2Vec2Model, Wav2Vec2Config(**_SIZES)),
}
NAMES = tuple(PREFIX + name for name in _MADE)


def is_random(name: str) -> bool:
    """Whether the name is that of an encoder of random weights, as it is written in `speech_model_name`."""
    return name.startswith(PREFIX)


def random_encoder(name: str) -> tuple[PreTrainedModel, Wav2Vec2FeatureExtractor]:
    """The encoder, in evaluation mode, and its feature extractor.

    Args:
        name: one of `NAMES`.

    Raises:
        InputError: another name.
    """
    if name not in NAMES:
        raise InputError(f"there is no encoder {name!r} of random weights; there are {', '.join(NAMES)}")
    model_class, config = _MADE[name.removeprefix(PREFIX)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(type(config).from_dict(config.to_dict())).eval()
        if isinstance(model, WavLMModel):
            torch.nn.init.normal_(model.encoder.layers[0].attention.rel_attn_embed.weight, std=_POSITIONS)
    return model, Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


__all__ = ["NAMES", "PREFIX", "is_random", "random_encoder"]
