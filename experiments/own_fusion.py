"""A user's own modalities and fusion: loaded, and the fusion tried before anything trains: whether it gives what a
model needs, and what of it drops values."""

import copy
from collections.abc import Callable
from typing import Any
from typing import TypeVar

import torch

from ..configuration_emomm import EmoMMConfig
from ..corpora.spec import DEFAULT_COLUMNS
from ..errors import InputError
from ..errors import show
from ..fusions import Fusion
from ..fusions import FusionOutput
from ..fusions import get_fusion
from ..fusions import load_fusion_module
from ..modalities import AUDIO
from ..modalities import Modality
from ..modalities import load_modality_module
from ..modalities import modalities_in
from ..modeling_emomm import EmoMMForEmotionClassification
from ..registry import in_a_line as of_own_file
from ..settings.settings import Settings

T = TypeVar("T")


def load_modalities(settings: Settings) -> list[Modality]:
    """The modalities of an experiment; the user's own file is run first.

    Raises InputError for a file that can't be run, for a name that nothing registers, and for one of the user's own
    that a column of another meaning has.
    """
    if settings.modality_module is not None:
        checked(settings, load_modality_module, settings.modality_module)
    found = checked(settings, modalities_in, settings.modality)
    for modality in found:
        if modality.name in DEFAULT_COLUMNS and modality.name != AUDIO.name:
            raise InputError(
                f"experiment {settings.name!r}: the modality {modality.name!r} has the name of a column of the schema "
                f"({', '.join(DEFAULT_COLUMNS)}): choose another"
            )
    return found


def load_fusion(settings: Settings) -> tuple[type[Fusion] | None, str | None]:
    """The fusion of an experiment, and the module of the user's file that it comes from; None where there is none.

    Raises InputError for a file that can't be run, for a name that nothing registers, and for heads that don't divide
    the width of a fusion that has such.
    """
    if len(settings.modalities) == 1:
        return None, None
    module = None
    if settings.fusion_module is not None:
        module = checked(settings, load_fusion_module, settings.fusion_module)
    fusion = checked(settings, get_fusion, settings.fusion_type)
    if getattr(fusion, "uses_heads", False) and settings.fusion_hidden_dim % settings.num_attention_heads:
        raise InputError(
            f"experiment {settings.name!r}: num_attention_heads is {settings.num_attention_heads}, but must divide "
            f"fusion_hidden_dim, which is {show(settings.fusion_hidden_dim)}."
        )
    return fusion, module


def checked(settings: Settings, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """What the function gives. What it raises, an own fusion's mistakes among it, becomes an InputError that names the
    experiment."""
    try:
        return function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 a user's file can raise anything
        raise InputError(f"experiment {settings.name!r}: {in_a_line(settings, error)}") from error


def in_a_line(settings: Settings, error: Exception) -> str:
    """The error in a line: of a file of the user's own, with file, line and type; else its message."""
    for setting in ("fusion_module", "modality_module"):
        own = getattr(settings, setting)
        line = of_own_file(error, own)
        if own is not None and line.startswith(f"{own}, line "):
            return f"{setting} {line}"
    return of_own_file(error, None)


def note_own_dropout(settings: Settings, config: EmoMMConfig, notes: list[str]) -> None:
    """Adds to the notes where the fusion drops values that `post_curriculum_dropout` can't change."""
    note = (
        f"experiment {settings.name!r}: the fusion {config.fusion_type!r} is random in training by itself, "
        "which post_curriculum_dropout doesn't change: make its dropout a module, such as torch.nn.Dropout"
    )
    if settings.post_curriculum_dropout is not None and note not in notes:
        if checked(settings, drops_out_of_reach, config):
            notes.append(note)


def _batch(config: EmoMMConfig) -> dict[str, torch.Tensor]:
    lengths = range(3, 3 + len(config.modalities))
    return {
        modality.features: torch.ones(2, length, config.width(modality.name))
        for modality, length in zip(modalities_in(config.modality), lengths, strict=True)
    }


def try_fusion(config: EmoMMConfig) -> None:
    """Builds the model and gives it a batch. Raises what the fusion raises, and ValueError for what is no output."""
    model = EmoMMForEmotionClassification(config).eval()
    right = (2, config.fusion_hidden_dim)

    def check(fusion, states, output) -> None:
        if not isinstance(output, FusionOutput) or output.embedding.shape != right:
            found = tuple(output.embedding.shape) if isinstance(output, FusionOutput) else type(output).__name__
            raise ValueError(
                f"the fusion {config.fusion_type!r} gave {found} for two rows, but must give a FusionOutput whose "
                f"embedding is {right} (fusion_hidden_dim is {config.fusion_hidden_dim})"
            )

    model.fusion.register_forward_hook(check)
    with torch.no_grad():
        model(**_batch(config))


def drops_out_of_reach(config: EmoMMConfig) -> bool:
    """Whether the fusion still drops values when dropout is set to 0: by a number of its own, as `F.dropout` takes."""
    config = copy.deepcopy(config)
    config.dropout, config.feature_noise, config.modality_dropout = 0.5, None, 0.0  # what the fusion itself does
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = EmoMMForEmotionClassification(config).train()
        model.set_dropout(0.0)
        batch = _batch(config)
        once = model(**batch).embedding
        return not all(torch.equal(model(**batch).embedding, once) for _ in range(3))


__all__ = [
    "checked",
    "drops_out_of_reach",
    "in_a_line",
    "load_fusion",
    "load_modalities",
    "note_own_dropout",
    "try_fusion",
]
