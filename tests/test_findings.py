"""What a report draws of test rows, on rows with known answers."""

import numpy as np
import pytest
from test_report_data import rows_in

from emomm.reporting.data import ReportData
from emomm.reporting.data import ReportedExperiment
from emomm.reporting.findings import confusion
from emomm.reporting.findings import cross_corpus
from emomm.reporting.findings import difficulty_curve
from emomm.reporting.findings import reliability_curve
from emomm.reporting.findings import rows_most_often_wrong
from emomm.reporting.findings import share_right


def test_difficulty_curve_has_known_answers():
    difficulty = np.linspace(0, 1, 400)
    right = difficulty[None, :] < np.array([0.5, 0.75])[:, None]
    curve = difficulty_curve(rows_in(right, difficulty))
    assert curve.count.tolist() == [20] * 20
    np.testing.assert_allclose(curve.accuracy, [1] * 10 + [0.5] * 5 + [0] * 5)
    np.testing.assert_allclose(curve.uar, curve.accuracy)  # both classes in each bucket alike
    assert curve.overall == pytest.approx(0.625)
    assert curve.r == pytest.approx(np.corrcoef(difficulty, right.mean(0))[0, 1]) and curve.p < 1e-9


def test_difficulty_curve_leaves_out_unrated_rows_and_has_fewer_buckets_for_few():
    difficulty = np.linspace(0, 1, 80)
    difficulty[::2] = np.nan
    right = np.arange(80) % 3 > 0
    curve = difficulty_curve(rows_in(right, difficulty))
    assert curve.count.tolist() == [10] * 4
    assert curve.overall == pytest.approx(right[1::2].mean())
    assert difficulty_curve(rows_in(right, np.full(80, 0.3))) is None
    assert difficulty_curve(rows_in(right, np.full(80, np.nan))) is None
    assert difficulty_curve(rows_in(right[:19], difficulty[:19])) is None
    assert np.isnan(difficulty_curve(rows_in(np.ones(80, bool), difficulty)).r)


def test_rows_most_often_wrong():
    right = np.ones((4, 30), bool)
    right[:, 7], right[:3, 2], right[0, 5] = False, False, False
    found = rows_most_often_wrong(rows_in(right, np.full(30, np.nan)), 10)
    assert [(row["utterance"], row["wrong"], row["seeds"]) for row in found] == [
        ("u007", 4, 4),
        ("u002", 3, 4),
        ("u005", 1, 4),
    ]
    assert found[0]["label"] == "glad" and found[0]["taken for"] == "sad" and found[0]["difficulty"] is None
    assert found[1]["probability of the truth"] == pytest.approx((3 * 0.2 + 0.8) / 4)
    assert len(rows_most_often_wrong(rows_in(right, np.full(30, np.nan)), 2)) == 2


def test_rows_that_a_seed_has_not_tested_do_not_count():
    each = rows_in(np.ones((2, 10), bool), np.zeros(10))
    each.rows.predictions[1, :4] = -1
    each.rows.probabilities[1, :4] = np.nan
    assert share_right(each.rows).tolist() == [1] * 10
    assert confusion(each.rows).sum() == 16
    assert reliability_curve(each.rows)["count"].sum() == 16


def test_cross_corpus_matrix():
    def experiment(name, trained, on):
        runs = [{"parts": {"train": {"corpora": trained}}}]
        each = {corpus: rows_in(np.ones(4, bool), np.zeros(4), corpus) for corpus in on}
        for place, corpus in enumerate(on):
            each[corpus].statistics["uar"]["pooled"] = 0.1 * (place + 1)
        return ReportedExperiment(name, name, {}, runs, [], {}, None, each)

    one, two = experiment("one", ["IEMO"], ["MSPI", "MOSEI"]), experiment("two", ["MSPI"], ["MSPI", "IEMO"])
    matrix = cross_corpus(ReportData({}, [one, two], {}))
    assert matrix.trained == ["IEMO", "MSPI"] and matrix.tested == ["IEMO", "MSPI", "MOSEI"]
    np.testing.assert_allclose(matrix.uar, [[np.nan, 0.1, 0.2], [0.2, 0.1, np.nan]])
    assert np.argwhere(matrix.within).tolist() == [[1, 1]]
    assert cross_corpus(ReportData({}, [experiment("own", ["IEMO"], ["IEMO"])], {})) is None
