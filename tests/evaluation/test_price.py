"""The price of a leak, where the two experiments tested other rows; and when one of before still holds."""

import copy

import numpy as np
import pytest
from scipy import stats

from emomm.evaluation.predictions import PooledRows
from emomm.evaluation.price import earlier_twins
from emomm.evaluation.price import prices

LABELS = ("neutral", "happy", "sad", "anger")


def pooled(accuracy, speakers, seed, each=40, first=0):
    """One seed's predictions of rows of speakers `first`, `first` + 1, ..., right so often, each speaker's own."""
    rng = np.random.default_rng(seed)
    count = speakers * each
    references = np.arange(count) % 4
    owner = np.repeat(np.arange(first, first + speakers), each)
    chances = np.clip(accuracy + rng.normal(0, 0.08, speakers), 0.05, 0.95)
    right = rng.random(count) < np.repeat(chances, each)
    predictions = np.where(right, references, (references + rng.integers(1, 4, count)) % 4)[None]
    names = np.array([f"mine/{number}" for number in owner])
    nothing = np.full((1, count, 4), np.nan, np.float32)
    ids = np.array([f"row-{number}-{first}" for number in range(count)])
    folds = np.full((1, count), "1")
    return PooledRows(LABELS, ids, names, np.full(count, "1"), references, (1,), predictions, nothing, folds)


def uar(rows):
    return np.mean([(rows.predictions[0] == label)[rows.references == label].mean() for label in range(4)])


def jackknife_error(rows):
    """Standard error of the UAR, a speaker left out at a time."""
    right, speakers, left_out = rows.predictions[0] == rows.references, np.unique(rows.speakers), []
    for speaker in speakers:
        stays = rows.speakers != speaker
        left_out.append(np.mean([right[stays & (rows.references == label)].mean() for label in range(4)]))
    size = len(speakers)
    return np.sqrt((size - 1) / size * ((np.array(left_out) - uar(rows)) ** 2).sum())


def test_other_test_rows_have_the_interval_of_two_independent_scores():
    given, disjoint = pooled(0.8, 6, 1), pooled(0.6, 8, 2, first=6)
    found = {"a": {"mine": given}, "a (disjoint)": {"mine": disjoint, "other": given}}
    (told,) = prices({"a": "a (disjoint)"}, found, {"mine": []})
    assert (told["paired"], told["units"], told["tested"]) == (False, "speakers", "mine")
    assert told["uar"] == pytest.approx([uar(given), uar(disjoint)])
    assert told["difference"] == pytest.approx(uar(given) - uar(disjoint))
    errors = [jackknife_error(rows) for rows in (given, disjoint)]
    half = stats.t.ppf(0.975, 5) * np.hypot(*errors)  # six speakers are the fewer
    assert told["ci95"] == pytest.approx([told["difference"] - half, told["difference"] + half])


def test_that_interval_holds_the_true_difference_often_enough():
    held = 0
    for seed in range(200):
        found = {"a": {"mine": pooled(0.7, 8, 2 * seed)}, "b": {"mine": pooled(0.6, 8, 2 * seed + 1, first=8)}}
        (told,) = prices({"a": "b"}, found, {})
        held += told["ci95"][0] <= 0.1 <= told["ci95"][1]
    assert 184 <= held


def test_few_speakers_are_counted_by_rows_and_say_so():
    found = {"a": {"mine": pooled(0.8, 3, 1)}, "b": {"mine": pooled(0.6, 8, 2, first=3)}}
    (told,) = prices({"a": "b"}, found, {})
    assert told["units"] == "rows" and told["ci95"][0] < told["difference"] < told["ci95"][1]


def test_a_price_of_before_holds_while_all_runs_are_the_same():
    runs = [{"seed": 1, "fold": "1", "status": "done", "test": {"mine": {"uar": 0.5, "ece": float("nan")}}}]
    entries = [{"name": name, "runs": copy.deepcopy(runs)} for name in ("a", "b", "a (disjoint)", "b (disjoint)")]
    price = [{"experiment": name, "disjoint": f"{name} (disjoint)"} for name in "ab"]
    before, now = {"experiments": entries, "price": price}, {"experiments": copy.deepcopy(entries)}
    assert earlier_twins(before, now) == {"a": "a (disjoint)", "b": "b (disjoint)"}
    now["experiments"][0]["runs"][0]["test"]["mine"]["uar"] = 0.6
    assert earlier_twins(before, now) == {"b": "b (disjoint)"}
    del now["experiments"][3]
    assert earlier_twins(before, now) == earlier_twins(None, now) == earlier_twins({"experiments": []}, now) == {}
