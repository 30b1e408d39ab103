"""The corpora's own release folders, exactly as the labs ship them, into rows."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from ...errors import InputError
from ..shared_labels import FOUR
from ..shared_labels import shared_classes
from . import iemocap
from . import meld
from . import msp_improv
from . import msp_podcast
from .file_names import kind_by_names
from .layouts import LAYOUTS
from .release import Release as Release
from .release import passed_over

PARSERS: dict[str, ModuleType] = {parser.CORPUS: parser for parser in (iemocap, msp_improv, msp_podcast, meld)}
RECOGNISED = {
    "IEMO": "IEMOCAP_full_release (Session1/dialog/EmoEvaluation/)",
    "MSPI": "MSP-IMPROV (Evalution.txt)",
    "MSPP": "MSP-Podcast (Labels/labels_consensus.csv)",
    "MELD": f"MELD ({meld.EXAMPLE})",
    **{name: layout.said for name, layout in LAYOUTS.items()},
}
"""Corpus -> what its release folder looks like, of all that are known."""

# IEMOCAP's happy has excited merged into it: the 5531 utterances that most papers report on (neutral 1708, happy 595 +
# excited 1041, sad 1084, anger 1103).
MERGED: dict[str, dict[str, str]] = {"IEMO": {"excited": "happy"}}


def release_labels(corpus: str) -> list[str]:
    """All labels that rows of a release can have.

    Raises:
        InputError: another corpus.
    """
    if corpus in PARSERS:
        return list(PARSERS[corpus].LABELS.values())
    if corpus in LAYOUTS:
        return list(dict.fromkeys(LAYOUTS[corpus].labels.values()))
    raise InputError(f"corpus {corpus!r} is none of {', '.join(RECOGNISED)}")


def four_classes(corpus: str, merge_excited: bool = True) -> tuple[dict[str, str], list[str]]:
    """The usual four classes of a corpus, as `CorpusSpec` takes them.

    Args:
        corpus: of those whose releases are known.
        merge_excited: whether excited counts as happy; else it is left out. It is IEMOCAP's alone.

    Returns:
        `label_map`, {raw label: class}, and `dropped_labels`, the raw labels that are left out.

    Raises:
        InputError: another corpus.
    """
    merged = MERGED.get(corpus, {}) if merge_excited else {}
    _, label_map, dropped = shared_classes(release_labels(corpus), FOUR, merged)
    return label_map, dropped


def release_kind(folder: Path | str) -> str | None:
    """Which corpus `folder` is or holds, by its characteristic files or the names of its recordings; None where it is
    none.

    Raises:
        InputError: no such folder, or several releases in it.
    """
    found = _located(Path(folder))
    return None if found is None else found[0]


def holds_release(folder: Path | str, corpus: str) -> bool:
    """Whether anything below `folder` is of the release of that corpus."""
    path = Path(folder).expanduser()
    if corpus in LAYOUTS:
        return LAYOUTS[corpus].has(path)
    return bool(meld.tables(path)) if corpus == meld.CORPUS else release_kind(path) == corpus


def read_release(folder: Path | str, corpus: str = "") -> Release:
    """Reads a release folder, or the one that lies in `folder` up to two levels down.

    Args:
        corpus: which one it is, where that is known; of a corpus whose file names tell all, everything below `folder`
            that is named so is read.

    Raises:
        InputError: no such folder, none or several releases in it; whatever is wrong in the release's own files, with
            file, line and value.
    """
    path = Path(os.path.abspath(Path(folder).expanduser()))
    if path.is_dir() and corpus in LAYOUTS:
        return replace(LAYOUTS[corpus].read(path), folder=path)
    if path.is_dir() and corpus == meld.CORPUS:
        return replace(meld.read(path), folder=path)
    found = _located(path)
    if found is None:
        above = [name for name, parser in PARSERS.items() if parser.is_release(path.parent)]
        hint = f". It is part of {RECOGNISED[above[0]]}: name {path.parent}" if above else ""
        raise InputError(f"{folder} is no release folder that is known: {'; '.join(RECOGNISED.values())}{hint}")
    corpus, path = found
    read = LAYOUTS[corpus].read if corpus in LAYOUTS else PARSERS[corpus].read
    return replace(read(path), folder=path)


def _located(folder: Path) -> tuple[str, Path] | None:
    """(corpus, release folder): `folder` itself, else what lies one level down, else two; else the whole, where its
    recordings are named as a corpus' are."""
    path = Path(os.path.abspath(folder.expanduser()))
    if not path.is_dir():
        raise InputError(f"there is no folder {path}; name one of {'; '.join(RECOGNISED.values())}")
    level = [path]
    for _ in range(3):
        found = [(corpus, place) for place in level for corpus, parser in PARSERS.items() if parser.is_release(place)]
        if len(found) > 1:
            raise InputError(f"{path} holds several releases; name one: {', '.join(str(place) for _, place in found)}")
        if found:
            return found[0]
        level = [inner for place in level for inner in _folders(place)]
    named = kind_by_names(path, LAYOUTS)
    return None if named is None else (named, path)


def _folders(folder: Path) -> Iterator[Path]:
    """The folders in `folder` that can be read, by name; those passed over aside."""
    try:
        with os.scandir(folder) as inside:
            names = sorted(entry.name for entry in inside if entry.is_dir() and not passed_over(entry.name))
    except OSError:  # not ours to read: no release of the user's
        return
    yield from (folder / name for name in names)
