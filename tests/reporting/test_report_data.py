"""What a report reads from the folders of jobs, on a fabricated job and on rows with known answers."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from emomm.errors import InputError
from emomm.evaluation.metrics import emotion_scores
from emomm.evaluation.predictions import PooledRows
from emomm.reporting import report_data as report_data
from emomm.reporting.findings import confusion
from emomm.reporting.report_data import read_report


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
        (lambda job: (job / "results.json").write_text('{"recipe": '), "results.json is torn, or not of a job"),
        (lambda job: (job / "results.json").write_text("{}"), "is torn, or not of a job"),
        (lambda job: _cut(next(job.glob("*/*/*/predictions.parquet"))), "predictions.parquet can't be read"),
        (lambda job: next(job.glob("*/*/*/predictions.parquet")).unlink(), "predictions.parquet is gone"),
        (lambda job: next(job.glob("*/*/*/history.json")).unlink(), "history.json: can't be read"),
        (lambda job: next(job.glob("*/*/*/history.json")).write_text('{"epoch": 1}'), "history.json is torn, or not"),
        (lambda job: next(job.glob("*/*/*/history.json")).write_text('["epoch"]'), "history.json is torn, or not"),
        (lambda job: next(job.glob("*/*/*/history.json")).write_text("[" * 50_000), "history.json: can't be read"),
        (lambda job: next(job.glob("*/*/*/run.json")).write_text("[]"), "run.json is torn, or not of a run"),
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
