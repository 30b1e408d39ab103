"""The encoders that a model holds: how they are built, run, and kept still where they are frozen. Travels."""

import os
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch import nn
from transformers import AutoModel
from transformers import PreTrainedConfig
from transformers import PreTrainedModel

from .configuration_emomm import EmoMMConfig
from .configuration_emomm import depth_of
from .encoder_layers import EncoderLayers
from .encoder_layers import trains
from .modalities import Modality
from .modeling_emotion2vec import Emotion2VecModel

ADAPTER = "default"
"""What an adapter that is trained is called inside an encoder."""


def without_pooler(encoder: PreTrainedModel) -> PreTrainedModel:
    """The encoder without the layer that only its own classification heads use (BERT, RoBERTa, MPNet have one)."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder


def speech_encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """A speech model's encoder, which of most is the whole; what else it would draw at random in training is off."""
    encoder = model.get_encoder() if model.config.is_encoder_decoder and hasattr(model, "decoder") else model
    if EncoderLayers.of(encoder) is None:  # it runs whole, by its own code
        for name, off in (("apply_spec_augment", False), ("layerdrop", 0.0)):
            if hasattr(encoder.config, name):
                setattr(encoder.config, name, off)
    return encoder


def encoder_from(config: PreTrainedConfig) -> PreTrainedModel:
    """A speech encoder as its configuration describes it, with new weights."""
    # By name: a copy that has travelled registers no class, and its configuration's is one of its own.
    if config.model_type == Emotion2VecModel.config_class.model_type:
        return Emotion2VecModel(config)
    return speech_encoder_of(AutoModel.from_config(config))


def width_of(config: PreTrainedConfig) -> int:
    """How wide an encoder's states are."""
    return getattr(config, "d_model", None) or config.hidden_size


