"""What a modality is: the voice, the words, and those of a user's own. Travels to the Hub.

Each is described once. Model, collator, processor, corpora, floors, report and card go through the modalities of a
model and ask the description, so that a further one changes none of them: a file of the user's own registers it
(`modality_module`), a corpus has a column of its vectors, and a recipe names it (`"modality": ["audio", "text",
"gaze"]`). Importing this needs no torch, as an exported model is used without.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .own_files import load_own_file

if TYPE_CHECKING:
    from torch import Tensor

BOTH = "both"
"""What `modality` calls voice and words together."""
EMPTY_TRANSCRIPT = "[EMPTY]"
"""What stands for a missing or empty transcript."""
POOLINGS = ("mean", "cls")

_CHARACTERS = 100  # of a token, and more than any has
_TOKENS = ("input_ids", "attention_mask")
_STATES = {"speech": ("speech_states", "speech_mask"), "text": ("text_states", "text_states_mask")}
_RECORDINGS = ("input_values", "input_features", "speech_attention_mask")


@dataclass(frozen=True)
class Modality:
    """One modality: what a model takes of it, and what people call it.

    Args:
        name (`str`): in recipes, configurations and inputs: `gaze` is given as `gaze_features`.
        word (`str`, defaults to the name): what a person calls it: "some rows have no gaze".
        unit (`str`, defaults to `"frames"`): what its sequences are made of.
        dim (`int`, *optional*): width of its vectors; None takes that of the corpus.
        column (`str`, defaults to `NAME_features`): its column in a corpus, which can call it otherwise (`columns`).
        pooling (`str`, defaults to `"mean"`): how a row's sequence becomes one vector: `mean`, or `cls`, its first.
        encoder (`str`, defaults to `""`): what makes vectors of it at inference: `speech`, of a recording; `text`, of
            token ids, which the model takes in place of vectors; "" where vectors are all that there is.
        missing (`str`, *optional*): what is read where it is missing, by a fusion that can't do without; None where
            such rows are refused.

    Raises:
        ValueError: a name that is no plain word, a width below 1, an unknown pooling.
    """

    name: str
    word: str = ""
    unit: str = "frames"
    dim: int | None = None
    column: str = ""
    pooling: str = "mean"
    encoder: str = ""
    missing: str | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and re.fullmatch("[a-z][a-z0-9_]*", self.name)):
            raise ValueError(f"a modality's name is {self.name!r}; it must be a word of a-z, 0-9 and _, such as gaze")
        if self.dim is not None and (type(self.dim) is not int or self.dim < 1):
            raise ValueError(f"modality {self.name}: dim is {self.dim!r}; it must be a whole number above 0, or None")
        if self.pooling not in POOLINGS:
            raise ValueError(f"modality {self.name}: pooling is {self.pooling!r}; it can be {', '.join(POOLINGS)}")
        fill = object.__setattr__  # the class is frozen: what is derived is filled in once, here
        fill(self, "word", self.word or self.name)
        fill(self, "column", self.column or self.features)

    @property
    def features(self) -> str:
        """The input of its vectors, (batch, dim) or (batch, length, dim)."""
        return f"{self.name}_features"

    @property
    def mask(self) -> str:
        """The input that says which of them are real, (batch, length)."""
        return f"{self.name}_mask"

    @property
    def tokens(self) -> tuple[str, str] | None:
        """The inputs of its token ids and their mask, in place of vectors; None where it has none."""
        return _TOKENS if self.encoder == "text" else None

    @property
    def recordings(self) -> tuple[str, str, str] | None:
        """The inputs of its recordings (waveforms or mel features, as its encoder takes them) and their mask; None
        where it has none."""
        return _RECORDINGS if self.encoder == "speech" else None

    @property
    def states(self) -> tuple[str, str] | None:
        """The inputs of states that stand for the encoder's lower layers, and their mask; None without an encoder."""
        return _STATES.get(self.encoder)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a model is mostly given of it; masks are every second one."""
        return (*(self.tokens or ()), self.features, self.mask)

    @property
    def taken(self) -> tuple[str, ...]:
        """Everything that a model can be given of it."""
        return (*self.inputs, *(self.states or ()), *(self.recordings or ()))

    def sequence(self, features: "Tensor", mask: "Tensor | None", dim: int) -> tuple["Tensor", "Tensor"]:
        """Vectors as (batch, length, dim), and which of them are real: (batch, length) bool.

        Raises ValueError for another width or shape.
        """
        import torch

        if features.shape[-1] != dim or features.ndim not in (2, 3):
            raise ValueError(
                f"{self.features} has shape {tuple(features.shape)}; this model takes (batch, {dim}) or (batch, "
                f"{self.unit}, {dim})"
            )
        features = features.unsqueeze(1) if features.ndim == 2 else features
        if mask is None:
            return features, torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        if mask.shape != features.shape[:2]:
            raise ValueError(f"the mask has shape {tuple(mask.shape)}, the sequence {tuple(features.shape[:2])}")
        return features, mask.bool()


def is_missing(transcript: str | None) -> bool:
    """Whether there are no words: None, empty, white space alone, or the placeholder."""
    return transcript is None or transcript.strip() in ("", EMPTY_TRANSCRIPT)


def beginning(transcript: str, max_length: int) -> str:
    """A transcript as far as it can be read: tokenizers take seconds for a megabyte, to keep its first tokens.

    Args:
        max_length: tokens that are read.
    """
    most = _CHARACTERS * max_length
    return transcript if len(transcript) <= most else transcript[:most].rpartition(" ")[0] or transcript[:most]


def pooled_sequence(sequence: "Tensor", mask: "Tensor", pooling: str) -> "Tensor":
    """(batch, length, dim) and (batch, length) to (batch, dim): the `mean` over real positions, or the first (`cls`);
    zeros where none is real."""
    if pooling == "cls" or sequence.shape[1] == 1:
        return sequence[:, 0] * mask[:, :1].to(sequence.dtype)
    weights = mask.unsqueeze(-1).to(sequence.dtype)
    return (sequence * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


AUDIO = Modality("audio", word="voice", encoder="speech")
TEXT = Modality("text", word="words", unit="tokens", encoder="text", missing=EMPTY_TRANSCRIPT)

_REGISTRY: dict[str, Modality] = {AUDIO.name: AUDIO, TEXT.name: TEXT}
_OURS = {*_REGISTRY, BOTH}
_RESERVED = {BOTH, "all", "chance", "chosen", "most_frequent"}  # what floors beside those of a modality are called


def register_modality(modality: Modality) -> Modality:
    """Makes a modality known by its name; one of the same name that was registered before is replaced.

    Raises TypeError for what is no `Modality`, and ValueError for a name or word that is EmoMM's own, and for an
    encoder: of what a user adds, the corpus has the vectors.
    """
    if not isinstance(modality, Modality):
        raise TypeError(f"register_modality takes a Modality, got {modality!r}")
    if modality.name in _OURS:
        raise ValueError(f"the modality {modality.name!r} is EmoMM's own: choose another name")
    words = {_REGISTRY[name].word for name in _REGISTRY if name != modality.name}
    if modality.word in words | _RESERVED or not re.fullmatch(r"[\w -]+", modality.word):
        raise ValueError(
            f"modality {modality.name}: word is {modality.word!r}; it must be letters, digits, spaces, _ and -, and "
            f"none of {', '.join(sorted(words | _RESERVED))}"
        )
    if modality.missing is not None:
        raise ValueError(f"modality {modality.name}: missing is {modality.missing!r}; only of words another is read")
    if modality.encoder:
        raise ValueError(f"modality {modality.name}: encoder is {modality.encoder!r}; only voice and words have one")
    _REGISTRY[modality.name] = modality
    return modality


def modality_names() -> list[str]:
    """The names of all modalities that are known."""
    return list(_REGISTRY)


def own_modalities() -> list[str]:
    """The names of those that are registered besides voice and words."""
    return [name for name in _REGISTRY if name not in _OURS]


def get_modality(name: str) -> Modality:
    """The modality of this name. Raises ValueError that lists the known names."""
    if name not in _REGISTRY:
        raise ValueError(f"modality={name!r} is not known; it can be {', '.join([*_REGISTRY, BOTH])}, or a list")
    return _REGISTRY[name]


def names_in(modality: str | Sequence[str]) -> tuple[str, ...]:
    """The names that `modality` of a recipe or configuration stands for: ("audio", "text") for `both`."""
    if isinstance(modality, str):
        return (AUDIO.name, TEXT.name) if modality == BOTH else (modality,)
    return tuple(modality)


def modalities_in(modality: str | Sequence[str]) -> list[Modality]:
    """The modalities that `modality` stands for. Raises ValueError for an unknown one."""
    return [get_modality(name) for name in names_in(modality)]


def words_in(modalities: Sequence[Modality], last: str = "and") -> str:
    """`voice and words`, `voice, words and gaze`."""
    *first, end = [modality.word for modality in modalities]
    return f"{', '.join(first)} {last} {end}" if first else end


def modality_of(key: str) -> Modality | None:
    """The modality that an input of a model belongs to (`input_ids`, `audio_features` ...); None for other inputs."""
    return next((modality for modality in _REGISTRY.values() if key in modality.taken), None)


def load_modality_module(path: str | Path) -> str:
    """Runs a user's file that registers modalities, as a module beside this one. Returns the module's name.

    Raises as `own_files.load_own_file`.
    """
    return load_own_file(path, "modality_module")


__all__ = [
    "AUDIO",
    "BOTH",
    "EMPTY_TRANSCRIPT",
    "POOLINGS",
    "TEXT",
    "Modality",
    "beginning",
    "get_modality",
    "is_missing",
    "load_modality_module",
    "modalities_in",
    "modality_names",
    "modality_of",
    "names_in",
    "own_modalities",
    "pooled_sequence",
    "register_modality",
    "words_in",
]
