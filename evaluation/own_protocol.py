"""What a user's own protocol answers: asked twice, and refused where it is no list of folds."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..registry import Entry
from ..registry import in_a_line
from .protocols import ProtocolRows
from .protocols import Split


def asked(entry: Entry, rows: ProtocolRows, name: str) -> list[Split]:
    """The folds of the protocol `name`.

    Raises InputError where it fails, gives what are no folds, or gives others when asked a second time.
    """
    where, rows = f"protocol {name!r} ({entry.file})", rows.as_arrays()
    first, again = (_answer(entry, rows, name, where) for _ in range(2))
    if list(map(_sign, first)) != list(map(_sign, again)):
        raise InputError(
            f"{where} gave other folds when it was asked a second time: what it draws must follow from rows.seed"
        )
    _check_names(where, first)
    return first


def _answer(entry: Entry, rows: ProtocolRows, name: str, where: str) -> list[Split]:
    try:
        given = entry.function(rows)
        # A generator fails while it is read.
        splits = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else given
    except Exception as error:
        raise InputError(f"protocol {name!r}: {in_a_line(error, entry.file)}") from error
    odd = [split for split in splits if not isinstance(split, Split)] if isinstance(splits, list) else [given]
    if odd or not splits:
        shown = f"gave {' '.join(repr(odd[0]).split())[:60]}" if odd else "gave no folds"
        raise InputError(f"{where} {shown}: it must give its folds, each a Split, at least one")
    return splits


def _sign(split: Split) -> tuple:
    """What must be the same when the protocol is asked again."""
    tests = split.test if isinstance(split.test, Mapping) else {"": split.test}
    parts = [_array(part) for part in (split.train, split.validation, *tests.values())]
    return (
        *tests,
        split.name,
        split.description,
        split.chosen_on,
        *(None if part is None else part.tobytes() for part in parts),
    )


def _array(given: Any) -> np.ndarray | None:
    """Rows as an array; None for what can't be rows."""
    if not isinstance(given, np.ndarray | list | tuple | range):
        return None
    try:
        found = np.asarray(given)
    except (ValueError, OverflowError):  # lists of different lengths, numbers that are too large
        return None
    return None if found.dtype.kind == "O" else found


def _check_names(where: str, splits: Sequence[Split]) -> None:
    names = [split.name for split in splits]
    for split in splits:
        for field in ("name", "description", "chosen_on"):
            text = getattr(split, field)
            if not isinstance(text, str) or (field == "name" and not text.strip()):
                raise InputError(f"{where} gave a fold the {field} {text!r}: it must be a text")
        if names.count(split.name) > 1:
            raise InputError(f"{where} gave two folds the name {split.name!r}: it names the folder of their runs")
    lacking = [split.name for split in splits if split.validation is None]
    if 0 < len(lacking) < len(splits):
        raise InputError(
            f"{where} names validation rows, but not in fold {lacking[0]!r}: name them in every fold, or in none"
        )


def as_mask(where: str, part: str, given: Any, count: int) -> np.ndarray:
    """Rows of a `Split`, numbers or a mask, as (count,) bool. Raises InputError for what are no rows."""
    right = f"it must be row numbers from 0 to {count - 1}, each once, or a mask of {count}"
    rows = _array(given)
    if rows is not None and rows.shape == (count,) and rows.dtype.kind == "b":
        return rows
    mask = np.zeros(count, dtype=bool)
    if rows is not None and rows.shape == (0,):
        return mask
    if rows is None or rows.ndim != 1 or rows.dtype.kind not in "iu":
        shown = " ".join(repr(given).split())[:60] if rows is None else f"{rows.dtype} {rows.shape}"
        raise InputError(f"{where} has {part} rows that are {shown}: {right}")
    if rows.min() < 0 or rows.max() >= count:
        wrong = rows.min() if rows.min() < 0 else rows.max()
        raise InputError(f"{where} has the {part} row {wrong}, which is not among the {count} rows: {right}")
    twice = np.flatnonzero(np.bincount(rows.astype(np.int64)) > 1)
    if len(twice):
        raise InputError(f"{where} has the {part} row {twice[0]} more than once: {right}")
    mask[rows] = True
    return mask


__all__ = ["as_mask", "asked"]
