"""YAML in the layout of the original system -> the recipe it stands for.

Its keys are mapped to `Settings` fields of the same or another name; keys it does not know may also be `Settings`
fields, and are checked as such. What has no counterpart is refused with the reason, never ignored.
"""

from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from ..errors import nearest
from ..errors import show

# Number -> class of every label column of the original system's corpora.
CLASSES = ("neutral", "happy", "sad", "anger")
SHARED_BLOCKS = ("template_config", "template", "baseline")
_METADATA = ("id", "category")
REFUSED = {"single_test_session": "every session is the test set of one fold; evaluation_mode chooses the protocol"}
# What the launcher or EmoMM does by itself.
_SETTLED = {
    "use_text_cache": "states of a frozen text encoder are always kept",
    "device": "the launcher (accelerate, torchrun) chooses it; use_cpu: true keeps to the CPU",
}
# audio_encoder_type -> the encoder where audio_model_name names none.
SPEECH_ENCODERS = {
    "wav2vec2": "facebook/wav2vec2-base",
    "hubert": "facebook/hubert-base-ls960",
    "wavlm": "microsoft/wavlm-base-plus",
    "whisper": "openai/whisper-base",
}
_EXTRACTED = "preextracted"
_OF_AUDIO_ENCODER = ("audio_model_name", "audio_pooling", "freeze_audio_encoder")
# What its files leave out, where ours is another default.
DEFAULTS = {
    "num_epochs": 30,
    "learning_rate": 9e-3,
    "batch_size": 64,
    "dropout": 0.1,
    "hidden_dim": 1024,
    "fusion_hidden_dim": 512,
    "num_attention_heads": 8,
    "use_curriculum_learning": True,
    "use_difficulty_scaling": True,
    "use_speaker_disentanglement": True,
}
_LR_MULTIPLIERS = {
    "curriculum_start_lr_multiplier": "start",
    "curriculum_end_lr_multiplier": "end",
    "post_curriculum_lr_multiplier": "post",
    "curriculum_lr_decay": "decay",
}


