"""CSV and TSV as a table of text: whoever asks for a column decides what its text means.

No type is guessed: 01 is a code and not 1, NA a word and not nothing, 2024-05-01 a name and not a time. Only an empty
field is missing. The header says what stands between the fields, and a mark at the beginning which Unicode it is;
where that isn't what the file's name promises, it is noted. Any other encoding is refused: read with a wrong one,
words are other words, and nothing says so.
"""

import codecs
import csv
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from .names import spelling

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What a file of Unicode may begin with, and its encoding."""
_SAID = re.compile(r'"?sep=([,;|\t])"?', re.IGNORECASE)  # the line before the header that Excel reads and writes
_BEGINNING = 1 << 20
# A row with the features of all frames is megabytes long, and a block must hold at least one.
_BLOCK_BYTES = 1 << 26


def read_csv(file: Path) -> tuple[pa.Table, list[str]]:
    """A .csv or .tsv file, every column as strings, null for empty fields; blanks around the names in the header are
    no part of them. And notes on how it was read, where its name promises otherwise.

    Raises:
        ValueError: text that is no Unicode, no header, rows of another length, a quote that is never closed. OSError,
            where the file can't be read.
    """
    promised = "\t" if file.suffix.lower() == ".tsv" else ","
    encoding, separator, header, skipped = _beginning(file, promised)
    names = [f"f{i}" for i in range(len(header))]  # as Arrow counts columns without a header
    try:
        table = pa.csv.read_csv(
            file,
            pa.csv.ReadOptions(
                autogenerate_column_names=True, skip_rows=skipped, block_size=_BLOCK_BYTES, encoding=encoding
            ),
            pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid:
        if encoding == "utf-8":
            _check_encoding(file)
        raise
    _check_last_quote(file, table, encoding)
    notes = [f"{file.name} is in {encoding.upper()}"] if encoding != "utf-8" else []
    notes += [f"{file.name}: its columns are separated by {_SEPARATORS[separator]}"] if separator != promised else []
    return table.rename_columns([spelling(name) for name in header]).slice(1), notes


def _beginning(file: Path, promised: str) -> tuple[str, str, list[str], int]:
    """Encoding, separator, the names of the columns, and how many lines stand before them."""
    with file.open("rb") as opened:
        start = opened.read(_BEGINNING)
    encoding = next((name for mark, name in MARKS if start.startswith(mark)), "utf-8")
    text = start.decode(encoding, errors="replace").lstrip("\ufeff\r\n")
    first = text.splitlines()[0] if text else ""
    if "\0" in first:
        raise ValueError("it holds zero bytes, as UTF-16 without its mark does; save it as UTF-8")
    said = _SAID.fullmatch(first)
    if said is not None:
        text = text[len(first) :].lstrip("\r\n")
        return encoding, said[1], _header(text, said[1]), 1
    found = {sign: _header(text, sign) for sign in (promised, *_SEPARATORS)}
    # The promised one, unless the header is a single name with it and several with another.
    separator = next((sign for sign, names in found.items() if len(names) > 1), promised)
    if not any(name.strip() for name in found[separator]):
        raise ValueError("it has no first line with the names of its columns")
    return encoding, separator, found[separator], 0


def _header(text: str, separator: str) -> list[str]:
    return next(csv.reader(text.splitlines(keepends=True), delimiter=separator), [])


def _check_encoding(file: Path) -> None:
    """Raises ValueError that names the first line that isn't UTF-8."""
    with file.open("rb") as opened:
        for number, line in enumerate(opened, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                shown = line[max(0, error.start - 20) : error.end + 20]
                raise ValueError(
                    f"line {number} is not in UTF-8 ({shown!r}; is it Windows-1252 or Latin-1?); save it as UTF-8"
                ) from None


def _check_last_quote(file: Path, table: pa.Table, encoding: str) -> None:
    """An open quote takes in all that follows, and no reader of CSV but a strict one says so."""
    last = table.slice(table.num_rows - 1)
    torn = any("\n" in (value or "") for column in last.columns for value in column.to_pylist())
    if torn and file.read_text(encoding).count('"') % 2:
        raise ValueError("a quote in its last row is never closed; close it, or double it where it is meant as such")


__all__ = ["MARKS", "read_csv"]
