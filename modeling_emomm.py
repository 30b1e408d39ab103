"""The model: text encoder, fusion and classifier. Needs torch and transformers alone; travels to the Hub."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn
from transformers import AutoModel
from transformers import AutoModelForAudioClassification
from transformers import AutoModelForSequenceClassification
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .checksums import CheckedFiles
from .configuration_emomm import EmoMMConfig
from .fusions import FusionOutput
from .fusions import ModalityState
from .fusions import build_fusion
from .fusions import fusion_names
from .held_encoders import HeldEncoders
from .held_encoders import without_pooler
from .losses import emotion_loss
from .losses import vad_loss
from .modalities import AUDIO
from .modalities import TEXT
from .modalities import Modality
from .modalities import get_modality
from .modalities import modality_names
from .modalities import pooled_sequence


@dataclass
class EmoMMOutput(ModelOutput):
    """
    Output of `EmoMMForEmotionClassification`.

    Args:
        loss: scalar, where `labels` are given.
        logits: (batch, classes) scores before the softmax.
        vad: (batch, 3) valence, arousal and dominance on 1-5; of a model with `vad_loss_weight`.
        embedding: (batch, hidden) what the classifier sees.
        attentions: for each modality (batch, heads, length of the others): where its query looked; cross attention.
        gates: (batch, modalities) the share of each modality; gated and adaptive fusion.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    vad: Tensor | None = None
    embedding: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None
    gates: Tensor | None = None


BYTE_STEP = math.sqrt(12) / 256
"""What random bytes, each with its half, are multiplied by so that their deviation is 1."""


