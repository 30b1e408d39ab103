"""Every architectural choice of an EmoMM model, validated."""

import copy
from pathlib import Path
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_emotion2vec import Emotion2VecConfig
from .fusions import fusion_names
from .fusions import get_fusion
from .modalities import get_modality
from .modalities import names_in
from .travelling import save_config

TUNINGS = ("frozen", "full", "last_k", "lora")
LAYERS = ("last", "mean", "weighted")
TEXT_POOLINGS = ("cls", "mean")
LOSSES = ("cross_entropy", "focal")
FUSION_BLOCKS = ("original", "normalized")
NORMALIZATIONS = ("none", "standardize")
_ADDED = {
    "modality_dims": None,
    "modality_module": None,
    "speech_config": None,
    "speech_model_name": "",
    "speech_tuning": "frozen",
    "holds_speech_encoder": False,
    "speech_layers": "last",
    "speech_start": 0,
    "spec_augment": 0.0,
    "layer_drop": 0.0,
    "window_seconds": None,
    "windows_joined": False,
    "text_tuning": None,
    "text_layers": "last",
    "text_start": 0,
}
"""Fields that came later, which are written down where they are not as they always were."""


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not known; it can be {', '.join(allowed)}")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value < high:
        raise ValueError(f"{name}={value!r} is out of range; it must be at least {low} and below {high}")


