"""How the encoders of an experiment learn: what their settings come to, which don't go together, which have no effect.

The encoder of the voice is there where `voice_input` is `recording`; that of the words, wherever words are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import fields
from typing import TYPE_CHECKING

from ..errors import InputError
from ..errors import show

if TYPE_CHECKING:
    from .settings import Settings

VOICE_INPUTS = ("features", "recording")
TUNINGS = ("frozen", "full", "last_k", "lora")
LAYERS = ("last", "mean", "weighted")
LAST_LAYERS = 4
"""That `last_k` tunes where nothing says how many."""
_RATES = {"full": 2e-5, "last_k": 2e-5, "lora": 2e-4}
_LORA = ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets")
_WAVEFORM_AUGMENTATION = (
    "augment_noise_snr", "augment_noise", "augment_gain_db", "augment_speed", "augment_room", "augment_band",
    "augment_share",
)  # fmt: skip
_RANGES = ("augment_noise_snr", "augment_gain_db", "augment_speed", "augment_band")
_OF_SPEECH = (
    "speech_model_name", "speech_tuning", "speech_tuned_layers", "speech_layers", "speech_learning_rate",
    "speech_layer_decay", "max_seconds", "max_eval_seconds", "recording_dtype", "spec_augment",
    *_WAVEFORM_AUGMENTATION,
)  # fmt: skip
_OF_TEXT = ("text_tuning", "text_tuned_layers", "text_layers", "text_layer_decay")


@dataclass(frozen=True)
class EncoderTuning:
    """How one encoder is read and tuned.

    Args:
        how: one of `TUNINGS`.
        last: of so many of its last layers; None of all. What `full` and `frozen` don't ask for.
        layers: which layers' states are read: one of `LAYERS`, or numbers, whose mean is read. 0 is what enters the
            first layer.
        learning_rate: of what is tuned of it.
        layer_decay: the learning rate falls by this factor from each layer to the one below.
    """

    how: str
    last: int | None
    layers: str | list[int]
    learning_rate: float
    layer_decay: float

    @property
    def tunes(self) -> bool:
        """Whether anything of the encoder changes."""
        return self.how != "frozen"


def speech_tuning(settings: "Settings") -> EncoderTuning | None:
    """That of the voice's encoder; None where there is none."""
    if "audio" not in settings.modalities or settings.voice_input != "recording":
        return None
    return _tuning(settings, "speech", settings.speech_tuning)


def text_tuning(settings: "Settings") -> EncoderTuning | None:
    """That of the words' encoder; None where no words are read."""
    return _tuning(settings, "text", settled_text_tuning(settings)) if "text" in settings.modalities else None


def _tuning(settings: "Settings", of: str, how: str) -> EncoderTuning:
    last = getattr(settings, f"{of}_tuned_layers")
    if how == "last_k":
        last = last or LAST_LAYERS
    given = getattr(settings, f"{of}_learning_rate")
    return EncoderTuning(
        how,
        last if how in ("last_k", "lora") else None,
        getattr(settings, f"{of}_layers"),
        given or _RATES.get(how, _RATES["full"]),
        getattr(settings, f"{of}_layer_decay"),
    )


def tunings(settings: "Settings") -> dict[str, EncoderTuning]:
    """Those of the encoders that there are, by the name of their modality."""
    found = {"audio": speech_tuning(settings), "text": text_tuning(settings)}
    return {name: tuning for name, tuning in found.items() if tuning is not None}


def augments_waveforms(settings: "Settings") -> bool:
    """Whether recordings are changed in training."""
    asked = ("augment_noise_snr", "augment_gain_db", "augment_speed", "augment_room", "augment_band")
    return settings.augment_share > 0 and any(getattr(settings, name) is not None for name in asked)


# ---- checks ---------------------------------------------------------------------------------------------------------


def check_encoders(settings: "Settings") -> None:
    """The part of `consistency.check_consistent` about the encoders.

    Raises:
        InputError: naming the settings, their values and what would go together.
    """
    found = tunings(settings)
    if "audio" in settings.modalities and settings.voice_input == "features" and settings.speech_tuning != "frozen":
        raise InputError(
            f"speech_tuning is {show(settings.speech_tuning)}, but voice_input is features, whose encoder is not "
            "there to be tuned: set voice_input to recording, or speech_tuning to frozen."
        )
    for of in ("speech", "text"):
        layers = getattr(settings, f"{of}_layers")
        if isinstance(layers, list) and (not layers or len(set(layers)) < len(layers)):
            raise InputError(f"{of}_layers is {show(layers)}, but must hold one layer or more, each once.")
    tuned = {name: tuning.how for name, tuning in found.items() if tuning.tunes}
    if settings.tune_convolutions and tuned and "full" not in tuned.values():
        raise InputError(
            f"tune_convolutions is true, but no encoder is tuned as a whole ({_listed(tuned)}): set it to false, or "
            "speech_tuning to full."
        )
    checkpointing = ("activation_checkpointing", "gradient_checkpointing")  # the second is its name of before
    for name in (*checkpointing, *(f"{each}_kwargs" for each in checkpointing)):
        if settings.training_arguments.get(name) and not tuned:
            raise InputError(
                f"{name} is {show(settings.training_arguments[name])}, but no encoder is tuned, and the rest is "
                "small: leave it out, or set speech_tuning or text_tuning."
            )
    for name in _RANGES:
        given = getattr(settings, name)
        if given is not None and (len(given) != 2 or given[0] > given[1]):
            raise InputError(f"{name} is {show(given)}, but must be two numbers, the lowest and the highest.")
    if settings.augment_speed is not None and settings.augment_speed[0] <= 0:
        raise InputError(f"augment_speed is {show(settings.augment_speed)}, but a speed is above 0, 1 being as it is.")
    if settings.augment_band is not None and settings.augment_band[0] < 0:
        raise InputError(f"augment_band is {show(settings.augment_band)}, but frequencies, in Hz, are at least 0.")


