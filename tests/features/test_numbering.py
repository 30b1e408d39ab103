"""Rows that hold the same have the same number, and Arrow's way to it gives what Python's gives."""

import numpy as np
import pytest

from emomm.features import numbering
from emomm.features.numbering import missing_words
from emomm.features.numbering import numbered_ids
from emomm.features.numbering import numbered_words
from emomm.features.numbering import plain_id
from emomm.features.numbering import plain_words
from emomm.modalities import is_missing

SAID = [
    "Hello, world!", "hello world", " [EMPTY]\t", "", "  ", "HELLO  WORLD", "Straße", "STRASSE", "it's 5", "Its5",
    "?!", "\x1c", "[EMPTY]!", "a_b", "A_B", "Ａ\u00a0b", "a b", "\u2003", "x\ny",
]  # fmt: skip
IDS = ["a/B.WAV", "b", "c\\b.wav", "B.wav.flac", "É.wav", "é", "", "x/y/", "b.wavs", "b.mp4"]


def by_hand(values):
    known = {}
    return [-1 if each is None else known.setdefault(each, len(known)) for each in values]


@pytest.mark.parametrize("piece", [1, 3, 1 << 14])
def test_words_and_ids_are_numbered_as_one_by_one(monkeypatch, piece):
    monkeypatch.setattr("emomm.text_columns._PIECE", piece)
    words = [None if is_missing(text) else plain_words(text) or None for text in SAID]
    assert numbered_words(SAID * 2).tolist() == by_hand(words * 2)
    assert missing_words(SAID).tolist() == list(map(is_missing, SAID))
    assert numbered_ids(np.array(IDS * 2)).tolist() == by_hand([plain_id(name) for name in IDS * 2])


def test_the_first_of_the_rows_that_are_the_same():
    rng = np.random.default_rng(0)
    columns = [rng.integers(3, size=200).astype(np.uint64) for _ in range(3)]
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    first = {row: rows.index(row) for row in rows}
    assert numbering.first_of_each(columns).tolist() == [first[row] for row in rows]
    there = rng.random(200) < 0.5
    expected = by_hand([row if known else None for row, known in zip(rows, there, strict=True)])
    assert numbering.numbered(np.stack(columns, axis=1), there).tolist() == expected
