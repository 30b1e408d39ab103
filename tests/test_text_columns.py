"""Columns of text that are numbers or stay in Arrow: what they say is what an array of strings says."""

import copy
import pickle

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


ASKED = {
    "copy": lambda column: column.copy(),
    "take": lambda column: column.take([1, 0]),
    "reshape": lambda column: column.reshape(2, 3),
    "T": lambda column: column.T,
    "order": lambda column: (column < "b") & (column >= "a") | (column > "é") | (column <= ""),
    "one column": lambda column: column[:, None],
    "pairs": lambda column: column[np.array([[0, 1], [2, -1]])],
    "from the end": lambda column: column[np.array([-1, -6])],
    "all": lambda column: column[...],
    "none": lambda column: column[[]],
    "mask of another length": lambda column: column[np.array([True, False])],
    "too far": lambda column: column[np.array([6])],
    "too far back": lambda column: column[np.array([-7])],
    "not there": lambda column: column.no_such_thing,
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("column", [names(), texts()], ids=["names", "texts"])
def test_what_a_protocol_may_ask_of_an_array_it_may_ask_of_a_column(column, asked):
    try:
        expected = ASKED[asked](np.array(GIVEN))
    except (AttributeError, IndexError) as error:
        with pytest.raises(type(error)):
            ASKED[asked](column)
    else:
        np.testing.assert_array_equal(np.asarray(ASKED[asked](column)), expected)


def test_columns_go_to_other_processes():
    for column in (names(), texts()):
        assert copy.deepcopy(column).tolist() == pickle.loads(pickle.dumps(column)).tolist() == GIVEN


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