def read_seed_yaml(path: Path, text: str) -> tuple[dict[str, Any], list[str], dict[int, str]]:
    """A recipe as a JSON file would hold it, unchecked but for what is YAML's own; notes on what was changed; and by
    number, why experiments can't run that hold what has no counterpart: of these there is but the name.

    Args:
        path: for messages.
        text: the YAML text. Shared blocks (`template_config`, `template`, `baseline`, or any other name) are merged
            into experiments by YAML itself (`<<: *template`); of keys given twice the last holds, which is noted with
            its line.

    Raises:
        InputError: no valid YAML (with line and column), another layout, or no experiment without a key that has no
            counterpart.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}{_position(error)}: no valid YAML: {_problem(error)}") from None
    except ValueError as error:  # of a value that looks like a date
        raise InputError(f"{path}: no valid YAML: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: no valid YAML: its brackets are nested too deeply") from None
    if not isinstance(document, dict) or not isinstance(document.get("experiments"), list):
        raise InputError(f"{path}: needs `experiments`, a list, at its top level.")
    notes: list[str] = []
    merged_blocks: set[int] = set()
    _walk(root, set(), notes, merged_blocks)
    blocks = {key.value for key, block in root.value if id(block) in merged_blocks}
    for key, _ in root.value:
        if key.value in SHARED_BLOCKS and key.value not in blocks:
            raise InputError(
                f"{path}, line {key.start_mark.line + 1}: no experiment takes in the shared block {key.value!r}; "
                f"name it (`{key.value}: &{key.value}`) and add `<<: *{key.value}` to those that should."
            )
    recipe = {key: value for key, value in document.items() if key not in blocks | {"name"}}
    experiments = recipe.pop("experiments")
    shared = {**DEFAULTS, **_map_keys(recipe, str(path), notes)}
    shared["experiments"] = []
    changes: dict[str, list[str]] = {}
    left_out: dict[int, str] = {}
    for number, experiment in enumerate(experiments):
        where = f"{path}, experiment {number}"
        if not isinstance(experiment, dict):
            raise InputError(f"{where}: is {show(experiment)}, but must hold keys and values, a name among them.")
        name = experiment.get("name")
        changed = changes.setdefault(str(name), [])
        try:
            shared["experiments"].append(_map_keys(experiment, f"{path}, experiment {name!r}", changed))
        except InputError as error:
            left_out[number] = str(error)
            shared["experiments"].append({"name": name})
    if left_out and len(left_out) == len(experiments):
        raise InputError(left_out[0])
    return shared, notes + _gathered(changes), left_out


def _gathered(changes: dict[str, list[str]]) -> list[str]:
    """Each change once, with the names of the experiments it was made in."""
    names: dict[str, list[str]] = {}
    for name, texts in changes.items():
        for text in texts:
            names.setdefault(text, []).append(name)
    return [
        f"{'every experiment' if len(where) == len(changes) > 1 else ', '.join(map(repr, where))}: {text}"
        for text, where in names.items()
    ]


def _position(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split())


def _walk(node: yaml.Node, seen: set[int], notes: list[str], merged_blocks: set[int]) -> None:
    """Notes keys that are given twice, and collects the (ids of) nodes that `<<` merges somewhere."""
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    else:
        lines: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                merged_blocks.update(map(id, value.value if isinstance(value, yaml.SequenceNode) else [value]))
            elif isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    notes.append(
                        f"key {key.value!r} given twice, at lines {lines[key.value]} and {line}: the last holds"
                    )
                lines[key.value] = line
        children = [value for _, value in node.value]
    for child in children:
        _walk(child, seen, notes, merged_blocks)


def _map_keys(block: dict[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
    """One scope's keys as `Settings` fields. Raises InputError for what has no counterpart."""
    for key, value in block.items():
        if not isinstance(key, str):
            raise InputError(f"{where}: the key {show(key)} is no name.")
        if key in REFUSED:
            raise InputError(f"{where}: {key} ({show(value)}) has no counterpart: {REFUSED[key]}.")
    mapped = {key: value for key, value in block.items() if key not in _METADATA}
    for key in _SETTLED:
        if mapped.pop(key, None) is not None:
            notes.append(f"{key} ({show(block[key])}) changes nothing: {_SETTLED[key]}")
    _map_audio_encoder(mapped, where, notes)
    for key in ("expected_vad", "class_weights"):
        if isinstance(mapped.get(key), dict):
            mapped[key] = _by_class_name(mapped[key], f"{where}: {key}")
    weights = mapped.get("class_weights")
    if isinstance(weights, dict) and weights and all(weight in (1, 1.0, "1", "1.0") for weight in weights.values()):
        mapped["class_weights"] = "none"
    if "focal_gamma" in mapped and "loss" not in mapped:
        mapped["loss"] = "focal"
        notes.append(f"focal_gamma is given ({show(mapped['focal_gamma'])}), so loss is focal")
    _map_schedule(mapped, where, notes)
    return mapped


def _map_audio_encoder(mapped: dict[str, Any], where: str, notes: list[str]) -> None:
    """The keys of the voice's encoder, in place. Raises InputError for another encoder or pooling than there are."""
    kind = mapped.pop("audio_encoder_type", _EXTRACTED)
    given = {key: mapped.pop(key) for key in _OF_AUDIO_ENCODER if mapped.get(key) is not None}
    if kind == _EXTRACTED:
        if given:
            said = ", ".join(f"{key} ({show(value)})" for key, value in given.items())
            notes.append(f"audio_encoder_type is {_EXTRACTED}, so {said} changes nothing")
        return
    if kind not in SPEECH_ENCODERS:
        known = [_EXTRACTED, *SPEECH_ENCODERS]
        raise InputError(
            f"{where}: audio_encoder_type is {show(kind)}, but must be one of {', '.join(known)}."
            f"{nearest(str(kind), known)}"
        )
    if given.get("audio_pooling", "mean") != "mean":
        raise InputError(
            f"{where}: audio_pooling is {show(given['audio_pooling'])}, but must be mean: other poolings have no "
            "counterpart."
        )
    frozen = given.get("freeze_audio_encoder", True)
    if not isinstance(frozen, bool):
        raise InputError(f"{where}: freeze_audio_encoder is {show(frozen)}, but must be true or false.")
    mapped.setdefault("voice_input", "recording")
    mapped.setdefault("speech_model_name", given.get("audio_model_name", SPEECH_ENCODERS[kind]))
    mapped.setdefault("speech_tuning", "frozen" if frozen else "full")
    if not frozen:
        notes.append(
            "freeze_audio_encoder is false: the speech encoder is tuned as a whole but for its convolutions, at "
            "speech_learning_rate"
        )


