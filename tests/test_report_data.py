"""What a report reads from the folders of jobs, on a fabricated job and on rows with known answers."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from emomm.errors import InputError
from emomm.experiment_statistics import PooledRows
from emomm.metrics import emotion_scores
from emomm.reporting import data as report_data
from emomm.reporting.data import ReportData
from emomm.reporting.data import ReportedExperiment
from emomm.reporting.data import confusion
from emomm.reporting.data import cross_corpus
from emomm.reporting.data import difficulty_curve
from emomm.reporting.data import read_report
from emomm.reporting.data import reliability_curve
from emomm.reporting.data import rows_most_often_wrong
from emomm.reporting.data import share_right


def fabricate(folder, experiments=2, seeds=2, folds=3, rows=40, speakers=6):
    """The job that the speed benchmark makes, small."""
    spec = importlib.util.spec_from_file_location("report_speed", ROOT / "benchmarks" / "report_speed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder.mkdir(parents=True, exist_ok=True)
    module.fabricate(folder, experiments, seeds, folds, rows, speakers)
    return folder


def rows_in(right, difficulty, corpus="IEMO", labels=("sad", "glad")):
    """Rows of class 0 (even) and 1 (odd), right (seeds, n) or not."""
    right = np.atleast_2d(right)
    references = np.arange(right.shape[1]) % 2
    predictions = np.where(right, references, 1 - references)
    probabilities = np.where(predictions[..., None] == np.arange(2), 0.8, 0.2).astype(np.float32)
    names = np.array([f"u{i:03d}" for i in range(len(references))])
    speakers = np.array([f"s{i % 5}" for i in range(len(references))])
    folds = np.full(predictions.shape, "all", dtype=object)
    seeds = tuple(range(len(right)))
    rows = PooledRows(labels, names, speakers, speakers, references, seeds, predictions, probabilities, folds)
    return report_data.Tested(corpus, rows, np.asarray(difficulty, float), {"uar": {"pooled": 0.5}})


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp("job") / "made")


def test_a_job_is_read_whole(job):
    data = read_report([job])
    assert [each.name for each in data.experiments] == ["experiment-0", "experiment-1"]
    assert data.title == "fabricated" and data.tested_corpora == ["fabricated"]
    each = data.experiments[1]
    rows = each.tested["fabricated"].rows
    assert rows.predictions.shape == (2, 120) and rows.complete.all() and len(each.runs) == 6 and not each.failed
    tables = [pq.read_table(path) for path in sorted((job / "experiment-1" / "seed-1").glob("*/predictions.parquet"))]
    truth = np.concatenate([table["label"].to_numpy() for table in tables])
    guess = np.concatenate([table["prediction"].to_numpy() for table in tables])
    number = {name: i for i, name in enumerate(rows.labels)}
    truth, guess = (np.array([number[name] for name in names]) for names in (truth, guess))
    scores = emotion_scores(truth, guess, rows.labels)
    assert scores["confusion_matrix"] == confusion(replace(rows, predictions=rows.predictions[:1])).tolist()
    difficulty = np.concatenate([table["difficulty"].to_numpy() for table in tables])
    np.testing.assert_allclose(each.tested["fabricated"].difficulty, difficulty, rtol=1e-6)
    assert [pair["first"] for pair in data.comparisons["fabricated"]] == ["experiment-0"]


def test_curves_are_by_epoch(job):
    curves = read_report([job]).experiments[0].curves
    assert curves.epochs.tolist() == list(range(1, 31)) and curves.has_curriculum
    np.testing.assert_allclose(curves.series["loss"], np.tile(1 / np.arange(1, 31), (6, 1)))
    np.testing.assert_allclose(curves.series["curriculum/pool_fraction"][0, :3], [0.3, 0.35, 0.4])  # of epochs 1 to 3
    assert curves.best_epochs.tolist() == [30] * 6


def test_several_jobs_are_told_apart(job, tmp_path):
    other = fabricate(tmp_path / "other", experiments=1)
    data = read_report([job, other])
    assert list(data.jobs) == ["made", "other"]  # one recipe: by folder
    names = ["made: experiment-0", "made: experiment-1", "other: experiment-0"]
    assert [each.name for each in data.experiments] == names
    assert len({each.slug for each in data.experiments}) == 3
    assert len(data.comparisons["fabricated"]) == 3  # the same rows: all pairs
    same = next(pair for pair in data.comparisons["fabricated"] if pair["second"] == names[2] != pair["first"])
    assert same["uar"]["difference"] == 0


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda job: (job / "results.json").unlink(), "holds no results.json"),
        (lambda job: (job / "results.json").write_text('{"recipe": '), "results.json: can't be read"),
        (lambda job: (job / "results.json").write_text("{}"), "is not of a job"),
        (lambda job: _cut(next(job.glob("*/*/*/predictions.parquet"))), "predictions.parquet: can't be read"),
        (lambda job: next(job.glob("*/*/*/predictions.parquet")).unlink(), "predictions.parquet: can't be read"),
        (lambda job: next(job.glob("*/*/*/history.json")).unlink(), "history.json: can't be read"),
        (lambda job: _fail_all(job), "no run of this job is done"),
    ],
)
def test_broken_jobs_are_named(tmp_path, spoil, message):
    job = fabricate(tmp_path / "job", experiments=1, seeds=1, folds=1, rows=20)
    spoil(job)
    with pytest.raises(InputError, match=message):
        read_report([job])


def _cut(path):
    path.write_bytes(path.read_bytes()[:300])


def _fail_all(job):
    results = json.loads((job / "results.json").read_text())
    for run in results["experiments"][0]["runs"]:
        run["status"] = "failed: out of memory"
    (job / "results.json").write_text(json.dumps(results))


def test_a_failed_run_is_said(tmp_path):
    job = fabricate(tmp_path / "job", experiments=1, seeds=1, folds=2)
    results = json.loads((job / "results.json").read_text())
    results["experiments"][0]["runs"][1]["status"] = "failed: diverged"
    (job / "results.json").write_text(json.dumps(results))
    each = read_report([job]).experiments[0]
    assert each.failed == ["seed 1, session-2: failed: diverged"] and len(each.runs) == 1
    assert len(each.tested["fabricated"].rows.references) == 40


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
