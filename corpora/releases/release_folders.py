"""IEMOCAP's, MSP-IMPROV's and MSP-Podcast's own release folders, exactly as the labs ship them, into rows."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ...errors import InputError
from . import iemocap
from . import msp_improv
from . import msp_podcast
from .release import Release as Release
from .release import passed_over

PARSERS: dict[str, ModuleType] = {parser.CORPUS: parser for parser in (iemocap, msp_improv, msp_podcast)}
RECOGNISED = {
    "IEMO": "IEMOCAP_full_release (Session1/dialog/EmoEvaluation/)",
    "MSPI": "MSP-IMPROV (Evalution.txt)",
    "MSPP": "MSP-Podcast (Labels/labels_consensus.csv)",
}

# The usual four classes. IEMOCAP's has excited merged into happy: the 5531 utterances that most papers report on
# (neutral 1708, happy 595 + excited 1041, sad 1084, anger 1103).
_FOUR = {"neutral": "neutral", "happy": "happy", "sad": "sad", "anger": "anger"}
LABEL_MAPS: dict[str, dict[str, str]] = {"IEMO": {**_FOUR, "excited": "happy"}, "MSPI": _FOUR, "MSPP": _FOUR}


def four_classes(corpus: str, merge_excited: bool = True) -> tuple[dict[str, str], list[str]]:
    """The usual four classes of a corpus, as `CorpusSpec` takes them.

    Args:
        corpus: IEMO, MSPI or MSPP.
        merge_excited: whether excited counts as happy; else it is left out. It occurs in IEMOCAP alone.

    Returns:
        `label_map`, {raw label: class}, and `dropped_labels`, the raw labels that are left out.

    Raises:
        InputError: another corpus.
    """
    if corpus not in LABEL_MAPS:
        raise InputError(f"corpus {corpus!r} is none of {', '.join(LABEL_MAPS)}")
    raw = PARSERS[corpus].LABELS.values()
    label_map = {label: name for label, name in LABEL_MAPS[corpus].items() if merge_excited or label != "excited"}
    return label_map, [label for label in raw if label not in label_map]


def release_kind(folder: Path | str) -> str | None:
    """Which corpus `folder` is or holds, by its characteristic files: IEMO, MSPI or MSPP; None where it is none.

    Raises:
        InputError: no such folder, or several releases in it.
    """
    found = _located(Path(folder))
    return None if found is None else found[0]


def read_release(folder: Path | str) -> Release:
    """Reads a release folder, or the one that lies in `folder` up to two levels down.

    Raises:
        InputError: no such folder, none or several releases in it; whatever is wrong in the release's own files, with
            file, line and value.
    """
    found = _located(Path(folder))
    if found is None:
        path = Path(os.path.abspath(Path(folder).expanduser()))
        above = [name for name, parser in PARSERS.items() if parser.is_release(path.parent)]
        hint = f". It is part of {RECOGNISED[above[0]]}: name {path.parent}" if above else ""
        raise InputError(f"{folder} is no release folder that is known: {'; '.join(RECOGNISED.values())}{hint}")
    corpus, path = found
    return PARSERS[corpus].read(path)


def _located(folder: Path) -> tuple[str, Path] | None:
    """(corpus, release folder): `folder` itself, else what lies one level down, else two."""
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
    return None


def _folders(folder: Path) -> Iterator[Path]:
    """The folders in `folder` that can be read, by name; those passed over aside."""
    try:
        with os.scandir(folder) as inside:
            names = sorted(entry.name for entry in inside if entry.is_dir() and not passed_over(entry.name))
    except OSError:  # not ours to read: no release of the user's
        return
    yield from (folder / name for name in names)
