"""One utterance, or several, to the inputs of the model. Travels to the Hub with it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import AutoProcessor
from transformers import BatchFeature
from transformers import PreTrainedTokenizerBase
from transformers import ProcessorMixin

from .configuration_emomm import EmoMMConfig
from .data_collator import EmoMMDataCollator

EMPTY_TRANSCRIPT = "[EMPTY]"
"""What stands for a missing or empty transcript."""


def is_missing(transcript: str | None) -> bool:
    """Whether there are no words: None, empty, white space alone, or the placeholder."""
    return transcript is None or transcript.strip() in ("", EMPTY_TRANSCRIPT)


class EmoMMProcessor(ProcessorMixin):
    """Voice features and transcripts to padded, masked tensors.

    Args:
        tokenizer: the text encoder's tokenizer; None for a model that takes voice alone.
        modality (`str`, defaults to `"both"`): `audio`, `text` or `both`, as the model's.
        feature_dim (`int`, defaults to 768): width of the voice features.
        max_length (`int`, defaults to 128): tokens of a transcript; longer ones are cut.
        allow_missing (`bool`, defaults to `False`): whether an utterance may lack voice or words (adaptive fusion).
            If not, missing words are read as `[EMPTY]`, as in training.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        modality: str = "both",
        feature_dim: int = 768,
        max_length: int = 128,
        allow_missing: bool = False,
    ):
        self.tokenizer = tokenizer
        self.modality = modality
        self.feature_dim = feature_dim
        self.max_length = max_length
        self.allow_missing = allow_missing
        self.chat_template = None

    def tokenize(self, transcripts: Sequence[str | None]) -> list[np.ndarray]:
        """Token ids of each transcript: int64 arrays, empty where the words are missing and may be."""
        missing = [is_missing(transcript) for transcript in transcripts]
        texts = [EMPTY_TRANSCRIPT if gone else text for text, gone in zip(transcripts, missing, strict=True)]
        ids = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        return [
            np.zeros(0, np.int64) if gone and self.allow_missing else np.asarray(row, dtype=np.int64)
            for row, gone in zip(ids, missing, strict=True)
        ]

    def __call__(
        self,
        audio_features: np.ndarray | Sequence[np.ndarray | None] | None = None,
        text: str | Sequence[str | None] | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Prepares one utterance or a list of them.

        Args:
            audio_features: (dim,) or (frames, dim) for one utterance, or a list of such arrays, one for each; None in
                the list where an utterance has no voice.
            text: a transcript, or a list of them; None or "" where an utterance has no words.

        Returns the model's inputs (see `EmoMMDataCollator`) as tensors. Raises ValueError for features of another
        width or with NaN, for lists of different length, and where the model's modality is not given at all.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors={return_tensors!r} is not supported; the model takes 'pt' tensors")
        columns: dict[str, list] = {}
        if self.modality != "text" and audio_features is not None:
            single = not isinstance(audio_features, (list, tuple))
            columns["audio_features"] = [
                self._checked(features, i) for i, features in enumerate([audio_features] if single else audio_features)
            ]
        if self.modality != "audio" and text is not None:
            columns["input_ids"] = self.tokenize([text] if isinstance(text, str) else list(text))
        both = {"audio_features", "input_ids"}
        needed = {"audio": {"audio_features"}, "text": {"input_ids"}}.get(self.modality, both)
        absent = needed - columns.keys()
        if absent and not (self.allow_missing and columns):
            names = {"audio_features": "audio_features", "input_ids": "text"}
            raise ValueError(f"this model ({self.modality}) needs {', '.join(sorted(names[name] for name in absent))}")
        sizes = {name: len(column) for name, column in columns.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"voice and words must be of the same number of utterances, got {sizes}")
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        pad = 0 if self.tokenizer is None else self.tokenizer.pad_token_id
        return BatchFeature(EmoMMDataCollator(pad_token_id=pad, allow_missing=self.allow_missing)(rows))

    def _checked(self, features: np.ndarray | None, row: int) -> np.ndarray | None:
        if features is None:
            return None
        features = np.asarray(features, dtype=np.float32)
        if features.ndim not in (1, 2) or features.shape[-1] != self.feature_dim:
            raise ValueError(
                f"utterance {row}: audio_features has shape {features.shape}; this model takes ({self.feature_dim},) "
                f"or (frames, {self.feature_dim})"
            )
        if not np.isfinite(features).all():
            raise ValueError(f"utterance {row}: audio_features holds NaN or infinite values")
        return features

    @property
    def model_input_names(self) -> list[str]:
        """The inputs of the model that this processor makes."""
        audio = ["audio_features", "audio_mask"] if self.modality != "text" else []
        return audio + (["input_ids", "attention_mask"] if self.modality != "audio" else [])

    def save_pretrained(self, save_directory: str, push_to_hub: bool = False, **kwargs) -> list[str]:
        """As in transformers; a processor for voice alone has no tokenizer to save."""
        if self.tokenizer is not None:
            return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        path = str(Path(save_directory) / "processor_config.json")
        self.to_json_file(path)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return [path]

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        if (processor_dict or {}).get("modality") == "audio":
            return [None]
        return super()._get_arguments_from_pretrained(pretrained_model_name_or_path, processor_dict, **kwargs)


if not __name__.startswith("transformers_modules"):
    AutoProcessor.register(EmoMMConfig, EmoMMProcessor, exist_ok=True)

__all__ = ["EMPTY_TRANSCRIPT", "EmoMMProcessor", "is_missing"]