def _random_bytes(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Uniform numbers of -128 to 127, as float32, eight out of each that the generator draws: in a fifth of the time
    that normal ones take, which on a small model is felt."""
    count = math.prod(shape)
    bits = torch.empty((count + 7) // 8, dtype=torch.int64, device=device).random_(-(2**63), None)
    return bits.view(torch.int8)[:count].view(shape).float()


class EmoMMPreTrainedModel(CheckedFiles, PreTrainedModel):
    """Loading, saving and initialisation of EmoMM models."""

    config_class = EmoMMConfig
    base_model_prefix = "emomm"
    main_input_name = "audio_features"
    input_modalities = ("audio", "text")
    accepts_loss_kwargs = False  # what `forward` takes besides is of further modalities
    _supports_sdpa = True
    _supports_flash_attn = True
    supports_gradient_checkpointing = True
    _no_split_modules = []

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        # torch's own initialisation of these layers, through functions that leave loaded weights alone.
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.in_features)
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, HeldEncoders):
            for weights in (module.speech_layer_weights, module.text_layer_weights):
                if weights is not None:
                    init.zeros_(weights)


class EmoMMForEmotionClassification(HeldEncoders, EmoMMPreTrainedModel):
    """Emotion from voice, words, or both, and further modalities of a user's own.

    Where it holds its speech encoder, it takes recordings in place of `audio_features`, as the encoder's own feature
    extractor gives them: `input_values` (batch, samples) or, mel features, `input_features`, and
    `speech_attention_mask`, 1 at what is real; a row of zeros has no voice. A model for voice alone takes the mask as
    `attention_mask`, too.

    Of an encoder whose lower layers are stored, `speech_states` and `speech_mask` are what `EncoderLayers.lower` gave
    up to the layer `speech_start`, (batch, frames, audio_dim) and (batch, frames), and the model runs the layers above
    it; so are `text_states` and `text_states_mask`, up to `text_start`.

    A model that weighs the layers of an encoder takes `audio_features`, or `text_features`, of all layers, side by
    side in the last dimension: (batch, frames, layers · audio_dim).
    """

    def __init__(self, config: EmoMMConfig):
        super().__init__(config)
        for name in config.modalities:
            if config.modality_module is not None and name not in modality_names():
                raise ValueError(
                    f"the modality {name!r} comes with the model, in {config.modality_module}.py: load it with "
                    "trust_remote_code=True, or, where emomm itself is imported, run that file first "
                    "(emomm.modalities.load_modality_module)"
                )
        self.modalities = tuple(get_modality(name) for name in config.modalities)
        self._taken = {key for modality in (AUDIO, TEXT, *self.modalities) for key in modality.taken}
        self.build_encoders()
        self.audio_projection = None
        dims = {name: config.projection(name) or config.width(name) for name in config.modalities}
        if config.uses_audio and config.audio_projection_dim is not None:
            self.audio_projection = nn.Linear(config.audio_dim, config.audio_projection_dim)
        self.fusion = None
        width = dims[config.modalities[0]]
        if len(dims) > 1:
            if config.fusion_module is not None and config.fusion_type not in fusion_names():
                raise ValueError(
                    f"fusion_type={config.fusion_type!r} comes with the model, in {config.fusion_module}.py: load it "
                    "with trust_remote_code=True, or, where emomm itself is imported, run that file first "
                    "(emomm.fusions.load_fusion_module)"
                )
            self.fusion = build_fusion(
                config.fusion_type,
                list(dims.values()),
                config.fusion_hidden_dim,
                config.num_attention_heads,
                config.dropout,
                config.fusion_block,
            )
            width = config.fusion_hidden_dim
        if config.hidden_dim:
            self.classifier = nn.Sequential(
                nn.Linear(width, config.hidden_dim),
                nn.LayerNorm(config.hidden_dim),
                nn.ReLU(),
                nn.Dropout(config.dropout),
                nn.Linear(config.hidden_dim, config.num_labels),
            )
        else:
            self.classifier = nn.Linear(width, config.num_labels)
        self.vad_head = nn.Linear(config.hidden_dim or width, 3) if config.gives_vad else None
        for name, dim in config.standardized.items():
            self.register_buffer(f"{name}_mean", torch.zeros(dim))
            self.register_buffer(f"{name}_std", torch.ones(dim))
        if config.class_weights is not None:
            self.register_buffer("class_weights", torch.tensor(config.class_weights, dtype=torch.float32))
        else:
            self.class_weights = None
        self.post_init()
        self.train()  # all but a frozen encoder

    # ---- the head ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def set_feature_statistics(self, modality: str, mean: Tensor, std: Tensor) -> None:
        """What `feature_normalization="standardize"` subtracts and divides by: those of the training rows.

        Args:
            modality: its name.
            mean: (dim,).
            std: (dim,), all above 0.

        Raises ValueError for a modality that this model does not standardise, another width, or a std that is not
        above 0.
        """
        if modality not in self.config.standardized:
            raise ValueError(f"this model does not standardise {modality!r} (feature_normalization)")
        if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ValueError(f"the {modality} statistics must be finite, and every standard deviation above 0")
        for name, values in ((f"{modality}_mean", mean), (f"{modality}_std", std)):
            buffer = self.get_buffer(name)
            if values.shape != buffer.shape:
                raise ValueError(f"{name} must be {tuple(buffer.shape)}, got {tuple(values.shape)}")
            buffer.copy_(values)

    def set_dropout(self, dropout: float) -> None:
        """Changes the dropout everywhere in the head (fusion and classifier); the text encoder keeps its own.

        That of torch's dropout modules, of `nn.MultiheadAttention` and of recurrent layers, which hold it as a number;
        what a fusion passes to `F.dropout` itself is out of reach.
        """
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout!r} is out of range; it must be at least 0 and below 1")
        for part in (self.fusion, self.classifier):
            for module in part.modules() if part is not None else ():
                if isinstance(module, nn.modules.dropout._DropoutNd):
                    module.p = dropout
                elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
                    module.dropout = dropout

    def _inputs(self, inputs: dict[str, Tensor | None]) -> dict[str, tuple[Tensor, Tensor]]:
        """By modality, what is given of those that the model uses: (batch, length, dim), and (batch, length) bool."""
        unknown = inputs.keys() - self._taken
        if unknown:
            raise TypeError(f"this model ({self._called}) takes no {min(unknown)}")
        given: dict[str, tuple[Tensor, Tensor]] = {}
        for modality in self.modalities:
            features, mask = inputs.get(modality.features), inputs.get(modality.mask)
            if features is None and modality.encoder:
                features, mask = self._encoded(modality, inputs)
            if features is not None:
                given[modality.name] = modality.sequence(features, mask, self.config.given_width(modality.name))
        if not given:
            keys = [key for modality in self.modalities for key in modality.inputs[::2]]
            wanted = f"{', '.join(keys[:-1])} or {keys[-1]}" if len(keys) > 1 else keys[0]
            raise ValueError(f"this model ({self._called}) needs {wanted}")
        return given

    def _encoded(self, modality: Modality, inputs: dict[str, Tensor | None]) -> tuple[Tensor | None, Tensor | None]:
        """What an encoder makes of what is given of its modality, and the mask; None where nothing is."""
        states, mask = (inputs.get(name) for name in modality.states)
        if states is not None:
            return self._from_states(modality, states, mask)
        if modality.tokens is not None:
            ids, mask = (inputs.get(name) for name in modality.tokens)
            if ids is None:
                return None, None
            mask = torch.ones_like(ids) if mask is None else mask
            return self.encode_text(ids, mask), mask
        waveforms, mel, mask = (inputs.get(name) for name in modality.recordings)
        recordings = waveforms if waveforms is not None else mel
        if recordings is None:
            return None, None
        if mask is None and not self.config.uses_text:  # as pipelines of transformers call it
            mask = inputs.get("attention_mask")
        return self.encode_speech(recordings, mask)

    @property
    def _called(self) -> str:
        """Its modalities, as a recipe has them."""
        modality = self.config.modality
        return modality if isinstance(modality, str) else ", ".join(modality)

    def _state(self, modality: str, features: Tensor, mask: Tensor, kept: Tensor | None) -> ModalityState:
        """What the fusion sees of a modality; of rows that are not kept (batch,), that it is not there."""
        sequence = self._weighed(modality, self._standardized(modality, features, kept))
        if self.audio_projection is not None and self.config.projection(modality):
            sequence = self.audio_projection(sequence).relu()
        pooled = pooled_sequence(sequence, mask, self.config.pooling(modality))
        present = mask.any(dim=1)
        if kept is not None:
            pooled, present = pooled * kept.unsqueeze(1).to(pooled.dtype), present & kept
        return ModalityState(pooled, sequence, mask, present)

    def _standardized(self, modality: str, features: Tensor, kept: Tensor | None) -> Tensor:
        """Features (batch, length, dim) in the model's type, of mean 0 and deviation 1 where the model does that;
        zeros for rows that are not kept. In training with `feature_noise`, a row is moved, all its vectors alike."""
        deviation = (self.config.feature_noise or {}).get(modality, 0) if self.training else 0
        factor = None if kept is None else kept[:, None, None].float()
        standardized = modality in self.config.standardized
        if standardized:
            # In float32: in half precision a large mean would swallow the difference. And in one pass.
            scale = self.get_buffer(f"{modality}_std").float().reciprocal()
            shift = -scale * self.get_buffer(f"{modality}_mean").float()
        elif deviation or factor is not None:
            scale, shift = features.new_ones(1, dtype=torch.float32), features.new_zeros(1, dtype=torch.float32)
        else:
            return features.to(self.dtype)
        if deviation:
            shift = self._moved(modality, shift, features, deviation)
        if factor is not None:
            scale, shift = scale * factor, shift * factor
        return torch.addcmul(shift, features.float(), scale).to(self.dtype)

    def _moved(self, modality: str, shift: Tensor, features: Tensor, deviation: float) -> Tensor:
        """What is added to a row, (dim,), with noise of this deviation for each: (batch, 1, dim)."""
        step = deviation * BYTE_STEP
        noise = _random_bytes((len(features), 1, features.shape[-1]), features.device)
        return torch.add(shift + step / 2, noise, alpha=step)

    def _kept(self, masks: list[Tensor]) -> list[Tensor | None]:
        """In training, the rows (batch,) at which each modality is left to the fusion, the others lacking it.

        Of a row that has them all, one is hidden with the probability `modality_dropout` (Neverova et al. 2016, arXiv
        1501.00102): else the fusion leans on whichever is learned first, and the other is never listened to.
        """
        if not self.training or self.config.modality_dropout == 0 or len(masks) == 1:
            return [None] * len(masks)
        complete = torch.stack([mask.any(dim=1) for mask in masks]).all(dim=0)
        hidden = complete & (torch.rand(len(complete), device=complete.device) < self.config.modality_dropout)
        which = torch.randint(len(masks), hidden.shape, device=hidden.device)
        return [~(hidden & (which == i)) for i in range(len(masks))]

    def _fused(self, states: dict[str, ModalityState]) -> FusionOutput:
        """What the fusion makes of the modalities that are given."""
        if not self.fusion.handles_missing:
            self._refuse_missing(states)
        known = next(iter(states.values()))
        return self.fusion([states.get(each.name) or self._absent(known, each) for each in self.modalities])

    def _refuse_missing(self, states: dict[str, ModalityState]) -> None:
        for modality in self.modalities:
            state = states.get(modality.name)
            # Looking at the values waits for the device; in training the collator has looked already.
            if state is None or (not self.training and not bool(state.present.all())):
                every = "both" if len(self.modalities) == 2 else "all"
                raise ValueError(
                    f"some rows have no {modality.word}, and fusion_type={self.config.fusion_type!r} needs {every}"
                    ": train with fusion_type='adaptive' for rows that lack a modality"
                )

    def _absent(self, known: ModalityState, modality: Modality) -> ModalityState:
        """The state of a modality that no row has, beside one that some have."""
        dim = self.config.projection(modality.name) or self.config.width(modality.name)
        pooled = known.pooled.new_zeros(len(known.pooled), dim)
        mask = torch.zeros(len(pooled), 1, dtype=torch.bool, device=pooled.device)
        return ModalityState(pooled, pooled.unsqueeze(1), mask, mask[:, 0])

    def _scores(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (batch, classes), and V/A/D (batch, 3) from the same hidden layer, of a model that gives it."""
        if self.vad_head is None:
            return self.classifier(embedding), None
        hidden, last = embedding, self.classifier
        if self.config.hidden_dim:
            *layers, last = self.classifier
            for layer in layers:
                hidden = layer(hidden)
        return last(hidden), 1 + 4 * self.vad_head(hidden).float().sigmoid()

    def _loss(
        self,
        logits: Tensor,
        labels: Tensor,
        rated: Tensor | None,
        vad: Tensor | None,
        sample_weights: Tensor | None,
        loss_norms: Tensor | None,
    ) -> Tensor:
        """The loss of a batch, a scalar: of the classes, and of V/A/D where the model gives it (`rated`)."""
        norm, rating_norm = (None, None) if loss_norms is None else loss_norms.reshape(-1, 2)[0]
        loss = emotion_loss(
            logits,
            labels,
            self.config.loss,
            self.config.focal_gamma,
            self.config.loss_temperature,
            self.config.label_smoothing,
            self.class_weights,
            sample_weights,
            norm,
        )
        if rated is not None and vad is not None:
            loss = loss + self.config.vad_loss_weight * vad_loss(rated, vad, sample_weights, rating_norm)
        return loss

    def forward(
        self,
        audio_features: Tensor | None = None,
        audio_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        text_features: Tensor | None = None,
        text_mask: Tensor | None = None,
        labels: Tensor | None = None,
        vad: Tensor | None = None,
        sample_weights: Tensor | None = None,
        loss_norms: Tensor | None = None,
        return_dict: bool | None = None,
        **further: Tensor | None,
    ) -> EmoMMOutput | tuple:
        """
        Args:
            audio_features: (batch, audio_dim) or (batch, frames, audio_dim).
            audio_mask: (batch, frames), 1 at real frames; a row of zeros has no voice.
            input_ids: (batch, tokens), where the model holds its text encoder.
            attention_mask: (batch, tokens), 1 at real tokens; a row of zeros has no words.
            text_features: (batch, tokens, text_dim) states of the text encoder, in place of `input_ids`.
            text_mask: (batch, tokens) for `text_features`.
            labels: (batch,) class numbers.
            vad: (batch, 3) ratings of valence, arousal and dominance on 1-5, NaN where unrated; for a model that
                gives them. Counted in the loss beside `labels`.
            sample_weights: (batch,) weights of the rows in the loss.
            loss_norms: (2,), or the same for each row (batch, 2): what the sums of the losses of classes and of
                ratings are divided by, where the batch is a part of what an optimiser step takes. By default its own
                sum of class weights (or number of rows) and number of ratings.
            further: recordings and states (see the class); and of each modality of the user's own, `NAME_features`
                (batch, dim) or (batch, length, dim) and `NAME_mask` (batch, length).

        Raises ValueError for a missing modality that the fusion can't do without, and for features of another width;
        TypeError for an input that the model doesn't know.
        """
        voice = {"audio_features": audio_features, "audio_mask": audio_mask}
        words = {"input_ids": input_ids, "attention_mask": attention_mask}
        words |= {"text_features": text_features, "text_mask": text_mask}
        given = self._inputs({**voice, **words, **further})
        kept = self._kept([mask for _, mask in given.values()])
        states = {name: self._state(name, *given[name], rows) for name, rows in zip(given, kept, strict=True)}
        attentions = gates = None
        if self.fusion is not None:
            fused = self._fused(states)
            embedding, attentions, gates = fused.embedding, fused.attentions, fused.gates
        else:
            embedding = next(iter(states.values())).pooled
        logits, rated = self._scores(embedding)
        loss = None if labels is None else self._loss(logits, labels, rated, vad, sample_weights, loss_norms)
        output = EmoMMOutput(
            loss=loss, logits=logits, vad=rated, embedding=embedding, attentions=attentions, gates=gates
        )
        return output if return_dict is not False else output.to_tuple()


if not __name__.startswith("transformers_modules"):
    for auto_class in (AutoModel, AutoModelForSequenceClassification, AutoModelForAudioClassification):
        auto_class.register(EmoMMConfig, EmoMMForEmotionClassification, exist_ok=True)

__all__ = ["EmoMMForEmotionClassification", "EmoMMOutput", "EmoMMPreTrainedModel", "emotion_loss", "without_pooler"]