def adapted_modules(encoder: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules with an adapter, and their names."""
    for name, module in encoder.named_modules():
        if hasattr(module, "get_delta_weight") and hasattr(module, "base_layer"):
            yield name, module


def merged_state(encoder: PreTrainedModel) -> dict[str, Tensor]:
    """The encoder's weights with what its adapters add to them, under the names of before; the encoder stays as it is.

    Of an encoder without adapters, its weights.
    """
    state, adapted = dict(encoder.state_dict()), dict(adapted_modules(encoder))
    for name, module in adapted.items():
        within = [key for key in state if key.startswith(f"{name}.")]
        values = {key: state.pop(key) for key in within}
        base = f"{name}.base_layer."
        state |= {f"{name}.{key.removeprefix(base)}": value for key, value in values.items() if key.startswith(base)}
        weight = state[f"{name}.weight"]
        state[f"{name}.weight"] = weight + module.get_delta_weight(ADAPTER).detach().to(weight)
    return state


class HeldEncoders:
    """What `EmoMMForEmotionClassification` knows of encoders: `text_encoder` and `speech_encoder`, each None where the
    model doesn't hold it, as while it trains on stored states of a frozen one."""

    config: EmoMMConfig

    def build_encoders(self) -> None:
        """Those that the configuration says the model holds, and the weights of their layers."""
        config = self.config
        self.text_encoder: PreTrainedModel | None = None
        self.speech_encoder: PreTrainedModel | None = None
        if config.uses_text and config.holds_text_encoder:
            self.text_encoder = without_pooler(AutoModel.from_config(config.text_config))
        if config.uses_audio and config.holds_speech_encoder:
            self.speech_encoder = encoder_from(config.speech_config)
        self.speech_layer_weights = _layer_weights(config, "audio")
        self.text_layer_weights = _layer_weights(config, "text")

    def attach_text_encoder(self, encoder: PreTrainedModel) -> None:
        """Makes a pretrained encoder part of the model, so that it takes token ids.

        Raises ValueError where the encoder's states are not as wide as the model expects.
        """
        if encoder.config.hidden_size != self.config.text_dim:
            raise ValueError(
                f"the encoder's states are {encoder.config.hidden_size} wide, the model expects "
                f"text_dim={self.config.text_dim}"
            )
        self.text_encoder = without_pooler(encoder)
        self.config.text_config = encoder.config
        self.config.holds_text_encoder = True
        self.train(self.training)

    def attach_speech_encoder(self, encoder: PreTrainedModel) -> None:
        """Makes a pretrained encoder part of the model, so that it takes recordings; of an encoder-decoder, that part.

        Raises ValueError where its states are not as wide, or its layers not as many, as the model expects.
        """
        config = encoder.config
        if width_of(config) != self.config.audio_dim:
            raise ValueError(
                f"the encoder's states are {width_of(config)} wide, the model expects "
                f"audio_dim={self.config.audio_dim}"
            )
        weights = self.speech_layer_weights
        if weights is not None and len(weights) != depth_of(config) + 1:
            raise ValueError(f"the encoder has {depth_of(config)} layers, the model weighs {len(weights) - 1}")
        self.speech_encoder = speech_encoder_of(encoder)
        self.config.speech_config = config
        self.config.holds_speech_encoder = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "HeldEncoders":
        """As in torch, but of the encoders, what is frozen stays in evaluation mode (no dropout)."""
        super().train(mode)
        for encoder, tuned in (
            (self.text_encoder, self.config.tunes("text")),
            (self.speech_encoder, self.config.tunes("audio")),
        ):
            if encoder is None:
                continue
            if not tuned:
                encoder.requires_grad_(False)
            layers = EncoderLayers.of(encoder)
            if layers is None:
                encoder.train(mode and trains([encoder]))
            else:
                layers.train(mode)
        return self

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        """As in transformers; what adapters add to the encoders' weights is added to them in the file."""
        encoders = {"text_encoder.": self.text_encoder, "speech_encoder.": self.speech_encoder}
        adapted = {
            prefix: each for prefix, each in encoders.items() if each is not None and any(adapted_modules(each))
        }
        if state_dict is None and adapted:
            state_dict = {name: value for name, value in self.state_dict().items() if not name.startswith((*adapted,))}
            for prefix, encoder in adapted.items():
                state_dict |= {f"{prefix}{name}": value for name, value in merged_state(encoder).items()}
        super().save_pretrained(save_directory, is_main_process, state_dict, **kwargs)

    def _set_gradient_checkpointing(self, enable: bool = True, *args, **kwargs) -> None:
        """As in transformers, also for layers of encoders that it doesn't know how to checkpoint."""
        for encoder in (self.text_encoder, self.speech_encoder):
            layers = None if encoder is None else EncoderLayers.of(encoder)
            for layer in () if layers is None else layers.layers:
                layer.gradient_checkpointing = enable
        super()._set_gradient_checkpointing(enable, *args, **kwargs)

    # ---- inputs to states -------------------------------------------------------------------------------------------

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids (batch, tokens) to the encoder's states, (batch, tokens, text_dim): of the layers that
        `text_layers` says; where the model weighs them, all side by side."""
        if self.text_encoder is None:
            raise ValueError(
                "this model holds no text encoder, as while it trains on stored states: give it text_features, or "
                "export it first"
            )
        attention_mask = _with_a_token(attention_mask)
        drop = self.config.layer_drop if self.training else 0.0
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.tunes("text")):
            wanted, layers = self.wanted_layers("text"), EncoderLayers.of(self.text_encoder)
            last = self.config.text_layers == "last"
            if layers is None or (last and not drop and not layers.checkpoints):
                found = self._whole(self.text_encoder, wanted, input_ids=input_ids, attention_mask=attention_mask)
            else:
                found, _ = layers.states(input_ids, attention_mask, wanted, layer_drop=drop)
            return self.joined("text", found)

    def encode_embedded(self, embedded: Tensor, attention_mask: Tensor) -> Tensor:
        """As `encode_text`, with the gradient, from what goes into the first layer: (batch, tokens, text_dim)."""
        layers = EncoderLayers.of(self.text_encoder)
        found = layers.states_above(embedded, _with_a_token(attention_mask).bool(), 0, self.wanted_layers("text"))
        return self.joined("text", found)

    def embedded(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor | None:
        """Token ids (batch, tokens) to what goes into the first layer; None for an encoder of an unknown family."""
        layers = EncoderLayers.of(self.text_encoder)
        return None if layers is None else layers.enter(input_ids, attention_mask)[0]

    def encode_speech(
        self, inputs: Tensor, mask: Tensor | None = None, encoder: PreTrainedModel | None = None
    ) -> tuple[Tensor, Tensor]:
        """Recordings to the encoder's states.

        Args:
            inputs: what the encoder's own feature extractor makes of them: waveforms (batch, samples), or mel
                features.
            mask: as it gives it too, 1 at real samples or frames; a row of zeros has no recording. None where all
                are.
            encoder: in place of the one that the model holds: with the same weights, another way of running.

        Returns the states of the layers that `speech_layers` says, (batch, frames, audio_dim), all side by side where
        the model weighs them, and which frames are real, (batch, frames) bool.

        Raises ValueError where the model holds no speech encoder.
        """
        encoder = self.speech_encoder if encoder is None else encoder
        if encoder is None:
            raise ValueError(
                "this model holds no speech encoder: give it audio_features, or export it first where it was trained "
                "on stored states"
            )
        config, layers, wanted = self.config, EncoderLayers.of(encoder), self.wanted_layers("audio")
        tuned = config.tunes("audio")
        with torch.set_grad_enabled(torch.is_grad_enabled() and (tuned or inputs.requires_grad)):
            if layers is None:
                found, frames = self._whole_speech(inputs, mask, wanted)
            else:
                # The states of a frozen encoder are those that it was trained to give.
                start = config.speech_start if tuned else layers.depth
                augment, drop = (config.spec_augment, config.layer_drop) if self.training else (0.0, 0.0)
                found, frames = layers.states(inputs, mask, wanted, start, augment, drop)
            if mask is not None:
                frames = frames & mask.any(dim=1, keepdim=True)
            return self.joined("audio", found), frames

    def _from_states(self, modality: Modality, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """States after the layer `speech_start` or `text_start` through the layers above it, as the encoder's."""
        speech = modality.encoder == "speech"
        encoder = self.speech_encoder if speech else self.text_encoder
        layers = None if encoder is None else EncoderLayers.of(encoder)
        if layers is None:
            raise ValueError(f"{modality.states[0]} are given, and this model holds no layers that go on from them")
        start = self.config.speech_start if speech else self.config.text_start
        wanted = self.wanted_layers(modality.name)
        if min(wanted) < start:
            raise ValueError(
                f"{modality.states[0]} are those of layer {start}, and the model uses layer {min(wanted)}"
            )
        mask = torch.ones(states.shape[:2], device=states.device) if mask is None else mask
        there, mask = mask.bool().any(dim=1, keepdim=True), mask.bool()
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        drop = self.config.layer_drop if self.training else 0.0
        found = layers.states_above(states, mask | (first & ~there), start, wanted, drop)
        return self.joined(modality.name, found), mask[:, layers.extra :] & there

    def wanted_layers(self, modality: str) -> list[int]:
        """The layers of a modality's encoder whose states are used."""
        config = self.config
        speech = modality == "audio"
        layers = config.speech_layers if speech else config.text_layers
        depth = depth_of(config.speech_config if speech else config.text_config)
        if layers == "last":
            return [depth]
        if isinstance(layers, str):
            return list(range(depth + 1))
        return sorted({layer if layer >= 0 else depth + 1 + layer for layer in layers})

    def joined(self, modality: str, found: Mapping[int, Tensor]) -> Tensor:
        """The states of layers as the model uses them: side by side where it weighs them, else their mean."""
        states = [found[layer] for layer in sorted(found)]
        if self.config.weighted_layers(modality):
            return torch.cat(states, dim=-1)
        return states[0] if len(states) == 1 else torch.stack(states).mean(dim=0)

    def _weighed(self, modality: str, states: Tensor) -> Tensor:
        """(batch, length, layers · dim) to (batch, length, dim) where the model weighs layers."""
        weights = {"audio": self.speech_layer_weights, "text": self.text_layer_weights}.get(modality)
        if weights is None:
            return states
        shares = weights.softmax(dim=0).to(states.dtype)
        return torch.einsum("blnd,n->bld", states.unflatten(-1, (len(weights), -1)), shares)

    @staticmethod
    def _whole(encoder: PreTrainedModel, wanted: list[int], **inputs: Tensor) -> dict[int, Tensor]:
        """The states of layers of an encoder that runs as a whole."""
        depth = depth_of(encoder.config)
        if wanted == [depth]:
            return {depth: encoder(**inputs).last_hidden_state}
        outputs = encoder(**inputs, output_hidden_states=True)
        # Some normalise after the last layer, and give its states from before that among the hidden ones.
        hidden = (*outputs.hidden_states[:-1], outputs.last_hidden_state)
        return {layer: hidden[layer] for layer in wanted}

    def _whole_speech(
        self, inputs: Tensor, mask: Tensor | None, wanted: list[int]
    ) -> tuple[dict[int, Tensor], Tensor]:
        """As `EncoderLayers.states`, of an encoder of an unknown family, by its own code."""
        encoder = self.speech_encoder
        masked = {} if mask is None else {"attention_mask": mask}
        found = self._whole(encoder, wanted, **{encoder.main_input_name: inputs}, **masked)
        frames = next(iter(found.values())).shape[1]
        if mask is None:
            return found, torch.ones(len(inputs), frames, dtype=torch.bool, device=inputs.device)
        if mask.shape[1] == frames:
            return found, mask.bool()
        if hasattr(encoder, "_get_feature_vector_attention_mask"):
            return found, encoder._get_feature_vector_attention_mask(frames, mask).bool()
        real = (mask.sum(dim=1, keepdim=True) * frames).div(mask.shape[1], rounding_mode="ceil")
        return found, torch.arange(frames, device=mask.device) < real


def _with_a_token(mask: Tensor) -> Tensor:
    """The mask (batch, tokens), with a token in rows without any, which would make attention divide by nothing; what
    such a row gives is masked out later."""
    first = torch.zeros_like(mask)
    first[:, 0] = 1
    return torch.where(mask.any(dim=1, keepdim=True), mask, first)


def _layer_weights(config: EmoMMConfig, modality: str) -> nn.Parameter | None:
    layers = config.weighted_layers(modality) if modality in config.modalities else None
    return None if layers is None else nn.Parameter(torch.zeros(layers))


__all__ = [
    "ADAPTER",
    "HeldEncoders",
    "adapted_modules",
    "encoder_from",
    "merged_state",
    "speech_encoder_of",
    "width_of",
    "without_pooler",
]
