"""What counts as the same name, and what doesn't."""

import numpy as np
import pyarrow as pa
import pytest

from emomm.corpora.names import as_text
from emomm.corpora.names import look_alikes
from emomm.corpora.names import same_column
from emomm.corpora.names import spelled
from emomm.corpora.names import spelling


@pytest.mark.parametrize(
    "other",
    [
        "Zoë B",
        " Zoë B",
        "Zoë B\n",
        "Zoë\u00a0B",
        "Zoë \u3000 B",
        "Zoe\u0308 B",
        "Zoë\u200b B\ufeff",
        "Zo\u00adë B\x00",
    ],
)
def test_the_same_name_in_other_bytes(other):
    assert spelling(other) == "Zoë B"
    assert same_column(other.upper()) == "zoë b"


@pytest.mark.parametrize(("number", "name"), [("7.0", "7"), ("-3.000", "-3"), ("007.0", "007"), ("7.50", "7.50")])
def test_whole_numbers_have_no_fraction(number, name):
    assert spelling(number) == name


def test_names_that_stay_two():
    different = ["S1", "s1", "S01", "S-1", "7", "07", "7.1", "1.10", "1.1", "é", "e", "Zoë", "Zoe", "Zoë B", "ZoëB"]
    assert len({spelling(name) for name in different}) == len(different)
    assert [spelling(nothing) for nothing in ("", " \t", "\u200b", "\ufeff\u00a0")] == [""] * 4


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["7", "7.0", " 7", None, "\u200b"]),
        pa.chunked_array([["7", "7\u00a0"], ["7.0", "", None]]),
        pa.array([7.0, 7.0, 7.0, float("nan"), None]),
        pa.array(np.array([7, 7, 7, np.nan, np.nan], np.float16)),
        pa.array(["7", "7.0", "7", " ", None]).dictionary_encode(),
        pa.array([7, 7, 7, None, None], pa.int8()),
        pa.array(["7", "7", "7", None, None], pa.string_view()),
        pa.chunked_array([pa.RunEndEncodedArray.from_arrays([3, 5], pa.array([7, None]))]),
    ],
)
def test_a_column_of_any_type_gives_the_same_names(column):
    assert spelled(column).to_pylist() == ["7", "7", "7", None, None]


def test_numbers_with_fractions_stay_as_they_are_written():
    assert as_text(pa.array([7.0, 7.25, None], pa.float32())).to_pylist() == ["7", "7.25", None]
    assert as_text(pa.array([7.1], pa.float32())).to_pylist() == ["7.1"]
    assert as_text(pa.array(["NA", " x "])).to_pylist() == ["NA", " x "]  # no names: as they are


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (pa.array([["a"]]), "it holds list<item: string>, and must hold text or numbers"),
        (pa.array([b"a"]), "it holds binary"),
        (pa.array([{"a": 1}]), "it holds struct"),
        (pa.array([1.0, float("inf")]), "an infinite number"),
    ],
)
def test_what_is_no_column_of_names(column, told):
    with pytest.raises(ValueError, match=told):
        spelled(column)


def test_look_alikes_are_told_and_not_joined():
    names = ["S1", "s1", "S01", "S-2", "S_2", "S3", "\uff17", "7", "10", "1"]
    assert look_alikes(names) == [["7", "\uff17"], ["S-2", "S_2"], ["S01", "S1", "s1"]]
    assert look_alikes(["a", "b", "a"]) == []
