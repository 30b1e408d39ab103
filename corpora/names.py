"""When two names are one: the spelling of speakers, sessions, labels and columns, in one place.

A name read from a file stands for a person, a session, a class or a column, and the same one can come in other bytes:
with a blank or a no-break space around it, with a zero-width space or a byte order mark that nobody sees, with an
accent that is a character of its own, as 7.0 where a table has gaps. Taken as two, such a speaker is trained on and
tested. So names are never compared as they were read, but as they are spelled here:

- Unicode's composed form (NFC);
- without characters that show nothing: zero-width, direction and control characters, soft hyphens;
- blanks of every kind are one plain space, none at either end;
- a whole number has no fraction: 7.0 is 7.

Everything else tells names apart: capitals, leading zeros (007 is not 7: they are codes), separators. Those that
differ in that alone are `look_alikes`, which are worth a note and not a decision.

How to use it: `spelling(text)` for one name, `spelled(column)` for an Arrow column of names of any type (text,
numbers, categories), which is null where nothing is left; `same_column(name)` for the names of columns, which are the
same whatever their case too. Spell what is read before it is compared, stored or counted, and keep the spelled form:
then `==`, sets and `np.unique` are right everywhere below. Utterance ids, transcripts and paths are no names: they
stay as they are.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Unicode's Default_Ignorable_Code_Point, and control characters that are no blanks.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_WHOLE = re.compile(r"([+-]?[0-9]+)\.0+")
# Whole numbers that float64 holds exactly.
_EXACT = 2.0**53


def spelling(name: str) -> str:
    """The name as it is compared and shown; "" where it shows nothing."""
    seen = " ".join(unicodedata.normalize("NFC", _UNSEEN.sub("", name)).split())
    whole = _WHOLE.fullmatch(seen)
    return whole[1] if whole else seen


def same_column(name: str) -> str:
    """The form in which names of columns are compared: spelled, and whatever their case."""
    return spelling(name).casefold()


def spelled(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column of names, (n,) strings as `spelling` has them; null where there is none.

    Raises:
        ValueError: lists, structs or bytes, or an infinite number.
    """
    encoded = as_text(column).dictionary_encode()
    names = [spelling(name) or None for name in encoded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(encoded.indices)


def as_text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column of text, numbers or categories as (n,) strings: whole numbers without a fraction, null for NaN.

    Raises:
        ValueError: lists, structs or bytes, or an infinite number.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise ValueError(f"it holds {kind}, and must hold text or numbers")
    if pa.types.is_floating(kind):
        numbers = pc.cast(array, pa.float64())
        numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
        if pc.any(pc.is_inf(numbers)).as_py():
            raise ValueError("it holds an infinite number")
        whole = pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less(pc.abs(numbers), _EXACT))
        if pc.all(whole).as_py():
            array = pc.cast(numbers, pa.int64())
        else:
            array = pc.if_else(pc.is_null(numbers), pa.scalar(None, kind), array)
    return pc.cast(array, pa.string())


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that a reader could take for one: they differ in capitals, leading zeros, separators
    or compatibility characters (full-width digits) alone. Each group sorted, the groups in order."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        plain = unicodedata.normalize("NFKC", name).casefold()
        plain = re.sub(r"[\s_.-]+", " ", plain)
        groups[re.sub(r"(?<![0-9])0+(?=[0-9])", "", plain)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def names_or_presence(column: pa.ChunkedArray) -> pa.Array:
    """Names as they are spelled; of lists, structs and bytes "" alone, or null where they are missing."""
    kind = column.type
    if not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or isinstance(kind, pa.BaseExtensionType)):
        return spelled(column)
    return pa.array([""] * len(column), mask=column.is_null().to_numpy())


def texts(names: pa.Array) -> np.ndarray:
    """(n,) strings, "" where there is none."""
    return pc.fill_null(names, "").to_numpy(zero_copy_only=False).astype(str)


__all__ = ["as_text", "look_alikes", "names_or_presence", "same_column", "spelled", "spelling", "texts"]
