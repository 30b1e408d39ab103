"""Settings that may differ within an experiment: what a search can choose, and what holds in one fold alone.

All else is the protocol, the data or what an experiment is compared by: a choice of those that validation scores make
is no choice of settings, and two folds that differ in them are not one experiment.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import InputError
from ..errors import show
from .settings import FIELDS
from .settings import Settings
from .values import REFUSED

_PROTOCOL = "it is part of the protocol"
_INPUT = "it says what the model is given: compare experiments that differ in it, in a recipe"
_PLACE = "it changes no result"
_ITSELF = "it says what settings an experiment has"
_OF_GROUP = {"data": _PROTOCOL, "job": _PLACE}
_FIXED = {
    **dict.fromkeys(("name", "description", "by_fold", "searched", "training_arguments"), _ITSELF),
    **dict.fromkeys(("modality", "modality_module", "voice_input", "text_model_name", "speech_model_name"), _INPUT),
    **dict.fromkeys(("audio_dim", "num_classes"), "it is checked against the corpus"),
    **dict.fromkeys(("fusion_module", "curriculum_module"), "it names a file: name what the file registers"),
    "metric_for_best_model": "it is what the trials are compared by",
    **dict.fromkeys(("stack", "stack_size", "recording_dtype", "store_frozen_layers"), _PLACE),
}
_FIXED_TRAINING = re.compile(r"log(ging)?_.*|disable_tqdm|skip_memory_metrics|dataloader_.*|seed|data_seed")


def why_fixed(name: str) -> str | None:
    """Why a setting is the same in all folds and trials of an experiment; None of one that may differ.

    Args:
        name: of a setting, or of a field of TrainingArguments.
    """
    if name in _FIXED:
        return _FIXED[name]
    if name in FIELDS:
        return _OF_GROUP.get(FIELDS[name].metadata["group"])
    if _FIXED_TRAINING.fullmatch(name):
        return _PROTOCOL if "seed" in name else _PLACE
    return REFUSED.get(name)


def as_block(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name as a scope of a recipe is kept: fields of TrainingArguments under `training_arguments`."""
    block = {name: value for name, value in values.items() if name in FIELDS}
    others = {name: value for name, value in values.items() if name not in FIELDS}
    return {**block, **({"training_arguments": others} if others else {})}


def with_values(settings: Settings, block: Mapping[str, Any]) -> Settings:
    """The settings with others in place of some, the same in all folds.

    Args:
        block: as `as_block` gives it.

    Raises InputError for settings that don't go together.
    """
    changed = {**block, "by_fold": {}}
    if "training_arguments" in block:
        changed["training_arguments"] = {**settings.training_arguments, **block["training_arguments"]}
    if block.get("lr_scheduler", settings.lr_scheduler) != settings.lr_scheduler:
        changed = {"lr_scheduler_kwargs": {}, **changed}
    return replace(settings, **changed)


def settings_of_fold(settings: Settings, fold: str) -> Settings:
    """Those that hold in a fold."""
    return with_values(settings, settings.by_fold.get(fold, {})) if settings.by_fold else settings


def check_by_fold(settings: Settings) -> None:
    """Raises InputError for settings by fold that may not differ, or don't go together."""
    for fold, block in settings.by_fold.items():
        named = {**block, **block.get("training_arguments", {})}
        for name in named.keys() - {"training_arguments"}:
            reason = why_fixed(name)
            if reason is not None:
                raise InputError(f"by_fold {fold}: {name} ({show(named[name])}) can't differ by fold: {reason}.")
        try:
            settings_of_fold(settings, fold)
        except InputError as error:
            raise InputError(f"by_fold {fold}: {error}") from None
    if settings.by_fold and settings.stack:
        raise InputError("stack is true, and by_fold is given: a stack is of runs with the same settings.")
    if settings.searched:
        check_searched(settings.searched)


_SEARCHED: dict[str, type | tuple[type, ...]] = {
    "form": str, "of": str, "metric": str, "seed": int, "trials": int, "studies": int, "done": int, "pruned": int,
    "failed": int, "space": dict, "fold": (str, type(None)), "leaks": list,
}  # fmt: skip


def check_searched(searched: Mapping[str, Any]) -> None:
    """Raises InputError where what says how settings were found is not as `emomm search` writes it."""
    for key, kind in _SEARCHED.items():
        if key not in searched or not isinstance(searched[key], kind):
            raise InputError(
                f"searched is {show(dict(searched))}, but must be as emomm search writes it: its {key} is "
                f"{show(searched.get(key))}."
            )


__all__ = ["as_block", "check_by_fold", "settings_of_fold", "why_fixed", "with_values"]
