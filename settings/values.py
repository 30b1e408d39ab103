"""Values against type annotations and limits, and which `TrainingArguments` fields a recipe may give.

The standard library alone at import: `emomm run --help` is quick because of it.
"""

import json
import math
import types
from collections.abc import Iterable
from collections.abc import Mapping
from enum import Enum
from typing import Any
from typing import Literal
from typing import Union
from typing import get_args
from typing import get_origin

from ..errors import FromText
from ..errors import InputError
from ..errors import nearest
from ..errors import show
from .training_arguments import training_argument_kinds

_OURS = "EmoMM sets it itself"
_EPOCH = "EmoMM evaluates once an epoch, on the validation part"
_FILES = "EmoMM writes its own files: the best weights at each improvement, and a full state to resume from"
_HUB = "EmoMM exports and pushes models itself: --push_to_hub is an option of the command line"
_BUDGET = "every epoch has the same number of steps, which it would change"

# Fields of TrainingArguments (and names of older versions) that a recipe may not give, and why.
REFUSED = {
    "do_train": _OURS,
    "do_eval": _OURS,
    "do_predict": _OURS,
    "eval_strategy": _EPOCH,
    "eval_steps": _EPOCH,
    "eval_delay": _EPOCH,
    "eval_on_start": _EPOCH,
    "evaluation_strategy": _EPOCH,
    "save_strategy": _FILES,
    "save_steps": f"{_FILES}; save_seconds is the least time between two states",
    "save_total_limit": _FILES,
    "save_only_model": _FILES,
    "save_on_each_node": _FILES,
    "load_best_model_at_end": "the best validation epoch is always the one that is tested and exported",
    "greater_is_better": "it follows from metric_for_best_model",
    "include_for_metrics": _OURS,
    "batch_eval_metrics": _OURS,
    "prediction_loss_only": "the validation metric chooses the model, so predictions are needed",
    "remove_unused_columns": _OURS,
    "label_names": _OURS,
    "push_to_hub": _HUB,
    "run_name": "it is made of the experiment, the seed and the fold",
    "seed": "use seeds, a list",
    "data_seed": "the order of the rows follows from seeds",
    "label_smoothing_factor": "use label_smoothing",
    "restore_callback_states_from_checkpoint": "an interrupted run always resumes with all of its state",
    "resume_from_checkpoint": "the same command again continues where it stopped",
    "ignore_data_skip": "a resumed run sees exactly the rows that the uninterrupted one would have",
    "train_sampling_strategy": "the curriculum's sampler orders the rows",
    "length_column_name": "the curriculum's sampler orders the rows",
    "max_steps": "use num_epochs; every epoch has the same number of steps",
    "dataloader_drop_last": _BUDGET,
    "auto_find_batch_size": _BUDGET,
    "parallelism_config": "a recipe can't hold one",
    "local_rank": "the launcher (accelerate, torchrun) sets it",
    "project": "use wandb_project",
    "overwrite_output_dir": "use --overwrite",
    "neftune_noise_alpha": "the model has no embeddings of its own",
    "use_liger_kernel": "there is no such kernel for this model",
    "fsdp": "the model is small enough for each device",
    "fsdp_config": "the model is small enough for each device",
    "logging_dir": "logs lie in the folder of their run",
    "training_arguments": "give fields of TrainingArguments directly, beside the others",
}

# Limits that TrainingArguments leaves to whatever fails later, or to nothing.
_TRAINING_LIMITS: dict[str, dict[str, float]] = {
    "gradient_accumulation_steps": {"min": 1},
    "per_device_eval_batch_size": {"min": 1},
    "warmup_steps": {"min": 0},
    "max_grad_norm": {"min": 0},
    "adam_beta1": {"min": 0, "below": 1},
    "adam_beta2": {"min": 0, "below": 1},
    "adam_epsilon": {"min": 0},
    "logging_steps": {"above": 0},
    "dataloader_num_workers": {"min": 0},
}


