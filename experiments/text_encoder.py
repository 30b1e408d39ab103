"""The text encoder of an experiment: whether it can be had, its tokenizer, and its weights for the exports."""

import copy
from functools import cached_property
from pathlib import Path

import torch
from transformers import AutoModel
from transformers import PreTrainedConfig
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase

from ..configuration_emomm import depth_of
from ..errors import InputError
from ..exporting import shared_encoder_weights
from ..features.encoder_states import WhichStates
from ..features.text_encoders import check_max_length
from ..features.text_encoders import load_encoder
from ..features.text_encoders import load_encoder_config
from ..features.text_encoders import load_tokenizer
from ..features.text_states import encoder_fingerprint
from ..held_encoders import without_pooler
from ..job_folder import JobFolder
from ..settings.settings import Settings
from ..settings.tuning import EncoderTuning
from ..settings.tuning import text_tuning
from .input_forms import INPUTS
from .input_forms import VECTORS
from .input_forms import InputForm
from .input_forms import form_of
from .speech_encoder import check_layers
from .speech_encoder import tune

Encoders = dict[str, PreTrainedConfig | InputError]


def _encoder_config(name: str) -> PreTrainedConfig | InputError:
    try:
        config = load_encoder_config(name)
        load_tokenizer(name)
        encoder_fingerprint(name)
    except InputError as error:
        return error
    return config


class TextEncoder:
    """The encoder that the settings name.

    Args:
        settings: of an experiment whose model reads words.
        job_folder: the exports of its runs share the frozen encoder's weights there.
    """

    def __init__(self, settings: Settings, job_folder: Path):
        self.settings, self.job_folder = settings, job_folder
        self.tuning: EncoderTuning = text_tuning(settings)
        self.config: PreTrainedConfig | None = None
        self.form = InputForm(INPUTS if self.tuning.tunes else VECTORS)

    def find(self, offline_ok: bool, encoders: Encoders) -> list[str]:
        """Sets its configuration; that its tokenizer and weights are there too is checked.

        Args:
            offline_ok: go on without it where it can't be reached.
            encoders: by name, the configurations found before, or why there is none. Added to.

        Returns what could not be checked. Raises InputError where it can't be had, or doesn't fit the settings.
        """
        name = self.settings.text_model_name
        if name not in encoders:
            encoders[name] = _encoder_config(name)
        found = encoders[name]
        if isinstance(found, InputError):
            if not offline_ok:
                raise found
            return [f"not checked: {found}"]
        self.config = copy.deepcopy(found)
        check_max_length(name, found, self.settings.text_max_length)
        special = self.tokenizer.num_special_tokens_to_add()
        if self.settings.text_max_length <= special:
            raise InputError(
                f"text_max_length={self.settings.text_max_length} leaves no room for words: the encoder {name!r} "
                f"adds {special} special tokens, so it must be at least {special + 1}"
            )
        self._choose_form()
        return []

    def _choose_form(self) -> None:
        """Decides in which form words come to the model. Raises InputError where the settings don't fit."""
        settings, tuning = self.settings, self.tuning
        if not tuning.tunes and not isinstance(tuning.layers, list):
            return
        with torch.device("meta"):
            encoder = AutoModel.from_config(self.config)
        depth = depth_of(self.config)
        check_layers(settings, "text", tuning, depth, encoder)
        own = settings.lora_targets is not None
        self.form = form_of(tuning, depth, settings.store_frozen_layers, "", own, "words")

    @property
    def depth(self) -> int:
        """Its layers."""
        return depth_of(self.config)

    def states(self, uses_sequences: bool) -> WhichStates | None:
        """What the model is given of a frozen one, stored; None, the states of the last layer of all tokens."""
        if self.tuning.layers == "last":
            return None
        return WhichStates.read(self.tuning.layers, self.depth, "" if uses_sequences else self.settings.text_pooling)

    def tuned(self) -> PreTrainedModel:
        """Loads it for one run; what the settings say of it can be trained. LoRA's weights are drawn anew."""
        encoder = without_pooler(load_encoder(self.settings.text_model_name))
        tune(encoder, self.settings, self.tuning)
        return encoder

    @property
    def hash(self) -> str:
        """Hash of its weights, configuration and tokenizer."""
        return encoder_fingerprint(self.settings.text_model_name)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        return load_tokenizer(self.settings.text_model_name)

    @cached_property
    def shared_weights(self) -> Path | None:
        """The weights of a frozen one, written once in the job's folder, for all exports to link to."""
        if not self.settings.freeze_text_encoder:
            return None
        name = self.settings.text_model_name
        return shared_encoder_weights(self.job_folder, self.hash[:16], lambda: load_encoder(name))

    def mend_shared_weights(self) -> None:
        """Looks whether what finished runs share is as it was written, and writes it again where it isn't."""
        if self.settings.freeze_text_encoder and any(JobFolder(self.job_folder).encoders.glob(f"{self.hash[:16]}-*")):
            _ = self.shared_weights


__all__ = ["Encoders", "TextEncoder"]
