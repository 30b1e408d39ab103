"""The code that goes where a model goes: who writes a model's configuration writes it beside it. Travels itself."""

import copy
import inspect
import logging
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from transformers import PreTrainedConfig

from .checksums import note_checksums
from .own_files import as_it_travels
from .own_files import own_file

if TYPE_CHECKING:  # what a file names like this, transformers copies with it: who has one of the files has them all
    from .modeling_emomm import EmoMMForEmotionClassification  # noqa: F401
    from .pipeline_emomm import EmoMMPipeline  # noqa: F401
    from .processing_emomm import EmoMMProcessor  # noqa: F401

logger = logging.getLogger(__name__)

CODE = (
    "answers.py",
    "checksums.py",
    "compressed_audio.py",
    "configuration_emomm.py",
    "configuration_emotion2vec.py",
    "data_collator.py",
    "encoder_layers.py",
    "fusions.py",
    "held_encoders.py",
    "losses.py",
    "modalities.py",
    "modeling_emomm.py",
    "modeling_emotion2vec.py",
    "own_files.py",
    "pipeline_emomm.py",
    "processing_emomm.py",
    "saliency.py",
    "sample_scale.py",
    "speech_encoders.py",
    "speech_features.py",
    "speech_layers.py",
    "text_layers.py",
    "transcribing.py",
    "travelling.py",
    "utterances.py",
    "voice_activity.py",
    "waveforms.py",
)
"""The files that a model is made of, and its processor and pipeline."""
AUTO_MAP = {
    "AutoConfig": "configuration_emomm.EmoMMConfig",
    "AutoModel": "modeling_emomm.EmoMMForEmotionClassification",
    "AutoModelForSequenceClassification": "modeling_emomm.EmoMMForEmotionClassification",
    "AutoModelForAudioClassification": "modeling_emomm.EmoMMForEmotionClassification",
    "AutoProcessor": "processing_emomm.EmoMMProcessor",
}
"""The classes in it, by the names that transformers asks for."""


def save_config(config: PreTrainedConfig, folder: str | Path) -> None:
    """Writes `config.json`, as `PreTrainedConfig.save_pretrained` does, and beside it the code that it names.

    The code is that of the running process. Where a file of the user's own (a fusion, modalities) is not loaded there,
    `config.json` is written without any, and that is said.
    """
    described, code = copy.copy(config), _code(config)
    described.auto_map = dict(AUTO_MAP) if code else {}
    described.custom_pipelines = _pipelines(config) if code else {}
    PreTrainedConfig.save_pretrained(described, folder)
    for name, source in code.items():
        (Path(folder) / name).write_text(source, encoding="utf-8")
    note_checksums(folder, ["config.json", *code])


def write_missing_code(folder: str | Path) -> None:
    """Writes the code into a folder of a processor, where it isn't that of a model as well."""
    for name, source in _files().items():
        path = Path(folder) / name
        if not path.exists():
            path.write_text(source, encoding="utf-8")
            note_checksums(folder, [name])


def _pipelines(config: PreTrainedConfig) -> dict[str, Any]:
    """Our own task, and the one that the model's card declares; both by our pipeline."""
    declared = "audio-classification" if config.uses_audio or not config.uses_text else "text-classification"
    impl = {"impl": "pipeline_emomm.EmoMMPipeline", "pt": ["AutoModel"]}
    return {"multimodal-emotion-recognition": impl, declared: impl}


def _files() -> dict[str, str]:
    here = Path(__file__).resolve().parent
    return {name: (here / name).read_text(encoding="utf-8") for name in CODE}


def _code(config: PreTrainedConfig) -> dict[str, str]:
    """Files and their content: those of `CODE`, and the user's own, which a file of the model then imports."""
    code = _files()
    names = [name for name in (config.modality_module, config.fusion_module) if name is not None]
    if __name__.startswith("transformers_modules"):  # a copy that has travelled: it names them already
        beside = [Path(__file__).resolve().parent / f"{name}.py" for name in names]
        return code | {path.name: path.read_text(encoding="utf-8") for path in beside}
    if config.modality_module is not None:
        path = own_file(config.modality_module)
        if path is None:
            return _without(f"its modalities come from {config.modality_module}.py")
        code[f"{config.modality_module}.py"] = as_it_travels(path.read_text(encoding="utf-8"))
        # By the file that all others import; of the module, a name that every one has.
        code["configuration_emomm.py"] += (
            f"\nfrom .{config.modality_module} import __name__ as own_modalities  # noqa: E402, F401\n"
        )
    if config.fusion_module is not None:
        from .fusions import fusion_names
        from .fusions import get_fusion

        if config.fusion_type not in fusion_names():
            return _without(f"its fusion {config.fusion_type!r} comes from {config.fusion_module}.py")
        fusion = get_fusion(config.fusion_type)
        source = Path(inspect.getfile(fusion)).read_text(encoding="utf-8")
        code[f"{config.fusion_module}.py"] = as_it_travels(source)
        imported = f"from .{config.fusion_module} import {fusion.__name__}"
        code["modeling_emomm.py"] += f"\n{imported}  # noqa: E402, F401 the model's fusion\n"
    return code


def _without(what: str) -> dict[str, str]:
    logger.warning("config.json is written without the model's code: %s, which is not loaded", what)
    return {}


__all__ = ["AUTO_MAP", "CODE", "save_config", "write_missing_code"]
