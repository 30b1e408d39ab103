"""A trained model as a folder that stands alone: weights with the encoder's, configuration, code, processor."""

import copy
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase

from .checksums import WEIGHTS
from .checksums import files_like
from .checksums import note_checksums
from .configuration_emomm import EmoMMConfig
from .configuration_emomm import depth_of
from .features.text_encoders import load_encoder
from .features.text_encoders import load_encoder_config
from .features.text_encoders import public_name
from .features.voice_encoders import load_speech_encoder
from .files import TEMPORARY
from .files import content_hash
from .files import link_or_copy
from .files import whole_folder
from .files import write_whole
from .fusions import get_fusion
from .held_encoders import without_pooler
from .job_folder import JobFolder
from .modeling_emomm import EmoMMForEmotionClassification
from .processing_emomm import EmoMMProcessor
from .speech_encoders import samples_per_frame
from .speech_features import SpeechFeatures
from .travelling import CODE
from .tuning import adapted_modules
from .tuning import merged_state
from .tuning import save_adapter
from .waveforms import SAMPLING_RATE

logger = logging.getLogger(__name__)

_PART = "model-{:05}-of-{:05}.safetensors"
_PARTS = "model-*-of-*.safetensors"
TEXT_PREFIX, SPEECH_PREFIX = "text_encoder.", "speech_encoder."
"""What the names of an encoder's weights begin with inside the model."""
ADAPTERS = {TEXT_PREFIX: "text_adapter", SPEECH_PREFIX: "speech_adapter"}
"""The folders of adapters in an export without the encoders."""


def save_encoder_weights(encoder: PreTrainedModel, path: Path, prefix: str = TEXT_PREFIX) -> None:
    """Writes a frozen encoder's weights under the names they have inside the model, for exports to share."""
    state = {f"{prefix}{name}": value.contiguous() for name, value in without_pooler(encoder).state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: save_file(state, temporary, metadata={"format": "pt"}))


def shared_encoder_weights(
    job_folder: Path, key: str, load: Callable[[], PreTrainedModel], prefix: str = TEXT_PREFIX
) -> Path:
    """A frozen encoder's weights in a job's folder, `encoders/KEY-HASH.safetensors`, for all its exports to link to.

    Written where they are not there, or not with the content that the name tells: then again in all exports, too.

    Args:
        key: what tells this encoder from others.
        load: gives it.
        prefix: of its weights' names inside the model.
    """
    folder, shared = JobFolder(job_folder).encoders, []
    for path in sorted(folder.glob(f"{key}-*.safetensors")):
        if path.stem == f"{key}-{content_hash(path)}":
            return path
        logger.warning("%s is not as it was written: written again, also in the models that share it", path)
        shared += [export for export in job_folder.rglob(_PARTS) if export.samefile(path)]
        path.unlink()
    draft = folder / f"{key}{TEMPORARY}"
    save_encoder_weights(load(), draft, prefix)
    path = folder / f"{key}-{content_hash(draft)}.safetensors"
    os.replace(draft, path)
    for export in shared:
        write_whole(export, lambda temporary: link_or_copy(path, temporary))
    return path


