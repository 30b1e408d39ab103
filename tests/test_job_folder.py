"""The layout of a job on disk: of jobs that are there already, so that no name may change unnoticed."""

import json

import pytest

from emomm.errors import InputError
from emomm.job_folder import JobFolder
from emomm.job_folder import check_finished
from emomm.job_folder import find_experiment
from emomm.job_folder import slug_of


def test_the_files_of_a_job(tmp_path):
    job = JobFolder(tmp_path)
    experiment = job.experiment("Voice & words")
    run = experiment.run(42, "session-1")
    found = {
        job.results, job.lock, job.floors, job.encoders, job.report.page, job.report.figures, job.report.tables,
        experiment.settings, experiment.hub, experiment.final.environment, run.record, run.metrics, run.predictions,
        run.history, run.model, run.tensorboard,
    }  # fmt: skip
    assert {path.relative_to(tmp_path).as_posix() for path in found} == {
        "results.json", ".lock", "floors", "encoders", "report/report.html", "report/figures", "report/tables",
        "voice-words/settings.json", "voice-words/hub", "voice-words/final/environment.json",
        "voice-words/seed-42/session-1/run.json", "voice-words/seed-42/session-1/metrics.json",
        "voice-words/seed-42/session-1/predictions.parquet", "voice-words/seed-42/session-1/history.json",
        "voice-words/seed-42/session-1/model", "voice-words/seed-42/session-1/tensorboard",
    }  # fmt: skip


def test_experiments_are_those_that_began(tmp_path):
    job = JobFolder(tmp_path)
    assert job.experiments() == set()
    for name in ("voice", "Words only"):
        job.experiment(name).path.mkdir()
        job.experiment(name).settings.write_text("{}")
    job.floors.mkdir()
    assert job.experiments() == {"voice", "words-only"}


def test_an_experiment_is_found_by_its_name_or_its_folders(tmp_path):
    run = {"seed": 1, "fold": "session-1", "status": "failed: out of memory"}
    entry = {"name": "Words only", "labels": [], "corpora": [], "runs": [run], "summary": {}}
    results = {"recipe": "r", "protocol": [], "environment": {}, "experiments": [entry]}
    JobFolder(tmp_path).results.write_text(json.dumps(results))
    assert find_experiment(tmp_path, "Words only") == find_experiment(tmp_path, "words-only") == (results, entry)
    with pytest.raises(InputError, match=r"results.json: there is no experiment 'words'.* There are: Words only"):
        find_experiment(tmp_path, "words")
    with pytest.raises(InputError, match="not all runs of 'Words only' are done .seed 1, session-1: failed: out of"):
        check_finished(tmp_path, entry)
    check_finished(tmp_path, {**entry, "runs": [{**run, "status": "done"}]})
    JobFolder(tmp_path).results.write_text(json.dumps({**results, "experiments": [{"name": "Words only"}]}))
    with pytest.raises(InputError, match="results.json is torn, or not of a job"):
        find_experiment(tmp_path, "Words only")


def test_a_name_that_is_too_long_for_a_folder_is_told_apart_by_a_hash():
    long, other = "x" * 300, "x" * 299 + "y"
    assert len(slug_of(long)) <= 100 and slug_of(long) != slug_of(other) and slug_of("A  b!") == "a-b"
