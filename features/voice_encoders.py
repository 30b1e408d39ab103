"""Finding a speech encoder: on the Hub, in a folder, inside an installed package, or one of random weights."""

import hashlib
import json
import os
from functools import cache
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..hub_access import reach_hub
from ..speech_encoders import SpeechEncoder
from .text_encoders import encoder_location
from .text_states import encoder_fingerprint

SETTING = "speech_model_name"
_RANDOM = "random:"
# oneDNN, torch's convolutions on a CPU, keeps what it has compiled for each shape, 1 024 of them unless it is told
# otherwise before it begins: recordings are of ever other lengths, and training would grow by hundreds of MB.
_KEPT_SHAPES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")


@lru_cache(maxsize=2)
def load_speech_encoder(name: str) -> SpeechEncoder:
    """The encoder, in evaluation mode, in float32 on the CPU: for all who ask, so that it must not be changed.

    Raises InputError where it can't be loaded, or is none that EmoMM can use.
    """
    os.environ.setdefault(*_KEPT_SHAPES)
    try:
        if name.startswith(_RANDOM):
            from .random_encoders import random_encoder

            return SpeechEncoder(*random_encoder(name), name)
        location = encoder_location(name, SETTING)
        if not os.path.isdir(location):
            reach_hub(name)
        return SpeechEncoder.from_pretrained(location, device="cpu")
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{SETTING}={name!r}: {error}") from error


def stated_config(name: str) -> dict[str, Any]:
    """`model_type` and `trained_with_labels` of an encoder that lies here, as its configuration has them, without
    loading it; {} where it lies elsewhere or states nothing."""
    try:
        stated = json.loads((Path(encoder_location(name, SETTING)) / "config.json").read_text(encoding="utf-8"))
    except (InputError, OSError, ValueError):
        return {}
    known = ("model_type", "trained_with_labels")
    return {key: stated[key] for key in known if key in stated} if isinstance(stated, dict) else {}


def speech_fingerprint(name: str) -> str:
    """A hash of the encoder's weights, configuration and feature extractor. Raises InputError where there is none."""
    return _hash_of_random(name) if name.startswith(_RANDOM) else encoder_fingerprint(name, SETTING)


@cache
def _hash_of_random(name: str) -> str:
    return hashlib.sha256(f"{name} {load_speech_encoder(name).features.weights}".encode()).hexdigest()


__all__ = ["SETTING", "load_speech_encoder", "speech_fingerprint", "stated_config"]
