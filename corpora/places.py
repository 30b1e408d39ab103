"""Which files of a place are a corpus: its kind, its split, its shards; nothing is read but what says so."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .extraction_state import FAILED
from .extraction_state import JOB
from .folders import passed_over
from .folders import walked
from .spec import CorpusSpec

KINDS = (".parquet", ".arrow", ".jsonl", ".csv", ".tsv")
"""Endings of data files, in the order in which a folder is searched for them."""
TRIPLE = (".npy", ".lengths", ".emo")

_SPLITS = r"(train|test|validation|valid|val|dev|development|eval)([^a-z]|$)"
# What `datasets` leaves of `map` and `filter` beside the data.
_CACHE = re.compile(r"(cache-|tmp)[^.]*\.arrow")


class NotThere(InputError):
    """A corpus that can't be reached: no such place, or a Hub that doesn't answer or doesn't give it."""


@dataclass(frozen=True)
class SavedFolder:
    """What `save_to_disk` wrote.

    Args:
        files: its Arrow files, in order.
        features: what dataset_info.json says of the columns, by name; None where it says nothing.
    """

    files: list[Path]
    features: dict[str, Any] | None


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return any(os.path.isfile(path / name) for name in ("state.json", "dataset_dict.json"))


def saved_folder(spec: CorpusSpec, path: Path) -> SavedFolder:
    """The split's files of a folder that `save_to_disk` wrote.

    Raises:
        InputError: no such split, or a file of another shape than it writes.
    """
    if os.path.isfile(path / "dataset_dict.json"):
        splits = _of_shape(spec, path / "dataset_dict.json", "splits", list)
        if spec.split not in splits:
            raise InputError(
                f"corpus {spec.name}: cannot read {path}: no split {spec.split!r}; splits there: "
                f"{', '.join(map(str, splits))}"
            )
        path = path / spec.split
    state = path / "state.json"
    files = [_filename(spec, state, entry) for entry in _of_shape(spec, state, "_data_files", list)]
    info = path / "dataset_info.json"
    features = _of_shape(spec, info, "features", dict, None) if os.path.isfile(info) else None
    return SavedFolder([path / name for name in files], features)


def data_files(spec: CorpusSpec, path: Path) -> tuple[list[Path], list[str]]:
    """The file, or the folder's files of the first kind there is, of the split alone where names tell splits; and
    notes on files that are passed over.

    Raises:
        InputError: no file of a kind that can be read, or none of the split.
    """
    if os.path.isfile(path):
        if path.suffix.lower() not in KINDS:
            raise InputError(f"corpus {spec.name}: {path} is none of {', '.join(KINDS)}")
        return [path], _untold_split(spec, [path.name])
    there = [
        Path(parent, name)
        for parent, names in walked(path)
        for name in names
        if not (name == FAILED and JOB in names)  # of an extraction's folder: a list, and no data
    ]
    for kind in KINDS:
        files = sorted(file for file in there if file.suffix.lower() == kind and os.path.isfile(file))
        files = [file for file in files if not _CACHE.fullmatch(file.name)] or files
        if files:
            chosen, notes = _each_once(_of_split(spec, path, files))
            told = _untold_split(spec, [part for file in chosen for part in file.relative_to(path).parts])
            return chosen, told + notes + _other_kinds(there, kind)
    raise InputError(
        f"corpus {spec.name}: no data in {path}; expected a save_to_disk folder, files ending in "
        f"{', '.join(KINDS)}, or an emotion2vec triple ({', '.join(TRIPLE)})"
    )


def triple_prefix(spec: CorpusSpec, path: Path) -> Path | None:
    """The common beginning of the three emotion2vec files, where `path` is it, one of them, or their folder."""
    if os.path.isdir(path):
        found = sorted(file for file in path.glob("*.lengths") if not passed_over(file.name))
        path = found[0].with_suffix("") if len(found) == 1 else path / spec.split
    elif path.suffix in TRIPLE:
        path = path.with_suffix("")
    beside = triple_files(path)
    return path if all(map(os.path.isfile, beside)) else None


