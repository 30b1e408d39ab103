"""Columns of text that are numbers or stay in Arrow: what they say is what an array of strings says."""

import numpy as np
import pyarrow as pa
import pytest

from emomm.text_columns import Names
from emomm.text_columns import Texts
from emomm.text_columns import arrow
from emomm.text_columns import coded
from emomm.text_columns import constant
from emomm.text_columns import joined
from emomm.text_columns import pieces

GIVEN = ["b", "a", "b", "é", "", "a"]


def names(values=GIVEN):
    different = ["unused", *dict.fromkeys(reversed(values))]
    return Names(np.array(different), np.array([different.index(each) for each in values], np.int32))


def texts(values=GIVEN):
    return Texts(pa.chunked_array([pa.array(values[:2], pa.large_string()), pa.array(values[2:], pa.large_string())]))


@pytest.mark.parametrize("column", [names(), texts()], ids=["names", "texts"])
def test_a_column_is_the_array_that_it_stands_for(column):
    expected = np.array(GIVEN)
    assert len(column) == 6 and column.shape == (6,) and list(column) == column.tolist() == GIVEN
    np.testing.assert_array_equal(np.asarray(column), expected)
    assert column[3] == "é" and str(column[np.int64(-1)]) == "a"
    for rows in (slice(1, 4), np.array([5, 0, 0]), expected == "a", slice(None, None, 2)):
        np.testing.assert_array_equal(np.asarray(column[rows]), expected[rows])
    np.testing.assert_array_equal(column == "b", expected == "b")
    np.testing.assert_array_equal(column != "b", expected != "b")
    found, codes = coded(column)
    np.testing.assert_array_equal(found, np.unique(expected))
    np.testing.assert_array_equal(codes, np.unique(expected, return_inverse=True)[1])
    assert pa.concat_arrays([*pieces(column)]).to_pylist() == GIVEN
    assert pa.table({"x": arrow(column)})["x"].to_pylist() == GIVEN
    assert column.astype(object).tolist() == GIVEN


def test_texts_know_what_is_in_them():
    assert "é" in texts() and "" in texts() and "z" not in texts() and 3 not in texts()


@pytest.mark.parametrize("kinds", ["nn", "tt", "na", "at", "nt", "aa", "n", "al", "ll"])
def test_columns_are_joined(kinds):
    made = {"n": names(), "t": texts(), "a": np.array(GIVEN), "l": list(GIVEN)}
    found = joined([made[kind] for kind in kinds])
    assert np.asarray(found).tolist() == GIVEN * len(kinds)
    assert isinstance(
        found, Texts if "t" in kinds else Names if "n" in kinds else list if kinds == "ll" else np.ndarray
    )


def test_a_constant():
    assert constant("x", 3).tolist() == ["x"] * 3 and coded(constant("x", 0))[0].tolist() == []
