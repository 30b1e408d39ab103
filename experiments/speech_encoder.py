"""The speech encoder of an experiment that reads recordings: whether it can be had, and how it is used."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig
from transformers import PreTrainedModel

from ..encoder_layers import EncoderLayers
from ..errors import InputError
from ..errors import show
from ..exporting import SPEECH_PREFIX
from ..exporting import shared_encoder_weights
from ..features.encoder_states import WhichStates
from ..features.text_encoders import public_name
from ..features.voice_encoders import load_speech_encoder
from ..features.voice_encoders import speech_fingerprint
from ..job_folder import JobFolder
from ..settings.settings import Settings
from ..settings.tuning import EncoderTuning
from ..settings.tuning import augments_waveforms
from ..settings.tuning import speech_tuning
from ..speech_encoders import SpeechEncoder
from ..tuning import Lora
from ..tuning import apply_tuning
from ..tuning import lora_targets
from ..waveforms import SAMPLING_RATE
from .input_forms import VECTORS
from .input_forms import InputForm
from .input_forms import form_of

_WHISPER_SECONDS = 30.0


class RecordingEncoder:
    """The encoder that the settings name.

    Args:
        settings: of an experiment whose model reads recordings.
        job_folder: the exports of its runs share the frozen encoder's weights there.
    """

    def __init__(self, settings: Settings, job_folder: Path):
        self.settings, self.job_folder = settings, job_folder
        self.tuning: EncoderTuning = speech_tuning(settings)
        self.config: PreTrainedConfig | None = None
        self.form = InputForm(VECTORS)

    def find(self, offline_ok: bool, encoders: dict[str, Any]) -> list[str]:
        """Loads it, and checks that the settings fit it.

        Args:
            offline_ok: go on without it where it can't be reached.
            encoders: by name, why others found before can't be had. Added to.

        Returns what could not be checked. Raises InputError where it can't be had, or doesn't fit the settings.
        """
        name = f"speech {self.settings.speech_model_name}"
        if name not in encoders:
            try:
                encoders[name] = (speech_fingerprint(self.settings.speech_model_name), self.speech)[0]
            except InputError as error:
                encoders[name] = error
        if isinstance(encoders[name], InputError):
            if not offline_ok:
                raise encoders[name]
            return [f"not checked: {encoders[name]}"]
        self.config = copy.deepcopy(self.speech.model.config)
        given = self.settings.audio_dim
        if given is not None and given != self.width:
            raise InputError(
                f"audio_dim is {given}, but the states of {self.settings.speech_model_name!r} are {self.width} wide"
            )
        check_layers(self.settings, "speech", self.tuning, self.depth, self.speech.model)
        return []

    # ---- what it is -------------------------------------------------------------------------------------------------

    @property
    def speech(self) -> SpeechEncoder:
        """The encoder and its feature extractor, of which nothing may be changed."""
        return load_speech_encoder(self.settings.speech_model_name)

    @property
    def hash(self) -> str:
        """Hash of its weights, configuration and feature extractor."""
        return speech_fingerprint(self.settings.speech_model_name)

    @property
    def depth(self) -> int:
        """Its layers."""
        return self.speech.features.num_layers

    @property
    def width(self) -> int:
        """Of its states."""
        return self.speech.features.width

    @cached_property
    def description(self) -> dict[str, Any]:
        """As `SpeechFeatures` has it, for configurations and cards."""
        layers = WhichStates.read(self.tuning.layers, self.depth).layers
        return replace(self.speech.features, layers=layers).to_dict()

    @property
    def windowed(self) -> bool:
        """Whether it takes windows of 30 s alone."""
        return self.speech.model.config.model_type == "whisper"

    # ---- how it is used ---------------------------------------------------------------------------------------------

    def choose_form(self, lengths: np.ndarray, trained: np.ndarray, id_of: Callable[[int], str]) -> None:
        """Decides in which form recordings come to the model.

        Args:
            lengths: (n,) samples of each row, 0 where there is none.
            trained: (n,) whether a row may be trained on.
            id_of: a row's utterance id.

        Raises InputError for a recording that is too short for one frame, or too long.
        """
        if self.config is None:
            return
        there = lengths > 0
        if there.any():
            self._check_lengths(lengths, trained, id_of)
        self.form = form_of(
            self.tuning,
            self.depth,
            self.settings.store_frozen_layers,
            self._changes(lengths, trained),
            self.settings.lora_targets is not None,
            "voice",
        )

    def _check_lengths(self, lengths: np.ndarray, trained: np.ndarray, id_of: Callable[[int], str]) -> None:
        settings, name = self.settings, self.settings.speech_model_name
        shortest = int(np.where(lengths > 0, lengths, lengths.max()).argmin())
        if self.speech.frames_of(int(lengths[shortest])) < 1:
            raise InputError(
                f"row {id_of(shortest)!r} has a recording of {lengths[shortest] / SAMPLING_RATE:.3f} s, of which "
                f"{name!r} makes no frame: leave it out"
            )
        for setting in ("max_seconds", "max_eval_seconds"):
            seconds = getattr(settings, setting)
            if seconds is not None and self.speech.frames_of(int(seconds * SAMPLING_RATE)) < 1:
                raise InputError(f"{setting} is {seconds:g}, of which {name!r} makes no frame: give more")
        if not self.windowed or (not self.tuning.tunes and not augments_waveforms(settings)):
            return
        for setting, rows in (("max_seconds", trained), ("max_eval_seconds", np.ones(len(lengths), bool))):
            longest, seconds = int(np.where(rows, lengths, 0).argmax()), getattr(settings, setting)
            if lengths[longest] > _WHISPER_SECONDS * SAMPLING_RATE and (seconds or np.inf) > _WHISPER_SECONDS:
                raise InputError(
                    f"{setting} is {show(seconds)}, but {name!r} takes {_WHISPER_SECONDS:g} s at most, and row "
                    f"{id_of(longest)!r} has {lengths[longest] / SAMPLING_RATE:.1f} s: set it to 30 or less"
                )

    def _changes(self, lengths: np.ndarray, trained: np.ndarray) -> str:
        """Why what goes into the encoder is not the same in each epoch, or is cut into windows; "" otherwise."""
        settings = self.settings
        if augments_waveforms(settings):
            return "recordings are augmented"
        if not self.tuning.tunes:
            return ""
        if settings.spec_augment:
            return f"spec_augment is {settings.spec_augment:g}"
        for setting, rows, how in (
            ("max_seconds", trained, "random windows"),
            ("max_eval_seconds", np.ones(len(lengths), bool), "windows"),
        ):
            seconds = getattr(settings, setting)
            longer = 0 if seconds is None else int((lengths[rows] > round(seconds * SAMPLING_RATE)).sum())
            if longer:
                return f"{longer} recordings are longer than {setting} ({seconds:g} s) and read in {how}"
        return ""

    def tuned(self) -> PreTrainedModel:
        """A copy for one run, of which what the settings say can be trained. LoRA's weights are drawn anew."""
        encoder = copy.deepcopy(self.speech.model)
        tune(encoder, self.settings, self.tuning)
        return encoder

    @cached_property
    def shared_weights(self) -> Path | None:
        """The weights of a frozen one, written once in the job's folder, for all exports to link to."""
        if self.tuning.tunes:
            return None
        return shared_encoder_weights(self.job_folder, self.hash[:16], lambda: self.speech.model, SPEECH_PREFIX)

    def mend_shared_weights(self) -> None:
        """Looks whether what finished runs share is as it was written, and writes it again where it isn't."""
        if not self.tuning.tunes and any(JobFolder(self.job_folder).encoders.glob(f"{self.hash[:16]}-*")):
            _ = self.shared_weights

    def card(self) -> dict[str, Any]:
        """What results.json says of it."""
        name = self.settings.speech_model_name
        return {
            "name": public_name(name),
            "sha256": self.hash,
            "local": Path(name).is_dir() or name.startswith("package:"),
            **tuning_card(self.tuning, self.settings, self.config),
            "features": self.description,
        }


