"""Tiny exported EmoMM models that read recordings, words or both: random weights, no network."""

from pathlib import Path

import torch
from tiny_encoders import tiny_encoder
from tiny_speech_encoders import WIDTH
from transformers import AutoTokenizer

from emomm.configuration_emomm import EmoMMConfig
from emomm.exporting import export_model
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.speech_encoders import SpeechEncoder

LABELS = ("neutral", "happy", "sad", "anger")


def tiny_emotion_model(
    folder: Path,
    speech_encoder: str | None = None,
    modality: str = "both",
    fusion_type: str = "adaptive",
    frame_rate: float = 10.0,
    pooling: str = "frames",
) -> str:
    """Exports an untrained model whose probabilities differ from each other; returns the folder."""
    features = None
    if speech_encoder is not None:
        rate = frame_rate if pooling == "frames" else None
        made_by = SpeechEncoder.from_pretrained(speech_encoder, pooling=pooling, frame_rate=rate, device="cpu")
        features = made_by.features.to_dict()
    words = tiny_encoder(folder.with_name(f"{folder.name}-words"))
    config = EmoMMConfig(
        modality=modality,
        audio_dim=WIDTH,
        speech_encoder=features,
        text_dim=32,
        text_model_name=words,
        text_max_length=32,
        text_pooling="mean",
        fusion_type=fusion_type,
        fusion_hidden_dim=16,
        num_attention_heads=2,
        hidden_dim=0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = EmoMMForEmotionClassification(config).eval()
        torch.nn.init.normal_(model.classifier.weight, std=1.0)
    tokenizer = AutoTokenizer.from_pretrained(words) if modality != "audio" else None
    return str(export_model(model, folder, tokenizer))
