"""Labels of different corpora as one set of classes: which label of which corpus means the same.

`SHARED` is the table. The built-in release corpora are mapped by it, and a recipe asks for it by `classes` in a
corpus: `"four"` (neutral, happy, sad, anger: what most papers on several corpora report), `"all"` (each label that the
corpus has, by its shared name), or a list of shared names, for several corpora that are trained on or tested together.
A `label_map` beside it has the last word, label by label: `{"classes": "four", "label_map": {"calm": "neutral"}}`.

Nothing is merged that the corpora tell apart: calm isn't neutral, excited isn't happy, anxious isn't fear, but where
a label map says so (IEMOCAP's excited counts as happy by default, as in most papers).
"""

from collections.abc import Iterable
from collections.abc import Mapping

from ..errors import InputError
from ..errors import nearest
from .names import spelling

FOUR = ["neutral", "happy", "sad", "anger"]
"""The usual four classes."""

SHARED: dict[str, tuple[str, ...]] = {
    "neutral": ("neutral", "neutrality", "neu"),
    "happy": ("happy", "happiness", "joy", "hap"),
    "sad": ("sad", "sadness"),
    "anger": ("anger", "angry", "ang"),
    "fear": ("fear", "fearful", "fea"),
    "disgust": ("disgust", "disgusted", "dis"),
    "surprise": ("surprise", "surprised", "pleasant surprise", "sur"),
    "calm": ("calm", "calmness"),
    "boredom": ("boredom", "bored"),
    "contempt": ("contempt", "contemptuous"),
    "excited": ("excited", "excitement", "exc"),
    "frustration": ("frustration", "frustrated", "fru"),
    "anxious": ("anxious", "anxiety"),
    "apologetic": ("apologetic", "apology"),
    "assertive": ("assertive", "assertiveness"),
    "concerned": ("concerned", "concern"),
    "encouraging": ("encouraging", "encouragement"),
    "enthusiastic": ("enthusiastic", "enthusiasm"),
    "sarcastic": ("sarcastic", "sarcasm"),
}
"""Shared name -> what corpora call it; a label that is none of them is its own name."""

NO_CLASS = frozenset({"other", "no agreement", "xxx", "oth", "unknown", "poker"})
"""Labels that are no emotion: `"all"` leaves them out."""

_NAMES = {raw: name for name, raws in SHARED.items() for raw in raws}


def shared_name(label: str) -> str:
    """The shared name of a corpus' label, whatever its case."""
    label = spelling(label)
    return _NAMES.get(label.casefold(), label)


def shared_classes(
    labels: Iterable[str], classes: str | list[str], merged: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, str], list[str]]:
    """A corpus' labels as shared classes.

    Args:
        labels: all labels that the corpus can have.
        classes: `"four"`, `"all"`, or shared names.
        merged: label -> class, where the corpus' own map counts it as another than its shared name; it holds where
            that class is asked for and the shared name isn't.

    Returns:
        The classes, those of a list as listed, else those that the corpus has; {label: class}; the labels left out.

    Raises:
        InputError: a class that no corpus has, or fewer than two.
    """
    labels, merged = list(dict.fromkeys(map(spelling, labels))), dict(merged or {})
    present = [shared_name(merged[label] if label.isdecimal() and label in merged else label) for label in labels]
    order = [*SHARED, *(name for name in present if name not in SHARED)]
    if classes == "all":
        asked = [name for name in order if name in present and name not in NO_CLASS]
    elif classes == "four":
        asked = [name for name in FOUR if name in present]
    else:
        asked = _listed(classes, order)
    label_map = {}
    for label, name in zip(labels, present, strict=True):
        meant = name if name in asked else merged.get(label)
        if meant in asked:
            label_map[label] = meant
    ordered = dict(sorted(label_map.items(), key=lambda pair: asked.index(pair[1])))
    return asked, ordered, [label for label in labels if label not in ordered]


def _listed(classes: str | list[str], order: list[str]) -> list[str]:
    right = '"four", "all", or a list of shared names'
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InputError(f"classes is {classes!r}; it must be {right}")
    asked = [spelling(name) for name in classes]
    for name in asked:
        if name not in order:
            raise InputError(f"classes: {name!r} is no shared name;{nearest(name, order)} known: {', '.join(order)}")
    if len(set(asked)) < max(2, len(asked)):
        raise InputError(f"classes is {classes!r}; it must be {right}, at least two, each once")
    return asked


__all__ = ["FOUR", "NO_CLASS", "SHARED", "shared_classes", "shared_name"]