@strict
class EmoMMConfig(PreTrainedConfig):
    """Configuration of `EmoMMForEmotionClassification`.

    Args:
        modality (`str` or `list[str]`, defaults to `"both"`): `audio`, `text`, `both` of them, or a list of names, one
            of the user's own among them.
        modality_dims (`dict[str, int]`, *optional*): width of the vectors of each modality that is neither voice nor
            words.
        modality_module (`str`, *optional*): module, beside this one, that registers modalities of the user's own.
        feature_normalization (`str`, defaults to `"none"`): `standardize` gives the model a mean and a standard
            deviation for each dimension of the voice features and of a frozen text encoder's states, those of its
            training rows, and it brings what it reads to mean 0 and deviation 1; `none` reads features as they are.
        audio_dim (`int`, defaults to 768): width of the voice features.
        audio_projection_dim (`int`, *optional*): width of a Linear + ReLU applied to each frame before the mean over
            frames (the emotion2vec authors' probe has 256); without it the frames are averaged as they are.
        audio_encoder (`str`, defaults to `""`): the model that made the voice features; written down, not run.
        speech_encoder (`dict`, *optional*): the same as `SpeechFeatures` describes it, so that recordings can be read.
        speech_config (*optional*): configuration of the speech encoder, where the model reads recordings.
        speech_model_name (`str`, defaults to `""`): where the speech encoder came from.
        speech_tuning (`str`, defaults to `"frozen"`): how it was trained: `frozen`, `full`, `last_k`, `lora`.
        holds_speech_encoder (`bool`, defaults to `False`): as `holds_text_encoder`.
        speech_layers (`str` or `list[int]`, defaults to `"last"`): the states that are used: those of the `last`
            layer, their `mean` over all layers (the input of the first one among them), a sum `weighted` by learned
            softmax weights (SUPERB, arXiv 2105.01051), or the mean of those that are listed, counted as
            `output_hidden_states` does. Of a model that weighs layers, `audio_features` hold all layers' states side
            by side.
        speech_start (`int`, defaults to 0): the layer whose output `speech_states` are, 0 for the input of the first;
            Whisper's layers up to there run over its whole window of 30 s, those from there on over real frames alone.
            Of a frozen encoder, which runs as it was trained, its depth counts.
        spec_augment (`float`, defaults to 0.0): in training, the share of the frames that are masked at the encoder's
            input, in spans of 10, in [0, 1).
        layer_drop (`float`, defaults to 0.0): in training, the share of the tuned layers that are passed over, in
            [0, 1).
        window_seconds (`float`, *optional*): a recording that is longer is heard in windows of equal length, of at
            most so many seconds, side by side, whose logits are averaged. None hears whole recordings.
        windows_joined (`bool`, defaults to `False`): the windows' states are joined in place of that, and the rest of
            the model sees them as one recording, as where it was trained on stored states.
        training_seconds (`list[float]`, *optional*): how long the training recordings are, in seconds: 1st percentile,
            median, 99th percentile. None where the features tell no time.
        text_config (*optional*): configuration of the text encoder.
        text_dim (`int`, defaults to 768): width of the text encoder's states.
        text_model_name (`str`, defaults to `""`): where the text encoder came from.
        text_max_length (`int`, defaults to 128): tokens of a transcript, special tokens included.
        text_pooling (`str`, defaults to `"cls"`): `cls` (the first token's state) or `mean` (over all tokens).
        freeze_text_encoder (`bool`, defaults to `True`): whether the encoder stays as it is.
        text_tuning (`str`, *optional*): as `speech_tuning`; by default `frozen` or `full`, as `freeze_text_encoder`
            says, which follows from this one where both are given.
        text_layers (`str` or `list[int]`, defaults to `"last"`): as `speech_layers`.
        text_start (`int`, defaults to 0): the layer whose output `text_states` are.
        holds_text_encoder (`bool`, defaults to `False`): whether the encoder's weights are part of the model. While a
            frozen encoder's states come from a store they are not; export attaches them.
        fusion_type (`str`, defaults to `"cross_attention"`): the registered name of the fusion.
        fusion_module (`str`, *optional*): module, beside this one, that registers a fusion of the user's own.
        fusion_block (`str`, defaults to `"original"`): `original` is the layers of the system that EmoMM extends;
            `normalized` adds LayerNorms where without them a high learning rate throws a fusion about.
        fusion_hidden_dim (`int`, defaults to 512): width inside the fusion and of its output.
        num_attention_heads (`int`, defaults to 8): heads of the cross attention; they divide `fusion_hidden_dim`.
        hidden_dim (`int`, defaults to 1024): width of the classifier's hidden layer; 0 makes it one linear layer.
        dropout (`float`, defaults to 0.1): dropout of the fusion and the classifier, in [0, 1).
        feature_noise (`dict[str, float]`, *optional*): by modality, in training, the standard deviation of the noise
            that is added to a row's vectors, all alike, in standard deviations of those of the training rows.
        modality_dropout (`float`, defaults to 0.0): in training, the share of the rows with all modalities at which
            one of them is hidden, in [0, 1).
        loss (`str`, defaults to `"cross_entropy"`): `cross_entropy` or `focal`.
        focal_gamma (`float`, defaults to 2.0): focusing exponent of the focal loss, at least 0.
        loss_temperature (`float`, defaults to 1.0): the logits are divided by it in the loss, above 0.
        label_smoothing (`float`, defaults to 0.0): share of the target spread over all classes, in [0, 1).
        class_weights (`list[float]`, *optional*): weight of each class in the loss.
        vad_loss_weight (`float`, defaults to 0.0): weight of the loss of valence, arousal and dominance beside that of
            the classes; above 0 the model has a head for them, at 0 it has none.
    """

    model_type = "emomm"
    keys_to_ignore_at_inference = ["vad", "embedding", "attentions", "gates"]
    sub_configs_defaults = {
        "text_config": SubConfigSpec(AutoConfig, model_type="bert", optional=True),
        "speech_config": SubConfigSpec(AutoConfig, model_type="wav2vec2", optional=True),
    }

    modality: str | list[str] = "both"
    feature_normalization: str = "none"
    audio_dim: int = 768
    audio_projection_dim: int | None = None
    audio_encoder: str = ""
    speech_encoder: dict | None = None
    speech_config: dict | PreTrainedConfig | None = None
    speech_model_name: str = ""
    speech_tuning: str = "frozen"
    holds_speech_encoder: bool = False
    speech_layers: str | list[int] = "last"
    speech_start: int = 0
    spec_augment: float | int = 0.0
    layer_drop: float | int = 0.0
    window_seconds: float | int | None = None
    windows_joined: bool = False
    training_seconds: list[float | int] | None = None
    text_config: dict | PreTrainedConfig | None = None
    text_dim: int = 768
    text_model_name: str = ""
    text_max_length: int = 128
    text_pooling: str = "cls"
    freeze_text_encoder: bool = True
    text_tuning: str | None = None
    text_layers: str | list[int] = "last"
    text_start: int = 0
    holds_text_encoder: bool = False
    fusion_type: str = "cross_attention"
    fusion_module: str | None = None
    fusion_block: str = "original"
    fusion_hidden_dim: int = 512
    num_attention_heads: int = 8
    hidden_dim: int = 1024
    dropout: float | int = 0.1
    feature_noise: dict[str, float | int] | None = None
    modality_dropout: float | int = 0.0
    loss: str = "cross_entropy"
    focal_gamma: float | int = 2.0
    loss_temperature: float | int = 1.0
    label_smoothing: float | int = 0.0
    class_weights: list[float | int] | None = None
    vad_loss_weight: float | int = 0.0
    modality_dims: dict[str, int] | None = None
    modality_module: str | None = None

    def __post_init__(self, **kwargs: Any):
        # transformers takes from configurations within one which attention is used; the encoder that this is the
        # configuration of would then go on without any mask.
        self.speech_config, self.text_config = copy.deepcopy(self.speech_config), copy.deepcopy(self.text_config)
        if isinstance(self.speech_config, dict) and self.speech_config.get("model_type") == "emotion2vec":
            # By the class beside this one: that of a copy that has travelled is not registered.
            self.speech_config = Emotion2VecConfig(**self.speech_config)
        if self.text_tuning is not None:
            self.freeze_text_encoder = self.text_tuning == "frozen"
        super().__post_init__(**kwargs)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the modalities, in the order in which a fusion sees them."""
        return names_in(self.modality)

    def width(self, modality: str) -> int:
        """How wide the vectors of a modality are that the fusion, or the classifier, is given."""
        if modality in ("audio", "text"):
            return self.audio_dim if modality == "audio" else self.text_dim
        return (self.modality_dims or {})[modality]

    def given_width(self, modality: str) -> int:
        """How wide the vectors of a modality are that the model is given: of all layers where it weighs them."""
        return self.width(modality) * (self.weighted_layers(modality) or 1)

    def weighted_layers(self, modality: str) -> int | None:
        """How many layers of a modality's encoder the model weighs; None where it doesn't."""
        encoder = {"audio": "speech", "text": "text"}.get(modality)
        if encoder is None or getattr(self, f"{encoder}_layers") != "weighted":
            return None
        return depth_of(getattr(self, f"{encoder}_config")) + 1

    def tunes(self, modality: str) -> bool:
        """Whether training changes the encoder of a modality."""
        if modality == "audio":
            return self.speech_tuning != "frozen"
        return modality == "text" and not self.freeze_text_encoder

    def projection(self, modality: str) -> int | None:
        """How wide its vectors become in a Linear + ReLU before pooling; None where they stay as they are."""
        return self.audio_projection_dim if modality == "audio" else None

    def pooling(self, modality: str) -> str:
        """How its sequence becomes one vector: `mean`, or `cls`."""
        return self.text_pooling if modality == "text" else get_modality(modality).pooling

    @property
    def uses_audio(self) -> bool:
        """Whether the model listens to the voice."""
        return "audio" in self.modalities

    @property
    def uses_text(self) -> bool:
        """Whether the model reads the words."""
        return "text" in self.modalities

    @property
    def gives_vad(self) -> bool:
        """Whether the model rates valence, arousal and dominance."""
        return self.vad_loss_weight > 0

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> None:
        """As in transformers, with the code that `config.json` names: also where a model or a Trainer is saved."""
        save_config(self, save_directory)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)

    @property
    def standardized(self) -> dict[str, int]:
        """Width by modality of what the model standardises. A tuned encoder's states are not: they change."""
        if self.feature_normalization == "none":
            return {}
        return {name: self.given_width(name) for name in self.modalities if not self.tunes(name)}

    def to_dict(self) -> dict[str, Any]:
        """As in transformers; what is of a user's own modalities, or of recordings, is there where they are."""
        found = super().to_dict()
        return {key: value for key, value in found.items() if key not in _ADDED or value != _ADDED[key]}

    def validate_choices(self):
        """Raises ValueError for a name that is not among those allowed."""
        _one_of("feature_normalization", self.feature_normalization, NORMALIZATIONS)
        _one_of("fusion_block", self.fusion_block, FUSION_BLOCKS)
        _one_of("text_pooling", self.text_pooling, TEXT_POOLINGS)
        _one_of("loss", self.loss, LOSSES)
        _one_of("speech_tuning", self.speech_tuning, TUNINGS)
        if self.text_tuning is not None:
            _one_of("text_tuning", self.text_tuning, TUNINGS)

    def validate_layers(self):
        """Raises ValueError for layers that the encoders don't have, and where their number has to be known."""
        for name in ("speech", "text"):
            layers, config = getattr(self, f"{name}_layers"), getattr(self, f"{name}_config")
            if isinstance(layers, str):
                _one_of(f"{name}_layers", layers, LAYERS)
            if config is None and layers == "weighted":
                raise ValueError(f"{name}_layers='weighted' needs {name}_config: it tells how many layers there are")
            if config is None or (isinstance(layers, str) and not getattr(self, f"{name}_start")):
                continue
            depth = depth_of(config)
            if isinstance(layers, list) and not (layers and all(-depth - 1 <= layer <= depth for layer in layers)):
                raise ValueError(f"{name}_layers={layers!r}: the encoder has the layers 0-{depth} (or -1, its last)")
            _within(f"{name}_start", getattr(self, f"{name}_start"), 0, depth + 1)

    def validate_modality(self):
        """Raises ValueError for modalities that are not known, given twice or none, or whose width is not known."""
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modality={self.modality!r} must name one modality or more, each once")
        for name in self.modalities:
            if self.modality_module is None:  # a user's own may come later, with the model
                get_modality(name)
            if name not in ("audio", "text", *(self.modality_dims or {})):
                raise ValueError(f"modality_dims={self.modality_dims!r} lacks the width of {name}")

    def validate_ranges(self):
        """Raises ValueError for a number out of its range."""
        for name in ("audio_dim", "text_dim", "text_max_length", "fusion_hidden_dim", "num_attention_heads"):
            _within(name, getattr(self, name), 1, float("inf"))
        for name, dim in (self.modality_dims or {}).items():
            _within(f"modality_dims of {name}", dim, 1, float("inf"))
        if self.window_seconds is not None and not 0 < self.window_seconds < float("inf"):
            raise ValueError(f"window_seconds={self.window_seconds!r} is out of range; it must be above 0")
        if self.audio_projection_dim is not None:
            _within("audio_projection_dim", self.audio_projection_dim, 1, float("inf"))
        _within("hidden_dim", self.hidden_dim, 0, float("inf"))
        for name in ("dropout", "modality_dropout", "spec_augment", "layer_drop"):
            _within(name, getattr(self, name), 0, 1)
        for modality, deviation in (self.feature_noise or {}).items():
            _within(f"feature_noise of {modality}", deviation, 0, float("inf"))
        _within("label_smoothing", self.label_smoothing, 0, 1)
        _within("focal_gamma", self.focal_gamma, 0, float("inf"))
        _within("vad_loss_weight", self.vad_loss_weight, 0, float("inf"))
        if not 0 < self.loss_temperature < float("inf"):
            raise ValueError(f"loss_temperature={self.loss_temperature!r} is out of range; it must be above 0")

    def validate_heads(self):
        """Raises ValueError where the heads of a fusion's attention do not divide its width."""
        known = len(self.modalities) > 1 and self.fusion_type in fusion_names()  # a user's own may come later
        uses_heads = known and getattr(get_fusion(self.fusion_type), "uses_heads", False)
        if uses_heads and self.num_attention_heads > 0 and self.fusion_hidden_dim % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} does not divide "
                f"fusion_hidden_dim={self.fusion_hidden_dim}"
            )

    def validate_class_weights(self):
        """Raises ValueError where the class weights are not one finite, non-negative number for each class."""
        weights = self.class_weights
        if weights is None:
            return
        if len(weights) != self.num_labels or not (min(weights) >= 0 and 0 < sum(weights) < float("inf")):
            raise ValueError(
                f"class_weights={weights!r} must be {self.num_labels} finite numbers, none below 0 and not all 0"
            )


def depth_of(config: PreTrainedConfig) -> int:
    """How many layers an encoder has; of an encoder-decoder, its encoder."""
    return getattr(config, "encoder_layers", None) or config.num_hidden_layers


# The copy that travels with a model on the Hub is found through `auto_map`; registering it as well would take the
# place of the installed package's class for everything else in that process.
if not __name__.startswith("transformers_modules"):
    AutoConfig.register("emomm", EmoMMConfig, exist_ok=True)

__all__ = ["LAYERS", "TUNINGS", "EmoMMConfig", "depth_of"]