def settled_text_tuning(settings: "Settings") -> str:
    """How the words' encoder is tuned, by `text_tuning`, else by `freeze_text_encoder`.

    Raises:
        InputError: where they contradict each other.
    """
    if settings.text_tuning is None:
        return "frozen" if settings.freeze_text_encoder else "full"
    if settings.text_tuning == "frozen" and not settings.freeze_text_encoder:
        raise InputError("text_tuning is frozen, but freeze_text_encoder is false: give one of them.")
    return settings.text_tuning


def _listed(tuned: dict[str, str]) -> str:
    names = {"audio": "speech_tuning", "text": "text_tuning"}
    return ", ".join(f"{names[name]} is {how}" for name, how in tuned.items())


# ---- what has no effect ---------------------------------------------------------------------------------------------


def without_effect(settings: "Settings") -> dict[str, str]:
    """The settings of encoders that change nothing of an experiment, each with the reason, in words.

    Those are no part of its identity, and those that were given are noted.
    """
    return {name: reason for names, reason in _without_effect(settings) for name in names}


def encoder_notes(settings: "Settings") -> list[str]:
    """What there is to say of settings of encoders that were given and have no effect."""
    defaults = {field.name: field for field in fields(settings)}
    reasons: dict[str, list[str]] = {}
    for name, reason in without_effect(settings).items():
        given = getattr(settings, name)
        if reason and given != defaults[name].default:
            reasons.setdefault(reason, []).append(f"{name} ({show(given)})")
    return [
        f"experiment {settings.name!r}: {reason}: {', '.join(names)} changes nothing"
        for reason, names in reasons.items()
    ]


def _without_effect(settings: "Settings") -> Iterator[tuple[tuple[str, ...], str]]:
    speech, text = speech_tuning(settings), text_tuning(settings)
    found = [tuning for tuning in (speech, text) if tuning is not None]
    tuned = [tuning for tuning in found if tuning.tunes]
    if not tuned:
        yield ("tune_convolutions", "layer_drop", "store_frozen_layers"), "no encoder is tuned"
    if not any(tuning.how == "lora" for tuning in found):
        yield _LORA, "no encoder is tuned by LoRA"
    yield from _without_voice(settings, speech)
    if text is None:
        yield _OF_TEXT, "no words are read"
    else:
        if text.how in ("frozen", "full"):
            yield ("text_tuning",), ""  # freeze_text_encoder says it
            yield ("text_tuned_layers",), f"text_tuning is {text.how}"
        if not text.tunes:
            yield ("text_layer_decay",), "text_tuning is frozen"
        if text.layers == "last":
            yield ("text_layers",), ""


def _without_voice(settings: "Settings", speech: EncoderTuning | None) -> Iterator[tuple[tuple[str, ...], str]]:
    if "audio" not in settings.modalities:
        yield ("voice_input", "augment_time_mask", "augment_mixup"), "no voice is heard"
    # As it was before there were recordings: what was finished then is the same.
    yield tuple(name for name in ("augment_time_mask", "augment_mixup") if not getattr(settings, name)), ""
    if settings.voice_input == "features":
        yield ("voice_input",), ""
    if speech is None:
        yield _OF_SPEECH, "no voice is heard" if "audio" not in settings.modalities else "voice_input is features"
        return
    if speech.how in ("frozen", "full"):
        yield ("speech_tuned_layers",), f"speech_tuning is {speech.how}"
    if not speech.tunes:
        yield ("speech_learning_rate", "speech_layer_decay", "spec_augment"), "speech_tuning is frozen"
    if settings.augment_noise_snr is None:
        yield ("augment_noise",), "augment_noise_snr is null"
    if not augments_waveforms(settings):
        yield _WAVEFORM_AUGMENTATION, "no augmentation of recordings is asked for"
        if not speech.tunes:
            yield ("max_seconds", "recording_dtype"), "the states of whole recordings are stored"


__all__ = [
    "LAYERS", "TUNINGS", "VOICE_INPUTS", "EncoderTuning", "augments_waveforms", "check_encoders", "encoder_notes",
    "settled_text_tuning", "speech_tuning", "text_tuning", "tunings", "without_effect",
]  # fmt: skip
