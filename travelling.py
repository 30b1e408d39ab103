"""The code that goes where a model goes: who writes a model's configuration writes it beside it. Travels itself."""

import copy
import inspect
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from transformers import PreTrainedConfig

from .checksums import note_checksums

if TYPE_CHECKING:  # what a file names like this, transformers copies with it: who has one of the files has them all
    from .modeling_emomm import EmoMMForEmotionClassification  # noqa: F401
    from .pipeline_emomm import EmoMMPipeline  # noqa: F401
    from .processing_emomm import EmoMMProcessor  # noqa: F401

logger = logging.getLogger(__name__)

CODE = (
    "checksums.py",
    "compressed_audio.py",
    "configuration_emomm.py",
    "data_collator.py",
    "fusions.py",
    "losses.py",
    "modeling_emomm.py",
    "pipeline_emomm.py",
    "processing_emomm.py",
    "saliency.py",
    "sample_scale.py",
    "speech_encoders.py",
    "speech_features.py",
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

    The code is that of the running process. Where a fusion of the user's own is not loaded there, `config.json` is
    written without it, and that is said.
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
    declared = "text-classification" if config.modality == "text" else "audio-classification"
    impl = {"impl": "pipeline_emomm.EmoMMPipeline", "pt": ["AutoModel"]}
    return {"multimodal-emotion-recognition": impl, declared: impl}


def _files() -> dict[str, str]:
    here = Path(__file__).resolve().parent
    return {name: (here / name).read_text(encoding="utf-8") for name in CODE}


def _code(config: PreTrainedConfig) -> dict[str, str]:
    """Files and their content: those of `CODE`, and a user's own fusion, which the model's file then imports."""
    code, own = _files(), config.fusion_module
    if own is None:
        return code
    beside = Path(__file__).resolve().parent / f"{own}.py"
    if __name__.startswith("transformers_modules"):  # a copy that has travelled: it names the fusion already
        return {**code, beside.name: beside.read_text(encoding="utf-8")}
    from .fusions import fusion_names
    from .fusions import get_fusion

    if config.fusion_type not in fusion_names():
        logger.warning(
            "config.json is written without the model's code: its fusion %r comes from %s.py, which is not loaded",
            config.fusion_type,
            own,
        )
        return {}
    fusion = get_fusion(config.fusion_type)
    source = Path(inspect.getfile(fusion)).read_text(encoding="utf-8")
    source = re.sub(r"^(\s*)from emomm\.(\w+) import", r"\1from .\2 import", source, flags=re.MULTILINE)
    source = re.sub(r"^(\s*)from emomm import", r"\1from .fusions import", source, flags=re.MULTILINE)
    code["modeling_emomm.py"] += f"\nfrom .{own} import {fusion.__name__}  # noqa: E402, F401 the model's fusion\n"
    return {**code, f"{own}.py": source}


__all__ = ["AUTO_MAP", "CODE", "save_config", "write_missing_code"]