def export_model(
    model: EmoMMForEmotionClassification,
    folder: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    encoder_weights: Path | None = None,
    feature_extractor: Any = None,
    speech_weights: Path | None = None,
    adapter_only: bool = False,
) -> Path:
    """Writes a folder from which the three auto classes and `pipeline` load the model, at a stranger's, without this
    package.

    A frozen encoder is attached here; while training, no file holds it. Adapters of a tuned one are merged. The folder
    is written beside its place and then renamed, and one that was there is replaced. `checksums.json` in it says what
    was written; to change a file by hand, delete that one (see `checksums`).

    With `adapter_only` the folder has the head alone, and beside it, in `speech_adapter` and `text_adapter`, the
    adapters as peft writes them. Who has the base models puts them together:

    ```python
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    base = AutoModel.from_pretrained(model.config.speech_model_name)
    adapted = PeftModel.from_pretrained(base, f"{folder}/speech_adapter")  # or subfolder="speech_adapter", on the Hub
    model.attach_speech_encoder(adapted.merge_and_unload())
    ```

    Args:
        model: as trained, on any device.
        folder: where to; created.
        tokenizer: the text encoder's, for a model that reads words.
        encoder_weights: a file from `save_encoder_weights`, linked (or copied) in place of writing the frozen text
            encoder's weights again for each of many models.
        feature_extractor: the speech encoder's, for a model that takes recordings (`speech_config`).
        speech_weights: as `encoder_weights`, of a frozen speech encoder.
        adapter_only: the adapters in place of the encoders that they are of.

    Returns the folder. Raises ValueError where a model that reads words comes without its tokenizer, or one that takes
    recordings without its feature extractor; with `adapter_only`, where no encoder has an adapter.
    """
    config = model.config
    if config.uses_text and tokenizer is None:
        raise ValueError("a model that reads words is exported with its text encoder's tokenizer; none was given")
    if config.uses_audio and config.speech_config is not None and feature_extractor is None:
        raise ValueError(
            "a model that takes recordings is exported with its speech encoder's feature extractor; none was given"
        )
    folder = Path(folder)
    with whole_folder(folder) as staging:
        parts = _Parts(model, {TEXT_PREFIX: encoder_weights, SPEECH_PREFIX: speech_weights}, adapter_only)
        config = parts.write(staging)
        if config.uses_audio and config.speech_config is not None and config.speech_encoder is None:
            config.speech_encoder = described(config, feature_extractor).to_dict()
        config.save_pretrained(staging)  # with the code
        note_checksums(staging, files_like(staging, WEIGHTS))
        _processor(config, tokenizer, feature_extractor).save_pretrained(str(staging))
        if config.uses_audio and feature_extractor is not None:  # for who has nothing of ours
            feature_extractor.save_pretrained(str(staging))
    return folder


class _Parts:
    """The weights of a model as they are written: the head with what was tuned, and the frozen encoders.

    Args:
        model: as trained.
        shared: by prefix, files of frozen encoders' weights to link to.
        adapter_only: see `export_model`.
    """

    def __init__(self, model: EmoMMForEmotionClassification, shared: dict[str, Path | None], adapter_only: bool):
        self.model, self.shared, self.adapter_only = model, shared, adapter_only
        self.config: EmoMMConfig = copy.deepcopy(model.config)

    def write(self, staging: Path) -> EmoMMConfig:
        """Writes them, and gives the configuration that goes with them."""
        head = {
            name: value
            for name, value in self.model.state_dict().items()
            if not name.startswith((TEXT_PREFIX, SPEECH_PREFIX))
        }
        frozen: list[Callable[[Path], object]] = []
        adapters = 0
        for prefix, modality in ((TEXT_PREFIX, "text"), (SPEECH_PREFIX, "audio")):
            if not self._has(modality):
                continue
            encoder = self.model.text_encoder if modality == "text" else self.model.speech_encoder
            tuned = self.config.tunes(modality)
            if encoder is None and tuned:
                continue  # it was never there
            if self.adapter_only and not (tuned and not any(adapted_modules(encoder))):
                if tuned:
                    save_adapter(encoder, staging / ADAPTERS[prefix], self._public(modality))
                    adapters += 1
                self._hold(modality, False)
            elif encoder is not None and (tuned or self.shared[prefix] is None):
                head |= {f"{prefix}{name}": value for name, value in merged_state(encoder).items()}
            else:
                frozen.append(self._frozen(prefix, modality))
                self._hold(modality, True)
        if self.adapter_only and not adapters:
            raise ValueError("adapter_only: no encoder of this model was tuned by 'lora'")
        self._save(staging, head, frozen)
        return self._described()

    def _has(self, modality: str) -> bool:
        """Whether the model has an encoder of a modality, in it or beside it."""
        config = self.config
        return config.uses_text if modality == "text" else config.uses_audio and config.speech_config is not None

    def _hold(self, modality: str, held: bool) -> None:
        setattr(self.config, "holds_text_encoder" if modality == "text" else "holds_speech_encoder", held)

    def _public(self, modality: str) -> str:
        name = self.config.text_model_name if modality == "text" else self.config.speech_model_name
        return public_name(name)

    def _frozen(self, prefix: str, modality: str) -> Callable[[Path], object]:
        """What writes a frozen encoder's weights to a path."""
        shared, config = self.shared[prefix], self.config
        if shared is not None:
            return lambda path: link_or_copy(shared, path)
        if modality == "text":
            encoder = load_encoder(config.text_model_name)
        else:
            encoder = load_speech_encoder(config.speech_model_name).model
        return lambda path: save_encoder_weights(encoder, path, prefix)

    @staticmethod
    def _save(staging: Path, head: dict[str, Tensor], frozen: list[Callable[[Path], object]]) -> None:
        head = {name: value.detach().cpu().contiguous() for name, value in head.items()}
        names = [_PART.format(i + 1, len(frozen) + 1) for i in range(len(frozen) + 1)]
        if not frozen:
            names = ["model.safetensors"]
        save_file(head, staging / names[0], metadata={"format": "pt"})
        for name, write in zip(names[1:], frozen, strict=True):
            write(staging / name)
        if frozen:
            _write_index(staging, names)

    def _described(self) -> EmoMMConfig:
        config = self.config
        if config.uses_text and config.text_config is None and config.holds_text_encoder:
            config.text_config = load_encoder_config(config.text_model_name)
        config.text_model_name = public_name(config.text_model_name)
        config.speech_model_name = public_name(config.speech_model_name)
        for part in (config, config.text_config, config.speech_config):
            if part is not None:
                part._name_or_path = ""  # may be a path of this machine
        config.architectures = [type(self.model).__name__]
        config.dtype = "float32"
        return config


