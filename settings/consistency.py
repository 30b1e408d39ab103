"""Settings that don't go together, found before anything runs."""

import os
from typing import TYPE_CHECKING
from typing import Any

from ..choices import BOTH
from ..choices import CURRICULUM_TYPES
from ..choices import EVALUATION_MODES
from ..choices import MODALITIES
from ..errors import InputError
from ..errors import nearest
from ..errors import show
from .tuning import check_encoders
from .values import check

if TYPE_CHECKING:
    from .settings import Settings

FUSION_TYPES = ("cross_attention", "concat", "gated", "adaptive")
# What a user's own file adds to: the setting, the names that are EmoMM's, and the setting of the file.
OWN = (
    ("fusion_type", FUSION_TYPES, "fusion_module"),
    ("curriculum_type", CURRICULUM_TYPES, "curriculum_module"),
    ("evaluation_mode", EVALUATION_MODES, "protocol_module"),
    ("modality", (*MODALITIES, BOTH), "modality_module"),
)

_POSITIVE: tuple[Any, dict] = (float, {"above": 0})
_EPOCHS: tuple[Any, dict] = (int, {"min": 1})
_MOMENTUM: tuple[Any, dict] = (float, {"min": 0, "below": 1})
# What lr_scheduler_kwargs may hold: type and limits of each argument of each scheduler.
SCHEDULER_ARGUMENTS: dict[str, dict[str, tuple[Any, dict]]] = {
    "cosine": {"num_cycles": _POSITIVE},
    "linear": {},
    "constant": {},
    "none": {},
    "plateau": {
        "factor": (float, {"above": 0, "below": 1}),
        "patience": (int, {"min": 0}),
        "threshold": (float, {"min": 0}),
        "threshold_mode": (str, {"choices": ("rel", "abs")}),
        "cooldown": (int, {"min": 0}),
        "min_lr": (float, {"min": 0}),
        "eps": (float, {"min": 0}),
    },
    "step": {"step_size": _EPOCHS, "gamma": _POSITIVE},
    "exponential": {"gamma": _POSITIVE},
    "cyclic": {
        "max_lr": _POSITIVE,
        "step_size_up_epochs": _EPOCHS,
        "cycle_momentum": (bool, {}),
        "base_momentum": _MOMENTUM,
        "max_momentum": _MOMENTUM,
    },
    "curriculum": {
        **dict.fromkeys(("start", "end", "post"), (float, {"min": 0})),
        "decay": (str, {"choices": ("cosine", "linear", "sqrt")}),
    },
}


def check_consistent(settings: "Settings") -> None:
    """What single fields can't show: whether they go together.

    Raises:
        InputError: naming the fields, their values and what would go together.
    """
    if not settings.slug:
        raise InputError(
            f"name is {show(settings.name)}, but needs a letter or a digit (a-z, 0-9): it names a folder."
        )
    _check_protocol(settings)
    for key in ("train_dataset", "test_datasets", "seeds", "class_order", "modality"):
        listed = {"train_dataset": settings.training_corpora, "modality": settings.modalities}
        value = listed[key] if key in listed else getattr(settings, key)
        if value is not None and (not value or len(set(value)) < len(value)):
            raise InputError(f"{key} is {show(value)}, but must hold one entry or more, each once.")
    both = sorted(set(settings.training_corpora) & set(settings.test_datasets or ()))
    if both:
        raise InputError(f"test_datasets holds {both[0]!r}, which train_dataset holds too: test on other corpora.")
    for key, names, module in OWN:
        _check_own(settings, key, names, module)
    if settings.short_last_batch and settings.use_speaker_disentanglement:
        raise InputError(
            "short_last_batch is true, and so is use_speaker_disentanglement, which fills a speaker's last batch with "
            "rows of the same speaker: set one of them to false."
        )
    if settings.feature_noise and settings.feature_normalization == "none":
        raise InputError(
            f"feature_noise is {settings.feature_noise:g} and feature_normalization none, but the noise is in "
            "standard deviations of the training rows: set feature_normalization to standardize, or feature_noise to "
            "null."
        )
    check_encoders(settings)
    _check_curriculum(settings)
    _check_scheduler(settings)


def _check_protocol(settings: "Settings") -> None:
    """The part of `check_consistent` about what a protocol needs."""
    if settings.evaluation_mode == "manifest" and settings.manifest is None:
        raise InputError(
            "evaluation_mode is manifest, but manifest is null: give the file that says fold and part of each "
            "utterance, or a folder of EmoBox's fold files (its data/emodb, say)."
        )
    if settings.evaluation_mode == "leave_corpus_out" and len(settings.training_corpora) < 2:
        raise InputError(
            f"evaluation_mode is leave_corpus_out, but train_dataset is {show(settings.train_dataset)}: name two "
            "corpora or more, each of which is tested in turn."
        )
    if len(set(settings.disjoint_by)) < len(settings.disjoint_by):
        raise InputError(f"disjoint_by is {show(settings.disjoint_by)}, but must hold each entry once.")