def drop_without_effect(settings: dict[str, Any], notes: list[str]) -> None:
    """Takes out of an experiment's settings, in place, what its file gives and what changes nothing there; notes it.

    Args:
        settings: of one experiment, those that it shares with the others included.
        notes: added to.
    """
    curriculum = settings.get("use_curriculum_learning", True) and settings.get("curriculum_type") != "none"
    if settings.get("lr_scheduler") == "curriculum" and not (curriculum and settings.get("curriculum_epochs", 1)):
        settings["lr_scheduler"], settings["lr_scheduler_kwargs"] = "cosine", {}
        notes.append("use_curriculum_lr_schedule changes nothing without a curriculum: lr_scheduler is cosine")
    method = settings.get("difficulty_method", "euclidean_distance")
    if settings.get("vad_weights") is not None and method != "weighted":
        settings["vad_weights"] = None
        notes.append(f"difficulty_method is {method}, so vad_weights doesn't hold")


def _by_class_name(values: dict[Any, Any], where: str) -> dict[str, Any]:
    """Values by class name, where the file may have the class' number."""
    named: dict[str, Any] = {}
    for key, value in values.items():
        name = key
        if isinstance(key, int) or (isinstance(key, str) and key.isdecimal()):
            if int(key) >= len(CLASSES) or isinstance(key, bool):
                allowed = ", ".join(f"{number} {name}" for number, name in enumerate(CLASSES))
                raise InputError(f"{where} has the key {show(key)}, but classes are {allowed}, or names.")
            name = CLASSES[int(key)]
        if name in named:
            raise InputError(f"{where} holds {name!r} by name and by number: give it once.")
        named[name] = value
    return named


def _map_schedule(mapped: dict[str, Any], where: str, notes: list[str]) -> None:
    """The learning-rate keys, in place.

    `lr_scheduler_T_max` is the half period of torch's cosine, in epochs: with n epochs in all it is n / (2 T_max)
    cycles of transformers' cosine, which is the same curve.
    """
    multipliers = {short: mapped.pop(key) for key, short in _LR_MULTIPLIERS.items() if key in mapped}
    half_period = mapped.pop("lr_scheduler_T_max", None)
    wanted = mapped.pop("use_curriculum_lr_schedule", False)
    if not isinstance(wanted, bool):
        raise InputError(f"{where}: use_curriculum_lr_schedule is {show(wanted)}, but must be true or false.")
    if wanted:
        if half_period is not None or "lr_scheduler" in mapped:
            notes.append("use_curriculum_lr_schedule is on, so lr_scheduler and lr_scheduler_T_max don't hold")
        mapped["lr_scheduler"] = "curriculum"
        mapped["lr_scheduler_kwargs"] = multipliers
        return
    if multipliers:
        keys = [key for key, short in _LR_MULTIPLIERS.items() if short in multipliers]
        notes.append(f"use_curriculum_lr_schedule is not on, so {', '.join(keys)} don't hold")
    if mapped.get("lr_scheduler", "") is None:
        mapped["lr_scheduler"] = "none"
    if half_period is None:
        return
    if mapped.get("lr_scheduler", "cosine") != "cosine":
        notes.append(f"lr_scheduler is {mapped['lr_scheduler']}, so lr_scheduler_T_max doesn't hold")
        return
    epochs = mapped.get("num_epochs", 30)
    for key, value in (("lr_scheduler_T_max", half_period), ("num_epochs", epochs)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{where}: {key} is {show(value)}, but must be a whole number of at least 1.")
    if half_period != epochs:
        cycles = epochs / (2 * half_period)
        mapped["lr_scheduler_kwargs"] = {"num_cycles": cycles}
        notes.append(f"lr_scheduler_T_max {half_period} of {epochs} epochs is num_cycles {cycles:g}")