# ---- of both encoders -----------------------------------------------------------------------------------------------


def tune(encoder: PreTrainedModel, settings: Settings, tuning: EncoderTuning) -> None:
    """Decides what of an encoder is trained, in place. Raises ValueError for what it doesn't have."""
    targets = None if settings.lora_targets is None else tuple(settings.lora_targets)
    apply_tuning(
        encoder,
        tuning.how,
        tuning.last,
        Lora(settings.lora_rank, settings.lora_alpha, settings.lora_dropout, targets),
        settings.tune_convolutions and tuning.how == "full",
    )


def check_layers(settings: Settings, of: str, tuning: EncoderTuning, depth: int, encoder: PreTrainedModel) -> None:
    """Raises InputError for layers that an encoder doesn't have, and a tuning that it can't be given.

    Args:
        of: "speech" or "text".
        encoder: not changed.
    """
    name = getattr(settings, f"{of}_model_name")
    beyond = [layer for layer in tuning.layers if not 0 <= layer <= depth] if isinstance(tuning.layers, list) else []
    if beyond:
        raise InputError(f"{of}_layers holds {beyond[0]}, but {name!r} has the layers 0-{depth}")
    if tuning.last is not None and tuning.last > depth:
        raise InputError(f"{of}_tuned_layers is {tuning.last}, but {name!r} has {depth} layers")
    if not tuning.tunes:
        return
    if EncoderLayers.of(encoder) is None and tuning.layer_decay != 1:
        raise InputError(f"{of}_layer_decay is {tuning.layer_decay:g}, but the layers of {name!r} can't be told apart")
    start = 0 if tuning.last is None else depth - tuning.last
    if max(WhichStates.read(tuning.layers, depth).layers) <= start and tuning.how in ("last_k", "lora"):
        raise InputError(
            f"{of}_layers is {show(tuning.layers)}, but the last {depth - start} of {depth} layers are tuned, above "
            "all that is read: read a higher layer, or tune more"
        )
    try:
        with torch.random.fork_rng(devices=[]):
            tune(copy.deepcopy(encoder), settings, tuning)
    except ValueError as error:
        raise InputError(f"{of}_tuning is {tuning.how}: {name!r}: {error}") from error


def tuning_card(tuning: EncoderTuning, settings: Settings, config: PreTrainedConfig | None) -> dict[str, Any]:
    """What results.json says of how an encoder was read and tuned.

    Args:
        config: of the encoder; None where it can't be reached.
    """
    said: dict[str, Any] = {"tuning": tuning.how, "layers": tuning.layers}
    if tuning.tunes:
        said |= {"tuned_layers": tuning.last, "learning_rate": tuning.learning_rate}
        said |= {"layer_decay": tuning.layer_decay}
    if tuning.how == "lora":
        said["lora"] = {name: getattr(settings, f"lora_{name}") for name in ("rank", "alpha", "dropout", "targets")}
        if settings.lora_targets is None and config is not None:
            said["lora"]["targets"] = list(lora_targets(config.model_type))
    if tuning.how == "full":
        said["convolutions"] = settings.tune_convolutions
    return said


__all__ = ["RecordingEncoder", "check_layers", "tune", "tuning_card"]
