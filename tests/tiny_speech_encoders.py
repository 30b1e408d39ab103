"""Tiny speech encoders with feature extractors, made on the spot: real classes of transformers, random weights."""

from pathlib import Path
from typing import Any

import torch
from transformers import HubertConfig
from transformers import HubertModel
from transformers import PreTrainedModel
from transformers import SeamlessM4TFeatureExtractor
from transformers import SEWConfig
from transformers import SEWModel
from transformers import Wav2Vec2BertConfig
from transformers import Wav2Vec2BertModel
from transformers import Wav2Vec2Config
from transformers import Wav2Vec2FeatureExtractor
from transformers import Wav2Vec2Model
from transformers import WavLMConfig
from transformers import WavLMModel
from transformers import WhisperConfig
from transformers import WhisperFeatureExtractor
from transformers import WhisperModel

from emomm.configuration_emotion2vec import Emotion2VecConfig
from emomm.modeling_emotion2vec import Emotion2VecModel

WIDTH, LAYERS = 16, 3
SIZE = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 24}
# Strides of 5 * 4 * 4 * 4 = 320 samples, as the real ones have with more layers.
CONVOLUTIONS = {
    "conv_dim": [8] * 4,
    "conv_kernel": [10, 8, 4, 4],
    "conv_stride": [5, 4, 4, 4],
    "num_feat_extract_layers": 4,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}

# The same frames by two convolutions: how many there are is said in half as many terms, which `torch.export` carries
# through the whole graph.
FEW = {
    **CONVOLUTIONS,
    "conv_dim": [8] * 2,
    "conv_kernel": [24, 20],
    "conv_stride": [20, 16],
    "num_feat_extract_layers": 2,
}

# `wav2vec2` normalises over time in its convolutions as wav2vec2-base does, the others by layer; the feature extractor
# of `hubert` gives no attention mask unless it is asked to. `sew` is of a family that is known by its code alone.
KINDS = ("wav2vec2", "wav2vec2-layer", "hubert", "wavlm", "w2v-bert", "whisper", "emotion2vec")
UNKNOWN = "sew"


def _build(kind: str, layers: int, convolved: dict[str, Any]) -> tuple[PreTrainedModel, Any]:
    size = SIZE | {"num_hidden_layers": layers}
    if kind == "whisper":
        config = WhisperConfig(
            d_model=WIDTH,
            encoder_layers=layers,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            vocab_size=20,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
        return WhisperModel(config), WhisperFeatureExtractor()
    if kind == "emotion2vec":
        convolutions = {name: convolved[name] for name in ("conv_dim", "conv_kernel", "conv_stride")}
        config = Emotion2VecConfig(
            **convolutions,
            hidden_size=WIDTH,
            prenet_depth=1,
            depth=layers - 1,
            num_attention_heads=2,
            intermediate_size=24,
            num_extra_tokens=3,
            conv_pos_kernel=5,
            conv_pos_depth=2,
            conv_pos_groups=2,
        )
        return Emotion2VecModel(config), Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    if kind == "w2v-bert":
        config = Wav2Vec2BertConfig(**size, conv_depthwise_kernel_size=5, vocab_size=20)
        return Wav2Vec2BertModel(config), SeamlessM4TFeatureExtractor()
    classes = {
        "hubert": (HubertConfig, HubertModel),
        "wavlm": (WavLMConfig, WavLMModel),
        UNKNOWN: (SEWConfig, SEWModel),
    }
    config_class, model_class = classes.get(kind, (Wav2Vec2Config, Wav2Vec2Model))
    group = kind == "wav2vec2"
    config = config_class(**size, **convolved, feat_extract_norm="group" if group else "layer")
    return model_class(config), Wav2Vec2FeatureExtractor(return_attention_mask=not group and kind != "hubert")


def tiny_speech_encoder(
    folder: str | Path,
    kind: str = "wavlm",
    seed: int = 0,
    layers: int = LAYERS,
    convolutions: dict[str, Any] = CONVOLUTIONS,
) -> str:
    """Writes a folder with an encoder of one of `KINDS` and its feature extractor; returns it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, extractor = _build(kind, layers, convolutions)
    encoder.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)