def training_argument(name: str, value: Any, where: str, own_names: Iterable[str]) -> Any:
    """The checked value of a field of `TrainingArguments`; `value` may be text from the command line.

    Args:
        name: the key, which is no setting of EmoMM's own.
        value: its value; a `FromText` on the command line.
        where: file and experiment, for the message.
        own_names: the names of the settings, among which a nearest name is sought too.

    Raises:
        InputError: no such name, one that EmoMM sets itself, or a value of a wrong type or out of range.
    """
    reason = _HUB if name.startswith("hub_") else REFUSED.get(name)
    if reason is not None:
        raise InputError(f"{where}: {name} ({show(value)}) can't be given: {reason}")
    kinds = training_argument_kinds()
    if name not in kinds:
        names = {*own_names, *kinds} - set(REFUSED)
        hint = nearest(name, names) or " See `emomm run --help` for the names there are."
        raise InputError(f"{where}: unknown key {name!r} (value {show(value)}).{hint}")
    return check(name, value, kinds[name], _TRAINING_LIMITS.get(name, {}), where)


def check(name: str, value: Any, kind: Any, limits: Mapping[str, Any], where: str) -> Any:
    """`value` as `kind`, within `limits`.

    Numbers may be written as text where a float is due ("9e-3" is text to YAML); an int will do for a float, a bool
    for no number.

    Args:
        name: the setting, for the message.
        value: what was given; a `FromText` is read as `kind` first.
        kind: a type annotation: bool, int, float, str, None, Any, an Enum, Literal, list, dict, and unions of them.
        limits: any of `choices` (of texts), `names` (of texts: some, to be told), `min`, `max`, `above`, `below` (of
            numbers, also within lists and dicts).
        where: file and experiment, for the message.

    Raises:
        InputError: with name, value and what is allowed.
    """
    try:
        converted = _convert(_read_text(value, kind) if isinstance(value, FromText) else value, kind)
        _check_limits(converted, limits)
    except ValueError as error:
        choices = [*limits.get("choices", ()), *_enum_values(kind)]
        texts = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
        hint = next((nearest(text, choices) for text in texts if text not in choices), "")
        detail = f" ({error})" if str(error) else ""
        prefix = f"{where}: " if where else ""
        raise InputError(
            f"{prefix}{name} is {show(value)}{detail}, but must be {describe(kind, limits)}.{hint}"
        ) from None
    return converted


def _text(limits: Mapping[str, Any]) -> str:
    return f"{', '.join(limits['names'])}, or another name" if "names" in limits else "text"


def describe(kind: Any, limits: Mapping[str, Any]) -> str:
    """What `kind` within `limits` allows, in words: "a number above 0, or null"."""
    if _enum_values(kind):
        return "one of " + ", ".join(_enum_values(kind))
    words = {
        bool: "true or false",
        int: "a whole number" + _bounds(limits),
        float: "a number" + _bounds(limits),
        str: "one of " + ", ".join(limits["choices"]) if "choices" in limits else _text(limits),
        type(None): "null",
    }
    arms, parts = _arms(kind), []
    for arm in sorted(arms, key=lambda arm: arm is type(None)):
        inner = get_args(arm)
        if arm in words:
            parts.append(words[arm])
        elif _is_list(arm):
            parts.append(f"a list, each entry {describe(inner[0], limits)}")
        elif get_origin(arm) is dict and inner[1] is not Any:
            parts.append(f"an object, each value {describe(inner[1], limits)}")
        elif dict in (arm, get_origin(arm)):
            parts.append("an object")
        elif get_origin(arm) is Literal:
            parts.append("one of " + ", ".join(map(show, inner)))
    return ", or ".join(parts)


def takes_list(kind: Any) -> bool:
    """Whether `kind` allows a list."""
    return any(map(_is_list, _arms(kind)))


