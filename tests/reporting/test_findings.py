"""What a report draws of test rows, on rows with known answers."""

import numpy as np
import pytest
from scipy import stats
from test_report_data import rows_in

from emomm.evaluation.metrics import brier_score
from emomm.evaluation.metrics import calibration_error
from emomm.reporting.findings import confusion
from emomm.reporting.findings import cross_corpus
from emomm.reporting.findings import difficulty_curve
from emomm.reporting.findings import reliability_of
from emomm.reporting.findings import rows_most_often_wrong
from emomm.reporting.findings import share_right
from emomm.reporting.report_data import ReportData
from emomm.reporting.report_data import ReportedExperiment


def test_difficulty_curve_has_known_answers():
    difficulty = np.linspace(0, 1, 400)
    right = difficulty[None, :] < np.array([0.5, 0.75])[:, None]
    curve = difficulty_curve(rows_in(right, difficulty))
    assert curve.count.tolist() == [20] * 20
    np.testing.assert_allclose(curve.accuracy, [1] * 10 + [0.5] * 5 + [0] * 5)
    np.testing.assert_allclose(curve.uar, curve.accuracy)  # both classes in each bucket alike
    assert curve.overall == pytest.approx(0.625)
    assert curve.r == pytest.approx(np.corrcoef(difficulty, right.mean(0))[0, 1]) and curve.p < 1e-9


def test_correlation_within_classes_leaves_out_what_classes_differ_in():
    """Difficulty that is the class alone says nothing within it; one that is not says as much."""
    rng = np.random.default_rng(0)
    classes = np.arange(400) % 2
    right = rng.random(400) < np.where(classes, 0.3, 0.9)
    only_class = difficulty_curve(rows_in(right, classes + 0.1 * rng.random(400)))
    assert only_class.r < -0.5 and abs(only_class.r_within) < 0.12 and only_class.p_within > 0.01
    hard = rng.random(400)
    within = rows_in(rng.random(400) > hard, hard + classes)
    curve = difficulty_curve(within)
    x, y = hard + classes, share_right(within.rows)
    centred = [
        values - np.where(classes, values[classes == 1].mean(), values[classes == 0].mean()) for values in (x, y)
    ]
    assert curve.r_within == pytest.approx(np.corrcoef(*centred)[0, 1]) and curve.p_within < 1e-6
    # One class is the plain one, and its p SciPy's.
    alone = rows_in(rng.random(400) > hard, hard)
    alone.rows.references[:] = 0
    curve = difficulty_curve(alone)
    assert (curve.r_within, curve.p_within) == pytest.approx((curve.r, curve.p))
    assert (curve.r, curve.p) == pytest.approx(tuple(stats.pearsonr(hard, share_right(alone.rows))))
    assert np.isnan(difficulty_curve(rows_in(right, classes.astype(float))).r_within)  # nothing varies within


def test_the_reliability_diagram_has_the_error_of_its_own_curve():
    """Two seeds that err on opposite sides: each is off by .3, the curve of both by nothing."""
    rows = rows_in(np.ones((2, 40), bool), np.zeros(40)).rows
    right = np.array([np.arange(40) < 40, np.arange(40) < 24])
    rows.predictions[:] = np.where(right, rows.references, 1 - rows.references)
    rows.probabilities[:] = np.where(rows.predictions[..., None] == np.arange(2), 0.8, 0.2)
    found = reliability_of(rows)
    each = [calibration_error(rows.references, p) for p in rows.probabilities]
    assert np.mean(each) == pytest.approx(0.2, abs=1e-6) and found.ece == pytest.approx(0, abs=1e-6)
    (bin_,) = np.flatnonzero(found.curve["count"])
    assert found.ece == pytest.approx(abs(found.curve["accuracy"][bin_] - found.curve["confidence"][bin_]), abs=1e-6)
    assert found.brier == pytest.approx(np.mean([brier_score(rows.references, p) for p in rows.probabilities]))


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
    assert reliability_of(each.rows).curve["count"].sum() == 16


def test_cross_corpus_matrix():
    def experiment(name, trained, on):
        runs = [{"parts": {"train": {"corpora": trained}}, "test": dict.fromkeys(on)}]
        each = {corpus: rows_in(np.ones(4, bool), np.zeros(4), corpus) for corpus in on}
        for place, corpus in enumerate(on):
            each[corpus].statistics["uar"]["pooled"] = 0.1 * (place + 1)
        return ReportedExperiment(name, name, {}, runs, [], {}, None, each)

    one, two = experiment("one", ["IEMO"], ["MSPI", "MOSEI"]), experiment("two", ["MSPI"], ["MSPI", "IEMO"])
    matrix = cross_corpus(ReportData({}, [one, two], {}))
    assert matrix.trained == ["IEMO", "MSPI"] and matrix.tested == ["IEMO", "MSPI", "MOSEI"]
    np.testing.assert_allclose(matrix.uar, [[np.nan, 0.1, 0.2], [0.2, 0.1, np.nan]])
    assert np.argwhere(matrix.within).tolist() == [[1, 1]] and matrix.shared is None
    one.tested["MOSEI"].statistics["decisions"] = {"shared": {"uar": {"pooled": 0.7}}}
    np.testing.assert_allclose(
        cross_corpus(ReportData({}, [one, two], {})).shared, [[np.nan, 0.1, 0.7], [0.2, 0.1, np.nan]]
    )
    assert cross_corpus(ReportData({}, [experiment("own", ["IEMO"], ["IEMO"])], {})) is None
