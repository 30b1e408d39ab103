"""EmoMM: multimodal emotion recognition (voice and words), native to the Hugging Face Trainer.

Importing the package imports nothing else: each public name loads its module when it is first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "configuration_emomm": ("EmoMMConfig",),
    "modeling_emomm": ("EmoMMForEmotionClassification", "EmoMMOutput"),
    "processing_emomm": ("EmoMMProcessor",),
    "pipeline_emomm": ("EmoMMPipeline",),
    "data_collator": ("EmoMMDataCollator",),
    "configuration_emotion2vec": ("Emotion2VecConfig",),
    "modeling_emotion2vec": ("Emotion2VecForEmotionClassification", "Emotion2VecModel"),
    "speech_encoders": ("SpeechEncoder",),
    "speech_features": ("SpeechFeatures",),
    "waveforms": ("read_waveform",),
    "fusions": ("Fusion", "register_fusion"),
    "modalities": ("Modality", "register_modality"),
    "curriculum_trainer": ("CurriculumTrainer", "CurriculumTrainingArguments"),
    "curriculum.curricula": ("EpochRows", "register_curriculum"),
    "curriculum.pool": ("Curriculum",),
    "curriculum.sampling": ("CurriculumSampler",),
    "corpora.loading": ("load_corpus",),
    "corpora.spec": ("CorpusSpec",),
    "evaluation.emotion_metric": ("EmotionMetric",),
    "evaluation.protocols": ("ProtocolRows", "Split", "register_protocol"),
    "errors": ("InputError",),
    "settings.settings": ("Settings",),
    "settings.recipe": ("load_recipe",),
    "exporting": ("export_model",),
    "features.text_states": ("TextStateStore",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