def triple_files(prefix: Path) -> list[Path]:
    """The three files, in the order of `TRIPLE`."""
    return [prefix.parent / (prefix.name + ending) for ending in TRIPLE]


def read_json(file: Path) -> Any:
    """The content of a JSON file. Raises OSError, or ValueError for what is no JSON or nested beyond all sense."""
    return parsed_json(file.read_text(encoding="utf-8"))


def parsed_json(text: str) -> Any:
    """What a text of JSON says. Raises ValueError for what is no JSON or nested beyond all sense."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _of_shape(spec: CorpusSpec, file: Path, key: str, kind: type, *or_else: None) -> Any:
    """The entry of an object in a JSON file, of its type or (where it may be missing) None."""
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise InputError(f"corpus {spec.name}: cannot read {file}: {error}") from error
    value = content.get(key) if isinstance(content, dict) else None
    if isinstance(value, kind) or (value is None and or_else and isinstance(content, dict)):
        return value
    raise InputError(
        f'corpus {spec.name}: {file} is not as save_to_disk writes it: no {kind.__name__} "{key}" in it; save the '
        "data set again, or name its files"
    )


def _filename(spec: CorpusSpec, state: Path, entry: Any) -> str:
    name = entry.get("filename") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not os.path.isfile(state.parent / name):
        raise InputError(
            f"corpus {spec.name}: {state} names the data file {name!r}, which isn't there: the folder is not whole; "
            "copy or save it again"
        )
    return name


def _each_once(files: list[Path]) -> tuple[list[Path], list[str]]:
    """The files without those that are links to others of them."""
    first: dict[str, Path] = {}
    for file in files:
        first.setdefault(os.path.realpath(file), file)
    linked = len(files) - len(first)
    return list(first.values()), [f"{linked} files are links to others of the corpus: read once"] if linked else []


def _other_kinds(there: list[Path], kind: str) -> list[str]:
    """What is said of data files that aren't read, as they are of another kind than those that are: who knows whether
    they hold the same rows or further ones."""
    other = [file for file in there if file.suffix.lower() in KINDS and file.suffix.lower() != kind]
    other = [file for file in other if not _CACHE.fullmatch(file.name)]
    if not other:
        return []
    more = f" and {len(other) - 1} more are" if len(other) > 1 else " is"
    return [f"{other[0].name}{more} passed over: of this folder the {kind} files are read; name a file to read it"]


def _of_split(spec: CorpusSpec, path: Path, files: list[Path]) -> list[Path]:
    """Those whose name, or a folder they lie in, begins with the split; all where no name tells of splits."""
    parts = {file: [part.lower() for part in file.relative_to(path).parts] for file in files}
    chosen = [file for file in files if any(part.startswith(spec.split.lower()) for part in parts[file])]
    other = sorted({part for file in files for part in parts[file] if re.match(_SPLITS, part)})
    if not chosen and other:
        raise InputError(
            f"corpus {spec.name}: {path} has no split {spec.split!r} (there is {', '.join(other)}); name one of its "
            'splits in the corpus\' "split", or give the file'
        )
    return chosen or files


def _untold_split(spec: CorpusSpec, names: list[str]) -> list[str]:
    """A note where another split than the usual one is asked for, and no name tells of it."""
    if spec.split == CorpusSpec.split or any(name.lower().startswith(spec.split.lower()) for name in names):
        return []
    return [f"split is {spec.split!r}, but no file name tells of splits: all rows are read"]


__all__ = [
    "KINDS",
    "TRIPLE",
    "NotThere",
    "SavedFolder",
    "data_files",
    "is_saved",
    "parsed_json",
    "read_json",
    "saved_folder",
]
__all__ += ["triple_files", "triple_prefix"]
