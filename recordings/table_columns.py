"""The columns beside extracted features: whatever a table says of its recordings, by the names of the schema."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from ..corpora.builtin import DEFAULT_COLUMNS
from ..corpora.names import spelled
from ..errors import InputError
from .tables import PATH_COLUMNS
from .tables import find_column

TEXTS = ("utterance_id", "speaker", "session", "label", "transcript", "gender", "style", "split")
NUMBERS = ("valence", "arousal", "dominance", "difficulty", "curriculum_order", "start", "end")
_SPELLED = ("speaker", "session", "label", "gender", "style", "split")

ABSOLUTE = r"^(?:file:/|[A-Za-z]:[\\/]|\\\\[^\\\s]|(?:~[\w.-]*)?/(?:[^/\s][^/]*/[^/\s]|[^/\s]+$))"
"""A path of this or another machine, as Arrow's and Python's regular expressions; not a word /in slashes/."""

_NAMES = {**DEFAULT_COLUMNS, "gender": ["gender", "sex"]}
# What the output has of its own; features that were there are replaced by those extracted.
_REPLACED = {"audio_notes", "seconds", *DEFAULT_COLUMNS["features"], *DEFAULT_COLUMNS["audio"]}


def schema_columns(raw: pa.Table, source: str) -> tuple[pa.Table, list[str]]:
    """What is known of the recordings: the schema's columns by its names and types, others as they are, and notes.

    Columns of another kind than text, numbers and truth values stay behind, and so do old features and paths of this
    machine, which are nobody else's.

    Args:
        source: where the table comes from, for messages.

    Raises:
        InputError: text where a number must be.
    """
    raw = raw.drop_columns([name for name in ("", "Unnamed: 0") if name in raw.column_names])  # pandas' row numbers
    for place, kind in enumerate(raw.schema.types):
        if pa.types.is_string_view(kind):
            raw = raw.set_column(place, raw.column_names[place], pc.cast(raw[place], pa.string()))
    left_out = [name for name in raw.column_names if name.lower() not in PATH_COLUMNS and _has_paths(raw, name)]
    raw = raw.drop_columns(left_out)
    used: dict[str, str] = {}
    columns: dict[str, pa.Array] = {}
    for role in (*TEXTS, *NUMBERS):
        name = find_column(raw, _NAMES.get(role, [role]))
        if name is not None:
            used[name] = role
            columns[role] = _numbers(raw[name], name, source) if role in NUMBERS else text(raw[name])
            if role in _SPELLED:
                columns[role] = spelled(columns[role])
    for name in raw.column_names:
        kind = raw.schema.field(name).type
        if name in used or name.lower() in PATH_COLUMNS:
            continue
        if name in _REPLACED or not is_plain(kind):
            left_out.append(name)
        elif name not in columns:
            columns[name] = text(raw[name]) if pa.types.is_null(kind) else raw[name]
    notes = [f"columns not taken along: {', '.join(left_out)}"] if left_out else []
    return pa.table(columns), notes


def label_and_speaker(table: pa.Table) -> tuple[str | None, str | None]:
    """The names that the columns of labels and speakers have; what trains has both."""
    return find_column(table, _NAMES["label"]), find_column(table, _NAMES["speaker"])


def text(column: pa.ChunkedArray) -> pa.Array:
    """As strings without blanks around them, null where nothing is left; whole numbers without a fraction, and null
    for those that aren't finite.
    """
    array = column.combine_chunks()
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    if pa.types.is_floating(array.type):
        array = pc.cast(array, pa.float32()) if pa.types.is_float16(array.type) else array
        array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type))
        whole = pc.and_(pc.equal(array, pc.floor(array)), pc.less(pc.abs(array), 2.0**53))
        array = pc.cast(array, pa.int64()) if pc.all(whole).as_py() else array
    array = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)


def _numbers(column: pa.ChunkedArray, name: str, source: str) -> pa.Array:
    array = column.combine_chunks()
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = text(column)
    try:
        return pc.cast(array, pa.float64())
    except pa.ArrowException as error:
        comma = re.search(r"'(-?\d+),(\d+)'", str(error))
        hint = f"; write {comma[1]}.{comma[2]} for {comma[1]},{comma[2]}" if comma else ""
        raise InputError(f"{source}: column {name} must hold numbers ({error}){hint}") from error


def is_plain(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    others = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in (*texts, *others))


def _has_paths(table: pa.Table, name: str) -> bool:
    """Whether a value of the column is an absolute path; never of the transcripts, which may begin with anything."""
    column = table[name]
    column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not is_text or name == find_column(table, _NAMES["transcript"]):
        return False
    return bool(pc.any(pc.match_substring_regex(pc.utf8_trim_whitespace(column), ABSOLUTE)).as_py())


__all__ = ["ABSOLUTE", "NUMBERS", "TEXTS", "is_plain", "label_and_speaker", "schema_columns", "text"]