def _check_own(settings: "Settings", key: str, names: tuple[str, ...], module: str) -> None:
    """The part of `check_consistent` about a name that a user's own file can register."""
    given, file = getattr(settings, key), getattr(settings, module)
    unknown = [name for name in (given if isinstance(given, list) else [given]) if name not in names]
    if file is None and unknown:
        raise InputError(
            f"{key} is {show(given)}, but must be one of {', '.join(names)}, or a name that the file given as "
            f"{module} registers.{nearest(unknown[0], names)}"
        )
    if file is not None and not (file.endswith(".py") and os.path.isfile(file)):
        raise InputError(f"{module} is {show(file)}, but must be a Python file (.py) that is there.")


def _check_curriculum(settings: "Settings") -> None:
    """The part of `check_consistent` about difficulty and curriculum."""
    if settings.vad_weights is not None and (len(settings.vad_weights) != 3 or not any(settings.vad_weights)):
        raise InputError(
            f"vad_weights is {show(settings.vad_weights)}, but must be three numbers, not all 0: V, A and D."
        )
    if settings.vad_weights is not None and settings.difficulty_method != "weighted":
        raise InputError(
            f"vad_weights is given, but difficulty_method is {show(settings.difficulty_method)}: only "
            "weighted uses them."
        )
    for name, prototype in settings.expected_vad.items() if isinstance(settings.expected_vad, dict) else ():
        if len(prototype) != 3:
            raise InputError(
                f"expected_vad of {name!r} is {show(prototype)}, but must be three numbers: V, A and D, each 1 to 5."
            )


def check_places(settings: "Settings") -> None:
    """Where the corpora that the settings name have a path on this machine, whether anything lies there.

    For commands, before the seconds that loading libraries takes; what lies there is looked at when it is read.

    Raises:
        InputError: naming the corpus and its path.
    """
    for name in (*settings.training_corpora, *(settings.test_datasets or ())):
        path = settings.corpus.get(name) or settings.corpora.get(name, {}).get("path")
        if isinstance(path, str) and not (os.path.exists(path) or _begins_a_name(path)):
            raise InputError(f"corpus {name}: there is no {path}; give a folder, a file, or an emotion2vec prefix")


def _begins_a_name(path: str) -> bool:
    """Whether files there are called so, with more behind it."""
    folder, start = os.path.split(path)
    try:
        return any(entry.startswith(f"{start}.") for entry in os.listdir(folder))
    except (OSError, ValueError):
        return False


def curriculum_notes(settings: "Settings") -> list[str]:
    """What `curriculum_epochs` means to an experiment without a curriculum, where that is not plain."""
    notes = []
    has_one = (
        settings.use_curriculum_learning and settings.curriculum_type != "none" and settings.curriculum_epochs > 0
    )
    changes = settings.post_curriculum_dropout not in (None, settings.dropout)
    if changes and settings.curriculum_epochs == 0:
        notes.append(
            f"curriculum_epochs is 0, so dropout stays {settings.dropout:g}: post_curriculum_dropout "
            f"({settings.post_curriculum_dropout:g}) does not hold"
        )
    if not has_one and settings.curriculum_epochs > 0:
        after = (
            f"after epoch {settings.curriculum_epochs} (curriculum_epochs), as in the experiments with a curriculum"
        )
        if changes and settings.curriculum_epochs < settings.num_epochs:
            notes.append(
                f"no curriculum, but dropout changes from {settings.dropout:g} to "
                f"{settings.post_curriculum_dropout:g} {after}"
            )
        if settings.early_stopping_patience is not None:
            notes.append(f"no curriculum, but early stopping counts {after}")
    return [f"experiment {settings.name!r}: {note}" for note in notes]


def _check_scheduler(settings: "Settings") -> None:
    """The part of `check_consistent` about the course of the learning rate."""
    if settings.lr_scheduler == "curriculum" and not settings.curriculum_epochs:
        raise InputError("lr_scheduler is curriculum, but curriculum_epochs is 0: give the epochs that it falls in.")
    kinds = SCHEDULER_ARGUMENTS[settings.lr_scheduler]
    for key, value in settings.lr_scheduler_kwargs.items():
        if key not in kinds:
            raise InputError(
                f"lr_scheduler_kwargs holds {key!r}, but the {settings.lr_scheduler} scheduler takes "
                f"{', '.join(kinds) or 'none'}.{nearest(key, kinds)}"
            )
        settings.lr_scheduler_kwargs[key] = check(f"lr_scheduler_kwargs {key}", value, *kinds[key], "")
    momenta = {"base_momentum", "max_momentum"} & set(settings.lr_scheduler_kwargs)
    if momenta and not settings.lr_scheduler_kwargs.get("cycle_momentum"):
        raise InputError(
            f"lr_scheduler_kwargs holds {min(momenta)!r}, but cycle_momentum is false: set it to true, too."
        )
    warmup = settings.training_arguments.get("warmup_steps")
    if warmup and settings.lr_scheduler == "plateau":
        raise InputError(
            f'warmup_steps is {show(warmup)}, but lr_scheduler is "plateau", which follows validation alone: choose '
            "another lr_scheduler, or leave warmup_steps out."
        )
