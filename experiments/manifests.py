"""Reads manifests: files that put each utterance into a part of each fold.

A table (csv, tsv, jsonl or parquet) has a row for each utterance and fold:

```
utterance_id,fold,part
03a01Fa,1,train
03a01Wa,1,test
```

`fold` may be left out where there is one; `corpus` says whose the utterance is, where several corpora have ids alike.

A folder has the fold files of EmoBox, as they lie in a copy of its `data/<corpus>`:

```
fold_1/emodb_train_fold_1.jsonl     {"key": "emodb-03a02Wb", "dataset": "emodb", "wav": "downloads/...Wb.wav", ...}
fold_1/emodb_test_fold_1.jsonl      and for some corpora a valid one
```

Its keys hold the utterance ids behind the name of the data set; where a corpus has other ids, they are looked for
under the names of the recordings.
"""

import re
from pathlib import Path
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from ..corpora.names import as_text
from ..corpora.names import same_column
from ..corpora.tables import open_data_file
from ..errors import InputError
from ..evaluation.given_protocols import part_of
from ..evaluation.protocols import ManifestRow
from ..evaluation.protocols import natural_key

_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
_COLUMNS = {
    "utterance_id": ("utterance_id", "utterance", "utt_id", "id", "key", "file", "filename"),
    "fold": ("fold", "folds"),
    "part": ("part", "split", "partition", "subset", "set"),
    "corpus": ("corpus",),
}
_RECORDING = ("wav", "audio", "path")
_FOLD_FOLDER = re.compile(r"fold[ _-]?([0-9]+)", re.IGNORECASE)


def read_manifest(path: str | Path) -> list[ManifestRow]:
    """What a manifest says, utterance by utterance, in the order of its folds.

    Raises:
        InputError: nothing there, not readable, a column or a file that is missing, a row without id, fold or part.
    """
    place = Path(path)
    if place.is_dir():
        return _of_folder(place)
    if not place.is_file():
        raise InputError(f"manifest: there is no {place}")
    if place.suffix.lower() not in _ENDINGS:
        raise InputError(f"manifest {place}: must be a {', '.join(_ENDINGS)} file, or a folder of EmoBox's fold files")
    table = _table(place)
    columns = {role: _column(table, names) for role, names in _COLUMNS.items()}
    for role in ("utterance_id", "part"):
        if columns[role] is None:
            raise InputError(
                f"manifest {place}: no column {role} (tried {', '.join(_COLUMNS[role])}); columns there: "
                f"{', '.join(table.column_names)}"
            )
    told = {role: _texts(place, table, name) for role, name in columns.items()}
    found = []
    for number in range(table.num_rows):
        where = f"{place}, row {number + 1}"
        row = {role: values[number] for role, values in told.items() if values is not None}
        for role, value in row.items():
            if value is None and role != "corpus":
                raise InputError(f"manifest {where}: no {columns[role]}; each row needs one")
        found.append(
            ManifestRow(
                (str(row["utterance_id"]),), row.get("corpus") or "", str(row.get("fold", "1")), row["part"], where
            )
        )
    if not found:
        raise InputError(f"manifest {place}: it has no rows")
    return found


def _of_folder(folder: Path) -> list[ManifestRow]:
    """The fold files of EmoBox."""
    folds = {int(named[1]): place for place in folder.iterdir() if (named := _FOLD_FOLDER.fullmatch(place.name))}
    if not folds:
        raise InputError(f"manifest {folder}: no folders fold_1, fold_2, ... in it, as EmoBox has them")
    lacking = sorted(set(range(1, max(folds) + 1)) - set(folds))
    if lacking:
        raise InputError(f"manifest {folder}: fold_{lacking[0]} is missing, but there is fold_{max(folds)}")
    found = []
    for number, place in sorted(folds.items()):
        files = _fold_files(place, number)
        for part in ("train", "test"):
            if not any(each.startswith(part) for each in files):
                raise InputError(
                    f"manifest {place}: no {part} file (a .jsonl file with {part} in its name); the copy of EmoBox is "
                    "not complete"
                )
        for part, file in sorted(files.items(), key=lambda each: natural_key(each[0])):
            found += _of_file(file, str(number), part)
    return found


def _fold_files(place: Path, number: int) -> dict[str, Path]:
    """The file of each part of a fold; of two of one part, that which is named as EmoBox' others are."""
    files: dict[str, Path] = {}
    if not place.is_dir():
        raise InputError(f"manifest {place}: is no folder")
    for file in sorted(place.iterdir()):
        if file.suffix.lower() != ".jsonl":
            continue
        parts = {part for word in re.split(r"[_.-]", file.stem) if (part := part_of(word)) is not None}
        if len(parts) != 1:
            continue
        (part,) = parts
        usual = file.stem.lower().endswith(f"_{part}_fold_{number}")
        if part not in files or usual:
            files[part] = file
    return files


def _of_file(file: Path, fold: str, part: str) -> list[ManifestRow]:
    table = _table(file)
    keys = _column(table, ("key", *_COLUMNS["utterance_id"]))
    if keys is None:
        raise InputError(f"manifest {file}: no column key; columns there: {', '.join(table.column_names)}")
    recording = _column(table, _RECORDING)
    ids, sets = _texts(file, table, keys), _texts(file, table, _column(table, ("dataset",)))
    places = _texts(file, table, recording)
    found = []
    for number, key in enumerate(ids):
        where = f"{file}, line {number + 1}"
        if not key:
            raise InputError(f"manifest {where}: no key; each line needs one")
        names = [key]
        if sets is not None and sets[number] and key.startswith(f"{sets[number]}-"):
            names.insert(0, key.removeprefix(f"{sets[number]}-"))
        if places is not None and places[number]:
            names.append(PurePosixPath(places[number].replace("\\", "/")).stem)
        found.append(ManifestRow(tuple(dict.fromkeys(names)), "", fold, part, where))
    if not found:
        raise InputError(f"manifest {file}: it has no rows")
    return found


def _table(file: Path) -> pa.Table:
    try:
        opened = open_data_file(file)
        wanted = {same_column(name) for names in (*_COLUMNS.values(), _RECORDING, ("dataset",)) for name in names}
        return opened.table([name for name in opened.columns if same_column(name) in wanted])
    except Exception as error:  # of any kind that Arrow or a codec has for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"manifest {file}: can't be read ({reason})") from error


def _column(table: pa.Table, names: tuple[str, ...]) -> str | None:
    """The column of the first of these names that is there, whatever its case."""
    there = {same_column(name): name for name in reversed(table.column_names)}
    return next((there[name] for name in names if name in there), None)


def _texts(file: Path, table: pa.Table, name: str | None) -> list[Any] | None:
    """(n,) text of a column, None where there is nothing."""
    if name is None:
        return None
    try:
        return [value.strip() or None if value is not None else None for value in as_text(table[name]).to_pylist()]
    except (ValueError, pa.ArrowException) as error:
        raise InputError(f"manifest {file}: column {name}: {error}") from error


__all__ = ["read_manifest"]
