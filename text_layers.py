"""The layers of text encoders, by family. Travels to the Hub with the model."""

from typing import Any

import torch
from torch import Tensor
from torch import nn
from transformers import PreTrainedModel

from .encoder_layers import EncoderLayers
from .encoder_layers import recorded


class BertLayers(EncoderLayers):
    """BERT, RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA."""

    @classmethod
    def fits(cls, encoder: PreTrainedModel) -> bool:
        """Not as a decoder, whose tokens see those before them alone."""
        return not getattr(encoder.config, "is_decoder", False)

    @property
    def layers(self) -> nn.ModuleList:
        return self.encoder.encoder.layer

    @property
    def front(self) -> list[nn.Module]:
        projection = getattr(self.encoder, "embeddings_project", None)
        return [self.encoder.embeddings, *([] if projection is None else [projection])]

    def enter(self, inputs: Tensor, mask: Tensor | None, spec_augment: float = 0.0) -> tuple[Tensor, Tensor]:
        with recorded(self.front, inputs):
            states = inputs
            for module in self.front:
                states = module(states)
        real = torch.ones_like(inputs) if mask is None else mask
        return states, real.bool()


class DistilBertLayers(BertLayers):
    """DistilBERT."""

    @property
    def layers(self) -> nn.ModuleList:
        return self.encoder.transformer.layer


class MPNetLayers(BertLayers):
    """MPNet: one relative position bias for all layers."""

    @property
    def front(self) -> list[nn.Module]:
        return [*super().front, self.encoder.encoder.relative_attention_bias]

    def enter(self, inputs: Tensor, mask: Tensor | None, spec_augment: float = 0.0) -> tuple[Tensor, Tensor]:
        with recorded([self.encoder.embeddings], inputs):
            states = self.encoder.embeddings(inputs)
        return states, (torch.ones_like(inputs) if mask is None else mask).bool()

    def given(self, states: Tensor, frame_mask: Tensor | None) -> dict[str, Any]:
        return {
            **super().given(states, frame_mask),
            "position_bias": self.encoder.encoder.compute_position_bias(states),
        }


TEXT_FAMILIES: dict[str, type[EncoderLayers]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), BertLayers),
    "distilbert": DistilBertLayers,
    "mpnet": MPNetLayers,
}
"""By the `model_type` of their configuration."""

__all__ = ["TEXT_FAMILIES"]
