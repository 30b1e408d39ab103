"""One utterance, or several, to the inputs of the model. Travels to the Hub with it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoProcessor
from transformers import BatchFeature
from transformers import PreTrainedTokenizerBase
from transformers import ProcessorMixin

from .checksums import WORDS
from .checksums import files_like
from .checksums import note_checksums
from .checksums import refuse_changed_processor
from .configuration_emomm import EmoMMConfig
from .data_collator import EmoMMDataCollator
from .modalities import EMPTY_TRANSCRIPT
from .modalities import Modality
from .modalities import beginning
from .modalities import get_modality
from .modalities import is_missing
from .modalities import modalities_in
from .modalities import names_in
from .modalities import words_in
from .speech_encoders import HeldSpeechEncoder
from .speech_encoders import SpeechEncoder
from .speech_features import SpeechFeatures
from .speech_features import WrongEncoder
from .travelling import AUTO_MAP
from .travelling import write_missing_code
from .waveforms import read_waveform


class _InMemory(dict):
    """What stays with an object in this process: its copies and pickles come without."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_InMemory":
        return _InMemory()

    def __reduce__(self) -> tuple[type, tuple]:
        return _InMemory, ()


class EmoMMProcessor(ProcessorMixin):
    """Recordings or voice features, transcripts, and vectors of further modalities, to padded, masked tensors.

    Args:
        tokenizer: the text encoder's tokenizer; None for a model that takes voice alone.
        modality (`str` or `list[str]`, defaults to `"both"`): as the model's.
        feature_dim (`int`, defaults to 768): width of the voice features.
        max_length (`int`, defaults to 128): tokens of a transcript; longer ones are cut.
        allow_missing (`bool`, defaults to `False`): whether an utterance may lack voice or words (adaptive fusion).
            If not, missing words are read as `[EMPTY]`, as in training.
        speech_encoder (`dict`, *optional*): what made the voice features, as `SpeechFeatures.to_dict` gives it. With
            it the processor takes recordings; the encoder is loaded when it is first needed, and never saved.
        feature_dims (`dict[str, int]`, *optional*): width of the vectors of each modality of the user's own.
        feature_extractor (*optional*): the speech encoder's own, of a model that holds that encoder: recordings become
            `input_values` or `input_features`, as it takes them.

    Raises:
        ValueError: a `speech_encoder` that does not describe one, or whose features are not `feature_dim` wide; a
            tokenizer without any words, as transformers makes it where `tokenizer.json` is missing.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        modality: str | list[str] = "both",
        feature_dim: int = 768,
        max_length: int = 128,
        allow_missing: bool = False,
        speech_encoder: dict[str, Any] | None = None,
        feature_dims: dict[str, int] | None = None,
        feature_extractor: Any = None,
    ):
        if tokenizer is not None and len(tokenizer) <= len(set(tokenizer.all_special_ids)):
            raise ValueError(
                f"the tokenizer knows no words, only its {len(tokenizer)} special tokens: is tokenizer.json missing?"
            )
        self.tokenizer = tokenizer
        self.modality = modality
        self.feature_dim = feature_dim
        self.max_length = max_length
        self.allow_missing = allow_missing
        self.speech_encoder = speech_encoder
        self.feature_dims = feature_dims
        if isinstance(feature_extractor, dict):  # as it is saved
            kind = feature_extractor.get("feature_extractor_type", "")
            feature_extractor = getattr(transformers, kind)(**feature_extractor)
        self.feature_extractor = feature_extractor
        self.chat_template = None
        self._loaded = _InMemory()
        made_by = self.speech_features
        own = feature_extractor is None  # a model that holds its encoder may take all layers' states
        if made_by is not None and self.hears and own and made_by.width != feature_dim:
            raise ValueError(
                f"the speech encoder {made_by.encoder} gives features {made_by.width} wide, and feature_dim is "
                f"{feature_dim}"
            )

    @property
    def modalities(self) -> list[Modality]:
        """What the model takes, in its order."""
        return modalities_in(self.modality)

    @property
    def hears(self) -> bool:
        """Whether the model listens to the voice."""
        return "audio" in names_in(self.modality)

    @property
    def reads(self) -> bool:
        """Whether the model reads the words."""
        return "text" in names_in(self.modality)

    def to_dict(self) -> dict[str, Any]:
        """As in transformers; widths of a user's own modalities, and a feature extractor, are there where they are."""
        found = super().to_dict()
        optional = ("feature_dims", "feature_extractor")
        return {key: value for key, value in found.items() if key not in optional or value is not None}

    @classmethod
    def get_attributes(cls) -> list[str]:
        """What has files of its own: the tokenizer. The feature extractor is written among the rest."""
        return ["tokenizer"]

    def use_held_encoder(self, model: Any) -> None:
        """Recordings go through the speech encoder that the model holds, where it holds one."""
        if self.feature_extractor is not None and getattr(model, "speech_encoder", None) is not None:
            self._loaded.update(encoder=HeldSpeechEncoder(model, self.feature_extractor), name=None)

    @property
    def speech_features(self) -> SpeechFeatures | None:
        """What made the voice features that the model was trained on; None where it is not known."""
        return None if self.speech_encoder is None else SpeechFeatures.from_dict(self.speech_encoder)

    def load_speech_encoder(
        self,
        name: str | None = None,
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
    ) -> SpeechEncoder:
        """The encoder that made the model's features: loaded once, and what reads the recordings from then on.

        Args:
            name: a folder, or an id on the Hub, to take it from; it is checked to be the same encoder. Default: the
                one that is loaded already, else the one described.
            device: default a GPU where there is one.
            trust_remote_code: run the code that the encoder's repository brings.

        Raises:
            WrongEncoder: `name` is another encoder.
            ValueError: it can't be loaded, or what made the features is not known.
        """
        made_by = self.speech_features
        if self.feature_extractor is not None:
            if name is not None:
                raise WrongEncoder(f"this model holds its speech encoder, which no other can stand for, as {name}")
            if "encoder" not in self._loaded:
                raise ValueError("this model holds its speech encoder: call processor.use_held_encoder(model) first")
            return self._loaded["encoder"]
        if made_by is None:
            raise ValueError(
                "this model does not say what made its voice features, so it takes no recordings: give "
                "audio_features from the encoder that made those of its training data "
                "(emomm.speech_encoders.SpeechEncoder runs one), or train it on a corpus that names its speech_encoder"
            )
        if "encoder" not in self._loaded or name not in (None, self._loaded["name"]):
            encoder = SpeechEncoder.for_features(made_by, name, device, trust_remote_code)
            self._loaded.update(encoder=encoder, name=name)
        encoder = self._loaded["encoder"]
        if device is not None:
            encoder.model.to(device)
        return encoder

    def tokenize(self, transcripts: Sequence[str | None]) -> list[np.ndarray]:
        """Token ids of each transcript: int64 arrays, empty where the words are missing and may be."""
        missing = [is_missing(transcript) for transcript in transcripts]
        texts = [EMPTY_TRANSCRIPT if gone else text for text, gone in zip(transcripts, missing, strict=True)]
        texts = [beginning(text, self.max_length) for text in texts]
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
        audio: Any = None,
        sampling_rate: int | None = None,
        **further: np.ndarray | Sequence[np.ndarray | None] | None,
    ) -> BatchFeature:
        """Prepares one utterance or a list of them.

        Args:
            audio: a recording, or a list of them: whatever `waveforms.read_waveform` takes (path, URL, bytes, array,
                dictionary, `Waveform`); None in the list where an utterance has none, or has features.
            audio_features: (dim,) or (frames, dim) for one utterance, or a list of such arrays, one for each; None in
                the list where an utterance has no voice.
            text: a transcript, or a list of them; None or "" where an utterance has no words.
            sampling_rate: of recordings that are given as arrays, in Hz.
            further: `NAME_features` of each modality of the user's own, as `audio_features`.

        Returns the model's inputs (see `EmoMMDataCollator`) as tensors. Raises ValueError for features of another
        width or with NaN, for lists of different length, where the model's modality is not given at all, for a
        recording that can't be used (`AudioError`), and where no encoder for it is known.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors={return_tensors!r} is not supported; the model takes 'pt' tensors")
        unknown = sorted(further.keys() - {modality.features for modality in self.modalities})
        if unknown:
            raise TypeError(f"this model ({self._called}) takes no {unknown[0]}")
        columns: dict[str, list] = {}
        if self.hears and audio is not None and self.feature_extractor is not None:
            if audio_features is not None:
                raise ValueError("both recordings and audio_features are given; a batch takes one of them")
            columns["input_values"] = self._samples(audio, sampling_rate)
        elif self.hears and audio is not None:
            audio_features = self._voice_features(audio, audio_features, sampling_rate)
        given: dict[str, Any] = {"audio_features": audio_features, "text": text, **further}
        for modality in self.modalities:
            values = given.get(modality.name if modality.tokens else modality.features)
            if values is None:
                continue
            if modality.tokens:
                columns[modality.tokens[0]] = self.tokenize([values] if isinstance(values, str) else list(values))
            else:
                several = values if isinstance(values, (list, tuple)) else [values]
                columns[modality.features] = [self._checked(each, i, modality.name) for i, each in enumerate(several)]
        absent = [each for each in self.modalities if not columns.keys() & {*each.taken}]
        if absent and not (self.allow_missing and columns):
            names = sorted(modality.name if modality.tokens else modality.features for modality in absent)
            raise ValueError(f"this model ({self._called}) needs {', '.join(names)}")
        sizes = {name: len(column) for name, column in columns.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"{words_in(self.modalities)} must be of the same number of utterances, got {sizes}")
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        pad = 0 if self.tokenizer is None else self.tokenizer.pad_token_id
        return BatchFeature(EmoMMDataCollator(pad, self.allow_missing, self.feature_extractor)(rows))

    def _samples(self, audio: Any, sampling_rate: int | None) -> list[np.ndarray | None]:
        """The samples of every utterance; None where it has no recording."""
        recordings = list(audio) if isinstance(audio, (list, tuple)) else [audio]
        rate = self.feature_extractor.sampling_rate
        return [
            None if recording is None else read_waveform(recording, rate, sampling_rate).samples
            for recording in recordings
        ]

    def _voice_features(self, audio: Any, audio_features: Any, sampling_rate: int | None) -> list[np.ndarray | None]:
        """The features of every utterance: those given, and those of the recordings."""
        recordings = list(audio) if isinstance(audio, (list, tuple)) else [audio]
        if audio_features is None:
            features = [None] * len(recordings)
        else:
            features = list(audio_features) if isinstance(audio_features, (list, tuple)) else [audio_features]
        if len(features) != len(recordings):
            raise ValueError(f"{len(recordings)} recordings are given, and the features of {len(features)} utterances")
        heard = [row for row, recording in enumerate(recordings) if recording is not None]
        twice = [row for row in heard if features[row] is not None]
        if twice:
            raise ValueError(f"utterance {twice[0]}: both a recording and features are given")
        if heard:
            encoder = self.load_speech_encoder()
            rate = encoder.features.sampling_rate
            samples = [read_waveform(recordings[row], rate, sampling_rate).samples for row in heard]
            for row, made in zip(heard, encoder(samples), strict=True):
                features[row] = made
        return features

    @property
    def _called(self) -> str:
        """Its modalities, as a recipe has them."""
        return self.modality if isinstance(self.modality, str) else ", ".join(self.modality)

    def _checked(self, features: np.ndarray | None, row: int, modality: str) -> np.ndarray | None:
        try:
            return None if features is None else self.checked(features, modality)
        except ValueError as error:
            raise ValueError(f"utterance {row}: {error}") from error

    def checked(self, features: np.ndarray, modality: str = "audio") -> np.ndarray:
        """The features of an utterance, float32. Raises ValueError for another width, NaN and infinite values."""
        features = np.asarray(features, dtype=np.float32)
        named, dim = get_modality(modality), (self.feature_dims or {}).get(modality, self.feature_dim)
        if features.ndim not in (1, 2) or features.shape[-1] != dim:
            raise ValueError(
                f"{named.features} has shape {features.shape}; this model takes ({dim},) or ({named.unit}, {dim})"
            )
        if not np.isfinite(features).all():
            raise ValueError(f"{named.features} holds NaN or infinite values")
        return features

    @property
    def model_input_names(self) -> list[str]:
        """The inputs of the model that this processor makes."""
        names = [name for each in self.modalities for name in each.tokens or (each.features, each.mask)]
        if self.feature_extractor is not None and self.hears:
            names += [self.feature_extractor.model_input_names[0], "speech_attention_mask"]
        return names

    def save_pretrained(self, save_directory: str, push_to_hub: bool = False, **kwargs) -> list[str]:
        """As in transformers, with the code that `processor_config.json` names, where the folder has none; a processor
        for voice alone has no tokenizer to save."""
        self.auto_map = {"AutoProcessor": AUTO_MAP["AutoProcessor"]}
        path = Path(save_directory) / "processor_config.json"
        if self.tokenizer is not None:
            super().save_pretrained(save_directory, **kwargs)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.to_json_file(str(path))
        write_missing_code(path.parent)
        note_checksums(path.parent, [path.name, *files_like(path.parent, WORDS)])
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", path.parent.name), **kwargs)
        return [str(path)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> "EmoMMProcessor":
        """As in transformers. Raises `ChangedFiles` for a folder whose files are not those that were written there."""
        refuse_changed_processor(pretrained_model_name_or_path, kwargs)
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        if "text" not in names_in((processor_dict or {}).get("modality", "both")):
            return [None]
        return super()._get_arguments_from_pretrained(pretrained_model_name_or_path, processor_dict, **kwargs)


if not __name__.startswith("transformers_modules"):
    AutoProcessor.register(EmoMMConfig, EmoMMProcessor, exist_ok=True)

__all__ = ["EMPTY_TRANSCRIPT", "EmoMMProcessor"]
