"""A trained model as a folder that stands alone: weights with the encoder's, configuration, code, processor."""

import copy
import hashlib
import inspect
import json
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase

from .configuration_emomm import EmoMMConfig
from .fusions import get_fusion
from .modeling_emomm import EmoMMForEmotionClassification
from .modeling_emomm import without_pooler
from .processing_emomm import EmoMMProcessor
from .text_encoders import load_encoder
from .text_encoders import load_encoder_config
from .text_encoders import public_name

logger = logging.getLogger(__name__)

CODE = (
    "configuration_emomm.py",
    "data_collator.py",
    "fusions.py",
    "modeling_emomm.py",
    "pipeline_emomm.py",
    "processing_emomm.py",
    "saliency.py",
    "speech_encoders.py",
    "speech_features.py",
    "transcribing.py",
    "waveforms.py",
)
_AUTO_MAP = {
    "AutoConfig": "configuration_emomm.EmoMMConfig",
    "AutoModel": "modeling_emomm.EmoMMForEmotionClassification",
    "AutoModelForSequenceClassification": "modeling_emomm.EmoMMForEmotionClassification",
    "AutoModelForAudioClassification": "modeling_emomm.EmoMMForEmotionClassification",
    "AutoProcessor": "processing_emomm.EmoMMProcessor",
}
_PIPELINES = {"multimodal-emotion-recognition": {"impl": "pipeline_emomm.EmoMMPipeline", "pt": ["AutoModel"]}}
_HEAD, _ENCODER = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
_PREFIX = "text_encoder."


def save_encoder_weights(encoder: PreTrainedModel, path: Path) -> None:
    """Writes a frozen encoder's weights under the names they have inside the model, for exports to share."""
    state = {f"{_PREFIX}{name}": value.contiguous() for name, value in without_pooler(encoder).state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.temporary")
    try:
        save_file(state, temporary, metadata={"format": "pt"})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def export_model(
    model: EmoMMForEmotionClassification,
    folder: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    encoder_weights: Path | None = None,
) -> Path:
    """Writes a folder from which the three auto classes and `pipeline` load the model, at a stranger's, without this
    package.

    A frozen text encoder is attached here; while training, no file holds it. The folder is written beside its place
    and then renamed, and one that was there is replaced.

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
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        config = _write_weights(model, staging, encoder_weights)
        config.auto_map = dict(_AUTO_MAP)
        config.custom_pipelines = _PIPELINES
        config.save_pretrained(staging)
        _write_code(config, staging)
        _processor(config, tokenizer).save_pretrained(str(staging))
        staging.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _write_weights(model: EmoMMForEmotionClassification, staging: Path, encoder_weights: Path | None) -> EmoMMConfig:
    config: EmoMMConfig = copy.deepcopy(model.config)
    head = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if config.uses_text and config.freeze_text_encoder and not config.holds_text_encoder:
        if encoder_weights is None:
            encoder = load_encoder(config.text_model_name)
            save_encoder_weights(encoder, staging / _ENCODER)
        else:
            _link(encoder_weights, staging / _ENCODER)
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


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _write_index(staging: Path) -> None:
    weight_map, size = {}, 0
    for name in (_HEAD, _ENCODER):
        with safe_open(staging / name, framework="pt") as file:
            weight_map.update(dict.fromkeys(file.keys(), name))
        size += (staging / name).stat().st_size
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (staging / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _write_code(config: EmoMMConfig, staging: Path) -> None:
    """The files that the model is made of, and the user's own fusion with a line that imports it."""
    here = Path(__file__).resolve().parent
    code = {name: (here / name).read_text(encoding="utf-8") for name in CODE}
    if config.fusion_module is not None:
        fusion = get_fusion(config.fusion_type)
        source = Path(inspect.getfile(fusion)).read_text(encoding="utf-8")
        source = re.sub(r"^(\s*)from emomm\.(\w+) import", r"\1from .\2 import", source, flags=re.MULTILINE)
        source = re.sub(r"^(\s*)from emomm import", r"\1from .fusions import", source, flags=re.MULTILINE)
        code[f"{config.fusion_module}.py"] = source
        code["modeling_emomm.py"] += (
            f"\nfrom .{config.fusion_module} import {fusion.__name__}  # noqa: E402, F401 the model's fusion\n"
        )
    # Of two models loaded in one process, transformers runs the second with the first one's code where their
    # configuration files are alike: so that file tells what it travels with.
    digest = hashlib.sha256("".join(code.values()).encode()).hexdigest()
    code["configuration_emomm.py"] += f"\n# All of the code here: {digest}\n"
    for name, source in code.items():
        (staging / name).write_text(source, encoding="utf-8")


def _processor(config: EmoMMConfig, tokenizer: PreTrainedTokenizerBase | None) -> EmoMMProcessor:
    if config.uses_text:  # the model takes no token types, so that `pipeline("text-classification")` gives none
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    allow_missing = config.modality == "both" and get_fusion(config.fusion_type).handles_missing
    processor = EmoMMProcessor(
        tokenizer if config.uses_text else None,
        modality=config.modality,
        feature_dim=config.audio_dim,
        max_length=config.text_max_length,
        allow_missing=allow_missing,
        speech_encoder=config.speech_encoder if config.uses_audio else None,
    )
    processor.auto_map = {"AutoProcessor": _AUTO_MAP["AutoProcessor"]}
    return processor


__all__ = ["export_model", "save_encoder_weights"]