def parse_json(text: str) -> Any:
    """JSON, without the two things Python adds silently: NaN or Infinity, and keys given twice.

    Raises:
        ValueError: naming the key or the constant; `json.JSONDecodeError` for anything that is no JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice in one object")
    return mapping


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _arms(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the one kind there is. Text does for an Enum: it stands for its value."""
    arms = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return tuple(arm for arm in arms if arm is not str) if any(map(_is_enum, arms)) else arms


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _is_list(kind: Any) -> bool:
    return list in (kind, get_origin(kind))


def _enum_values(kind: Any) -> list[str]:
    return [member.value for arm in _arms(kind) if _is_enum(arm) for member in arm]


def _convert(value: Any, kind: Any) -> Any:
    """`value` as `kind`, or ValueError (with a detail where the type alone does not say enough)."""
    arms = _arms(kind)
    if len(arms) > 1:
        for arm in arms:
            try:
                return _convert(value, arm)
            except ValueError:
                continue
        raise ValueError
    kind, origin, inner = arms[0], get_origin(arms[0]), get_args(arms[0])
    if kind is Any:
        return value
    if _is_enum(kind):
        return kind(value).value if value in _enum_values(kind) else _refuse()
    if origin is Literal:
        return value if value in inner else _refuse()
    if _is_list(kind) and isinstance(value, list | tuple):
        return [_convert(item, inner[0]) for item in value] if inner else list(value)
    if dict in (kind, origin) and isinstance(value, dict):
        return {_convert(key, inner[0]): _convert(item, inner[1]) for key, item in value.items()} if inner else value
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        number = float(value) if not isinstance(value, str) or _is_number(value) else _refuse()
        return number if math.isfinite(number) else _refuse("not finite")
    if kind in (bool, int, str, type(None)) and isinstance(value, kind):
        return _refuse() if kind is int and isinstance(value, bool) else value
    return _refuse()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse(detail: str = "") -> Any:
    raise ValueError(detail)


def _read_text(text: str, kind: Any) -> Any:
    """Text of the command line as `kind`; what can't be read stays text, and is then refused by its type.

    Lists are `a,b,c` or JSON, objects are JSON, null is `none` or `null`.
    """
    arms, text = _arms(kind), str(text)
    if type(None) in arms and text.lower() in ("none", "null"):
        return None
    if bool in arms and text.lower() in ("true", "false"):
        return text.lower() == "true"
    lists = list(filter(_is_list, arms))
    if text[:1] in ("[", "{") and (lists or any(dict in (arm, get_origin(arm)) for arm in arms)):
        try:
            return parse_json(text)
        except ValueError as error:
            raise ValueError(f"no valid JSON: {error}") from None
    if lists and (str not in arms or "," in text):
        item_kind = (get_args(lists[0]) or (str,))[0]
        return [_read_text(item.strip(), item_kind) for item in text.split(",") if item.strip()]
    if int in arms and text.lstrip("+-").isdecimal():
        return int(text)
    return text


def _bounds(limits: Mapping[str, Any]) -> str:
    words = {"min": "of at least", "above": "above", "max": "of at most", "below": "below"}
    parts = [f"{word} {limits[key]}" for key, word in words.items() if key in limits]
    return (" " + " and ".join(parts)) if parts else ""


def _check_limits(value: Any, limits: Mapping[str, Any]) -> None:
    """Raises ValueError when a text or a number in `value`, at whatever depth, is outside `limits`."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_limits(item, limits)
    elif isinstance(value, str) and "\0" in value:
        raise ValueError("with a NUL character, which no name and no path can hold")
    elif isinstance(value, str) and value not in limits.get("choices", (value,)):
        raise ValueError
    elif isinstance(value, int | float) and not isinstance(value, bool):
        inside = limits.get("min", value) <= value <= limits.get("max", value)
        if not inside or value <= limits.get("above", -math.inf) or value >= limits.get("below", math.inf):
            raise ValueError
