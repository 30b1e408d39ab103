"""Published emotion2vec checkpoints, read without running anything that is in them."""

import logging
import pickle
import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint
from torch.serialization import safe_globals

from ..errors import InputError

logger = logging.getLogger(__name__)

AUDIO = "modality_encoders.AUDIO."
ANCHOR = f"{AUDIO}extra_tokens"
# What pre-training alone uses: the decoder, the slowly moving copy that teaches, and their like.
_LEFTOVERS = re.compile(
    rf"({re.escape(AUDIO)}decoder|shared_decoder|decoder|recon_proj|regression_head|cls_proj|mask_emb"
    r"|_?ema|ema_model|center|num_updates)(\.|$)"
)
# Of these families, what checkpoints hold besides tensors: settings and the state of the training. None of it is
# imported or run: stand-ins take its place.
_FAMILIES = re.compile(
    r"(omegaconf|fairseq|examples|argparse|typing|enum|numpy)\..+|collections\.defaultdict"
    r"|pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path"
    r"|builtins\.(dict|list|tuple|int|float|str|bool|object)"
)


@dataclass
class Checkpoint:
    """A checkpoint as read.

    Args:
        weights: tensors by their published names, without a prefix.
        settings: of the model, flat, as far as the checkpoint or a file beside it tells them.
        labels: of the head, where a file beside it tells them.
        dropped: names of the leftovers of pre-training.
    """

    weights: dict[str, Tensor]
    settings: dict[str, Any]
    labels: list[str] | None
    dropped: list[str]


class _StandIn:
    """In place of an object that a checkpoint holds besides tensors: keeps its state, and does nothing."""

    def __init__(self, *values: Any):
        self.values = values

    def __setstate__(self, state: Any):
        self.state = state


def _dictionary(*_: Any) -> dict[Any, Any]:
    """In place of dictionaries that call something for what they lack."""
    return {}


def read_checkpoint(path: Path, settings_path: Path | None) -> Checkpoint:
    content = _load(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; an emotion2vec checkpoint holds weights by name")
    state = content
    for key in ("state_dict", "model_state_dict", "model"):  # as FunASR unwraps them
        if isinstance(state.get(key), dict):
            state = state[key]
    anchors = [
        name
        for name in state
        if isinstance(name, str) and name.endswith(ANCHOR) and not _LEFTOVERS.match(name)  # as a teacher's flat copy
    ]
    if len(anchors) != 1:
        raise InputError(
            f"{path} is no emotion2vec checkpoint: it has {len(anchors)} weights named ...{ANCHOR}, and must have one"
        )
    prefix = anchors[0].removesuffix(ANCHOR)
    weights, dropped = {}, []
    for name, value in state.items():
        short = str(name).removeprefix(prefix)
        if _LEFTOVERS.match(short):
            dropped.append(short)
        elif not isinstance(value, Tensor):
            raise InputError(f"{path}: {name} is a {type(value).__name__}, and must be a tensor")
        else:
            weights[short] = value
    described = _settings_in(content)
    if settings_path is None and (path.parent / "config.yaml").is_file():
        settings_path = path.parent / "config.yaml"
    if settings_path is not None:
        described |= _flat(_parsed(settings_path))
    tokens = path.parent / "tokens.txt"
    return Checkpoint(weights, described, _labels_in(tokens) if tokens.is_file() else None, dropped)


def _load(path: Path) -> Any:
    """The content of a torch file, of which nothing is run."""
    if path.is_dir():
        inside = ", ".join(sorted(file.name for file in path.glob("*.pt"))) or "there is no .pt file in it"
        raise InputError(f"{path} is a folder; give the checkpoint in it ({inside})")
    if not path.is_file():
        raise InputError(f"the checkpoint {path} is not there")
    try:
        named = get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, EOFError, AssertionError, pickle.UnpicklingError):
        named = []  # an old or broken file, which torch reads without stand-ins or refuses
    strange = sorted(name for name in named if not _FAMILIES.fullmatch(name))
    if strange:
        raise InputError(
            f"{path} would run {listed(strange)} to be read, and is not: take the checkpoint from its authors, or "
            "save its tensors alone (torch.save of its state dict) on a machine where you trust it"
        )
    stand_ins = [
        (_dictionary if name == "collections.defaultdict" else type("StandIn", (_StandIn,), {}), name)
        for name in named
    ]
    try:
        with safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, OSError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(
            f"{path} can't be read as a torch file of tensors and plain values ({reason[:200]}); save its tensors "
            "alone (torch.save of its state dict) on a machine where you trust it"
        ) from error


def _settings_in(content: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint itself tells of its model: fairseq's `cfg` or `args`."""
    found = {}
    for key in ("args", "cfg"):
        plain = _plain(content.get(key))
        if isinstance(plain, dict):
            for part in ("task", "model"):
                if isinstance(plain.get(part), dict):
                    found |= _flat({"model_conf": plain[part]})
            if key == "args":
                found |= _flat({"model_conf": plain})
    return found


def _plain(value: Any) -> Any:
    """Stand-ins of omegaconf's and argparse's objects as the plain values in them."""
    if isinstance(value, _StandIn):
        state = getattr(value, "state", None)
        if isinstance(state, dict):
            return _plain(state["_content"] if "_content" in state else state.get("_val", state))
        return None
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML too
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} can't be read as YAML or JSON ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; it must hold settings by name")
    return content


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """The model's settings and its audio modality's, by name; what refers to other settings (`${...}`) is left out."""
    model = content.get("model_conf", content.get("model"))
    model = model if isinstance(model, dict) else content
    modalities = model.get("modalities")
    audio = modalities.get("audio") if isinstance(modalities, dict) else None
    settings = {**model, **(audio if isinstance(audio, dict) else {})}
    simple = {name: value for name, value in settings.items() if isinstance(value, bool | int | float | str)}
    return {name: value for name, value in simple.items() if not str(value).startswith("${")}


def _labels_in(path: Path) -> list[str]:
    """The classes in FunASR's `tokens.txt`: `angry` of the line `生气/angry`, `unknown` of `<unk>`."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as UTF-8 text ({error}); it must name a class a line") from error
    return ["unknown" if line == "<unk>" else line.rsplit("/", 1)[-1] for line in lines]


def listed(names: Sequence[str], separator: str = ", ", most: int = 5) -> str:
    """The first few, and how many more there are."""
    shown = separator.join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
