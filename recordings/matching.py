"""Which row of a table tells of which file: by name, where that is certain, however the name is written."""

import os
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from pathlib import PurePosixPath

import pyarrow as pa

from ..corpora.names import spelling
from ..errors import InputError
from .table_columns import label_and_speaker
from .tables import PATH_COLUMNS
from .tables import find_column
from .tables import paths_of


def joined(folder: Path, files: list[str], table: pa.Table, beside: Path) -> tuple[list[str], pa.Table, list[str]]:
    """The files of a folder with the rows of the table beside them.

    Where the table tells labels and speakers, files that it doesn't name are left out: nothing trains on them, and
    with them nothing would train. Else they stay, with nothing known of them.

    Args:
        folder: that `files` are relative to.
        files: as on the disk, with slashes.
        table: with a column of paths, names or utterance ids.
        beside: the table's file.

    Returns the files that stay, the table's columns for each of them with `file` as the last, and notes.

    Raises:
        InputError: no such column; a file's row is there twice; the table names none of the files.
    """
    key = find_column(table, (*PATH_COLUMNS, "utterance_id"))
    if key is None:
        raise InputError(f"{beside} needs a column {', '.join(PATH_COLUMNS)} or utterance_id, to find a file's row")
    told = paths_of(table, key)
    rows = _rows_of(folder, files, told, f"{beside}: {key}")
    if not rows:
        raise InputError(_nothing_matches(files, told, beside, key))
    lacking, used = [file for file in files if file not in rows], set(rows.values())
    unused = [name for row, name in enumerate(told) if row not in used]
    trains = all(name is not None for name in label_and_speaker(table))
    notes = []
    if lacking:
        out = f", and are left out; an empty label in {beside.name} takes them in" if trains else ""
        notes.append(f"{len(lacking)} of {len(files)} recordings are not in {beside.name} (such as {lacking[0]}){out}")
    if unused:
        notes.append(f"{len(unused)} rows of {beside.name} have no recording (such as {unused[0]!r})")
    rest = [name for name in table.column_names if name.lower() not in PATH_COLUMNS]
    if lacking and trains:
        files = [file for file in files if file in rows]
    elif lacking and "utterance_id" in rest:  # an id for all or none
        rest.remove("utterance_id")
    taken = table.select(rest).take(pa.array([rows.get(file) for file in files], pa.int64()))
    return files, taken.append_column("file", pa.array(files)), notes


def _rows_of(folder: Path, files: list[str], told: list[str], where: str) -> dict[str, int]:
    """{file: the row that names it}; each row names a file at most."""
    find = _finder(folder, files)
    rows: dict[str, int] = {}
    for row, name in enumerate(told):
        file = find(name)
        if file is None:
            continue
        if file in rows:
            also = "" if told[rows[file]] == name else f" as {told[rows[file]]!r}"
            raise InputError(f"{where} {name!r} is given twice{also}; a file's row must be there once")
        rows[file] = row
    return rows


def _finder(folder: Path, files: list[str]) -> Callable[[str], str | None]:
    """What finds the file that a name in the table means, None where none or more than one could be meant.

    A name may lack the ending or the folders above, may have backslashes or the other Unicode form, and may begin
    with the way to `folder`, on whatever machine, so that it ends in the folder's own name.
    """
    exact = set(files)
    whole = _unique((form, file) for file in files for form in _forms(file))
    ends = _unique((end, file) for file in files for form in _forms(file) for end in _ends(form))
    above = {spelling(folder.name), spelling(folder.resolve().name)} - {""}

    def find(name: str) -> str | None:
        if name in exact:
            return name
        if os.path.isabs(name) and os.path.exists(name):
            real = os.path.relpath(os.path.realpath(name), os.path.realpath(folder))
            return real if real in exact else None
        path = _spelled(name)
        parts = path.split("/")
        below = ["/".join(parts[place + 1 :]) for place in reversed(range(len(parts) - 1)) if parts[place] in above]
        found = [whole.get(path), ends.get(path), *(whole.get(each) for each in below if ".." not in parts)]
        return next((file for file in found if file), None)

    return find


def _spelled(name: str) -> str:
    """A path in one spelling: slashes, composed characters, no `./` before it."""
    parts = (spelling(part) for part in name.replace("\\", "/").split("/"))
    return "/".join(part for place, part in enumerate(parts) if part not in ("", ".") or (place == 0 and not part))


def _forms(file: str) -> list[str]:
    """A file's path with its ending and without."""
    path = _spelled(file)
    return [path, PurePosixPath(path).with_suffix("").as_posix()]


def _ends(path: str) -> list[str]:
    """a/b/c, b/c and c."""
    parts = path.split("/")
    return ["/".join(parts[first:]) for first in range(len(parts))]


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """{key: file}; "" for keys that several files have."""
    found: dict[str, str] = {}
    for key, file in pairs:
        found[key] = file if found.get(key, file) == file else ""
    return found


def _nothing_matches(files: list[str], told: list[str], beside: Path, key: str) -> str:
    folded = {_spelled(file).casefold(): file for file in files}
    alike = next((name for name in told if _spelled(name).casefold() in folded), None)
    name, file = (told[0], files[0]) if alike is None else (alike, folded[_spelled(alike).casefold()])
    why = "" if alike is None else ", in other capitals"
    return (
        f"{beside} names none of the {len(files)} recordings: its column {key!r} has {name!r}, and the folder has "
        f"{file!r}{why}. Write the names as they lie in the folder"
    )


__all__ = ["joined"]
