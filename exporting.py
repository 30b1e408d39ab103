"""A trained model as a folder that stands alone: weights with the encoder's, configuration, code, processor."""

import copy
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase

from .checksums import WEIGHTS
from .checksums import files_like
from .checksums import note_checksums
from .configuration_emomm import EmoMMConfig
from .features.text_encoders import load_encoder
from .features.text_encoders import load_encoder_config
from .features.text_encoders import public_name
from .files import TEMPORARY
from .files import content_hash
from .files import link_or_copy
from .files import whole_folder
from .files import write_whole
from .fusions import get_fusion
from .job_folder import JobFolder
from .modeling_emomm import EmoMMForEmotionClassification
from .modeling_emomm import without_pooler
from .processing_emomm import EmoMMProcessor
from .travelling import CODE

logger = logging.getLogger(__name__)

_HEAD, _ENCODER = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
_PREFIX = "text_encoder."


def save_encoder_weights(encoder: PreTrainedModel, path: Path) -> None:
    """Writes a frozen encoder's weights under the names they have inside the model, for exports to share."""
    state = {f"{_PREFIX}{name}": value.contiguous() for name, value in without_pooler(encoder).state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: save_file(state, temporary, metadata={"format": "pt"}))


def shared_encoder_weights(job_folder: Path, key: str, load: Callable[[], PreTrainedModel]) -> Path:
    """A frozen encoder's weights in a job's folder, `encoders/KEY-HASH.safetensors`, for all its exports to link to.

    Written where they are not there, or not with the content that the name tells: then again in all exports, too.

    Args:
        key: what tells this encoder from others.
        load: gives it.
    """
    folder, shared = JobFolder(job_folder).encoders, []
    for path in sorted(folder.glob(f"{key}-*.safetensors")):
        if path.stem == f"{key}-{content_hash(path)}":
            return path
        logger.warning("%s is not as it was written: written again, also in the models that share it", path)
        shared += [export for export in job_folder.rglob(_ENCODER) if export.samefile(path)]
        path.unlink()
    draft = folder / f"{key}{TEMPORARY}"
    save_encoder_weights(load(), draft)
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
) -> Path:
    """Writes a folder from which the three auto classes and `pipeline` load the model, at a stranger's, without this
    package.

    A frozen text encoder is attached here; while training, no file holds it. The folder is written beside its place
    and then renamed, and one that was there is replaced. `checksums.json` in it says what was written; to change a
    file by hand, delete that one (see `checksums`).

    Args:
        model: as trained, on any device.
        folder: where to; created.
        tokenizer: the text encoder's, for a model that reads words.
        encoder_weights: a file from `save_encoder_weights`, linked (or copied) in place of writing the frozen
            encoder's weights again for each of many models.

    Returns the folder. Raises ValueError where a model that reads words comes without its tokenizer.
    """
    if model.config.uses_text and tokenizer is None:
        raise ValueError("a model that reads words is exported with its text encoder's tokenizer; none was given")
    folder = Path(folder)
    with whole_folder(folder) as staging:
        config = _write_weights(model, staging, encoder_weights)
        config.save_pretrained(staging)  # with the code
        note_checksums(staging, files_like(staging, WEIGHTS))
        _processor(config, tokenizer).save_pretrained(str(staging))
    return folder


def _write_weights(model: EmoMMForEmotionClassification, staging: Path, encoder_weights: Path | None) -> EmoMMConfig:
    config: EmoMMConfig = copy.deepcopy(model.config)
    head = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if config.uses_text and config.freeze_text_encoder and not config.holds_text_encoder:
        if encoder_weights is None:
            encoder = load_encoder(config.text_model_name)
            save_encoder_weights(encoder, staging / _ENCODER)
        else:
            link_or_copy(encoder_weights, staging / _ENCODER)
        save_file(head, staging / _HEAD, metadata={"format": "pt"})
        _write_index(staging)
        if config.text_config is None:
            config.text_config = load_encoder_config(config.text_model_name)
        config.holds_text_encoder = True
    else:
        save_file(head, staging / "model.safetensors", metadata={"format": "pt"})
    config.text_model_name = public_name(config.text_model_name)
    for part in (config, config.text_config):
        if part is not None:
            part._name_or_path = ""  # may be a path of this machine
    config.architectures = [type(model).__name__]
    config.dtype = "float32"
    return config


def _write_index(staging: Path) -> None:
    weight_map, size = {}, 0
    for name in (_HEAD, _ENCODER):
        with safe_open(staging / name, framework="pt") as file:
            weight_map.update(dict.fromkeys(file.keys(), name))
        size += (staging / name).stat().st_size
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (staging / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _processor(config: EmoMMConfig, tokenizer: PreTrainedTokenizerBase | None) -> EmoMMProcessor:
    if config.uses_text:  # the model takes no token types, so that `pipeline("text-classification")` gives none
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = ["input_ids", "attention_mask"]
    allow_missing = len(config.modalities) > 1 and get_fusion(config.fusion_type).handles_missing
    return EmoMMProcessor(
        tokenizer if config.uses_text else None,
        modality=config.modality,
        feature_dim=config.audio_dim,
        max_length=config.text_max_length,
        allow_missing=allow_missing,
        speech_encoder=config.speech_encoder if config.uses_audio else None,
        feature_dims=config.modality_dims,
    )


__all__ = ["CODE", "export_model", "save_encoder_weights", "shared_encoder_weights"]