def _write_index(staging: Path, names: list[str]) -> None:
    weight_map, size = {}, 0
    for name in names:
        with safe_open(staging / name, framework="pt") as file:
            weight_map.update(dict.fromkeys(file.keys(), name))
        size += (staging / name).stat().st_size
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (staging / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def described(config: EmoMMConfig, feature_extractor: Any) -> SpeechFeatures:
    """What the states are that a model makes of recordings, as far as its configuration tells."""
    of_encoder, layers = config.speech_config, config.speech_layers
    depth = depth_of(of_encoder)
    numbers = {"last": (-1,)}.get(layers, tuple(range(depth + 1))) if isinstance(layers, str) else tuple(layers)
    return SpeechFeatures(
        encoder=config.speech_model_name,
        model_type=of_encoder.model_type,
        width=config.audio_dim,
        num_layers=depth,
        layers=numbers,
        frame_rate=SAMPLING_RATE / samples_per_frame(of_encoder, feature_extractor),
        trained_with_labels=getattr(of_encoder, "trained_with_labels", None),
    )


def _processor(
    config: EmoMMConfig, tokenizer: PreTrainedTokenizerBase | None, feature_extractor: Any
) -> EmoMMProcessor:
    if config.uses_text:  # the model takes no token types, so that `pipeline("text-classification")` gives none
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = ["input_ids", "attention_mask"]
    allow_missing = len(config.modalities) > 1 and get_fusion(config.fusion_type).handles_missing
    return EmoMMProcessor(
        tokenizer if config.uses_text else None,
        modality=config.modality,
        feature_dim=config.given_width("audio"),
        max_length=config.text_max_length,
        allow_missing=allow_missing,
        speech_encoder=config.speech_encoder if config.uses_audio else None,
        feature_dims=config.modality_dims,
        feature_extractor=feature_extractor if config.uses_audio and config.speech_config is not None else None,
    )


__all__ = [
    "ADAPTERS",
    "CODE",
    "SPEECH_PREFIX",
    "TEXT_PREFIX",
    "described",
    "export_model",
    "save_encoder_weights",
    "shared_encoder_weights",
]
