"""Files of a finished job that are torn, gone or another's: what can be made again is made again, and it is said."""

import json
import logging
import shutil

import pytest
from small_jobs import assert_same_run
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder

from emomm.cli.main import main
from emomm.experiments.training import Experiment
from emomm.reporting.report_data import read_report

VOICE = [{"name": "small", "modality": "audio"}, {"name": "other", "modality": "audio", "dropout": 0.3}]


@pytest.fixture(autouse=True)
def untouched_process():
    """What a job changes of its process, as it was again."""
    logger = logging.getLogger("emomm")
    kept = logger.level, logger.handlers, logger.propagate
    yield
    logger.level, logger.handlers, logger.propagate = kept


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a job of two experiments, with a fold trained by two seeds."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = write_recipe(folder, experiments=VOICE, seeds=[1, 2])
    assert main(["run", str(recipe), "--no_report"]) == 0
    return folder


@pytest.fixture
def job(finished, tmp_path):
    """A copy of the job, and its recipe."""
    write_recipe(tmp_path, experiments=VOICE, seeds=[1, 2])
    return shutil.copytree(finished / "small", tmp_path / "small")


@pytest.fixture
def again(monkeypatch, capfd, job):
    """Runs the same command once more: what was trained, and what was said."""
    trained, train = [], Experiment.train

    def recorded(self, run):
        trained.append(f"{run.settings.name}/seed-{run.seed}/{run.fold.name}")
        return train(self, run)

    monkeypatch.setattr(Experiment, "train", recorded)

    def _again(*arguments):
        trained.clear()
        code = main(["run", str(job.parent / "small.json"), "--no_report", *arguments])
        return code, list(trained), capfd.readouterr().err

    return _again


def swap(name):
    """Puts the file of the other seed in place."""
    return lambda run: shutil.copy(run.parent.parent / "seed-2" / run.name / name, run / name)


def write(name, content):
    return lambda run: (run / name).write_bytes(content)


def emptied(run):
    history = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({"identity": history["identity"], "status": "done"}))


def flipped(name):
    """A bit of a file is another, under another inode: another run may link to it."""

    def flip(run):
        content = bytearray((run / name).read_bytes())
        content[-5] ^= 1
        (run / name).unlink()
        (run / name).write_bytes(content)

    return flip


RETRAINED = {
    "metrics torn": (write("metrics.json", b'{"seed": 1, "val'), "its metrics.json is torn"),
    "metrics of another shape": (write("metrics.json", b"[" * 50_000), "its metrics.json is torn"),
    "metrics without numbers": (emptied, "its metrics.json is torn"),
    "metrics of another run": (swap("metrics.json"), "its metrics.json is of another run"),
    "predictions torn": (write("predictions.parquet", b"PAR1torn"), "its predictions.parquet can't be read"),
    "predictions gone": (lambda run: (run / "predictions.parquet").unlink(), "its predictions.parquet is gone"),
    "predictions of another run": (swap("predictions.parquet"), "and metrics.json don't belong together"),
    "history torn": (write("history.json", b"[{"), "its history.json is torn or gone"),
    "history of another shape": (write("history.json", b'["epoch", 3]'), "its history.json is torn or gone"),
    "weights with another bit": (flipped("model/model.safetensors"), "model.safetensors has changed"),
    "code of the model torn": (write("model/fusions.py", b"import"), "fusions.py has changed"),
    "list of the model torn": (write("model/checksums.json", b"{"), "checksums.json can't be read"),
    "model empty": (lambda run: [path.unlink() for path in (run / "model").iterdir()], "has no config.json"),
}


@pytest.mark.parametrize("name", RETRAINED)
def test_a_run_whose_files_cant_be_relied_on_is_trained_again(finished, job, again, name):
    damage, said = RETRAINED[name]
    run = job / "small" / "seed-1" / "session-2"
    damage(run)
    code, trained, err = again()
    assert code == 0 and trained == ["small/seed-1/session-2"]
    assert said in err and "it is trained again" in err and "Traceback" not in err
    assert_same_run(finished / "small" / "small" / "seed-1" / "session-2", run)
    assert again()[1] == []


def test_a_model_that_was_deleted_or_changed_on_purpose_is_no_reason_to_train(job, again):
    """Whole, to have its room; or without the list of what was written, as the refusal itself says."""
    runs = [job / "small" / "seed-1" / name for name in ("session-1", "session-2")]
    shutil.rmtree(runs[0] / "model")
    flipped("model/config.json")(runs[1])
    (runs[1] / "model" / "checksums.json").unlink()
    assert again()[:2] == (0, [])


@pytest.mark.parametrize("content", [b"", b'{"identity"', b"[]", None])
def test_of_which_settings_a_run_is_is_written_again(job, again, content):
    path = job / "small" / "seed-1" / "session-1" / "run.json"
    before = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    code, trained, err = again()
    assert (code, trained) == (0, []) and "its run.json is torn or gone; it is written again" in err
    assert path.read_bytes() == before


def test_without_it_the_settings_are_still_not_mixed_up(job, again):
    (job / "small" / "seed-1" / "session-1" / "run.json").unlink()
    before = {path: path.read_bytes() for path in job.rglob("*") if path.is_file()}
    code, trained, err = again("--learning_rate", "0.5")
    assert (code, trained) == (2, []) and "other settings or data (which ones, its run.json no longer says)" in err
    assert {path: path.read_bytes() for path in job.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", [b'{"recipe": "small", ', b"[1, 2]", b'{"experiments": {}}'])
def test_results_are_gathered_again(finished, job, again, content):
    """Those of experiments that this call does not run come back with theirs."""
    (job / "results.json").write_bytes(content)
    code, trained, err = again("--experiment", "small")
    assert (code, trained) == (0, []) and "results.json is torn, or not ours: it is made again; run other again" in err
    code, trained, err = again()
    assert (code, trained) == (0, []) and "torn" not in err
    one, two = (json.loads((place / "results.json").read_text()) for place in (finished / "small", job))
    assert one == two


def test_what_is_not_ours_in_a_run_stays_and_stops_nothing(job, again):
    run = job / "small" / "seed-1" / "session-1"
    (run / "checkpoint-abc").mkdir()
    (run / "checkpoint-abc" / "mine.txt").write_text("mine")
    (run / "metrics.json").unlink()
    code, trained, err = again()
    assert (code, trained) == (0, ["small/seed-1/session-1"]) and "Traceback" not in err
    assert (run / "checkpoint-abc" / "mine.txt").read_text() == "mine"


def test_what_a_killed_job_report_or_push_was_writing_is_taken_away(finished, job, again):
    for place in (
        ".report.1.temporary/figures",
        "small/.hub.1.temporary",
        "small/seed-1/session-1/.model.1.temporary",
    ):
        (job / place).mkdir(parents=True)
    (job / ".results.json.1.temporary").write_text("{")
    (job / ".report.temporary").mkdir()
    assert again()[:2] == (0, [])
    left = {str(path.relative_to(job)) for path in job.rglob("*")}
    assert left == {str(path.relative_to(finished / "small")) for path in (finished / "small").rglob("*")}


def test_predictions_that_are_torn_leave_their_experiment_without_statistics(job, again, capfd):
    """In a job that is gone on with for another experiment, and in a report."""
    (job / "other" / "seed-1" / "session-1" / "predictions.parquet").write_bytes(b"PAR1torn")
    code, _, err = again("--experiment", "small")
    assert code == 0 and "no statistics of 'other'; the job's command makes it again" in err
    assert main(["report", str(job)]) == 2
    err = capfd.readouterr().err
    assert "predictions.parquet" in err and "run the job's command again" in err and "Traceback" not in err
    assert again()[:2] == (0, ["other/seed-1/session-1"])
    assert [each.name for each in read_report([job]).experiments] == ["small", "other"]


def test_shared_weights_of_an_encoder_that_were_damaged_go_into_no_model(tmp_path, capfd):
    """They are written again, and so are the models that share them."""
    encoder = tiny_encoder(tmp_path / "encoder")
    recipe = write_recipe(tmp_path, text_model_name=encoder, modality="text", num_epochs=1)
    assert main(["run", str(recipe), "--no_report"]) == 0
    job = tmp_path / "small"
    runs = [job / "small" / "seed-1" / name for name in ("session-1", "session-2")]
    exports = [run / "model" / "model-00002-of-00002.safetensors" for run in runs]
    before = exports[0].read_bytes()
    (shared,) = (job / "encoders").iterdir()
    assert shared.samefile(exports[0]) and shared.samefile(exports[1])
    with open(shared, "rb+") as file:
        file.seek(-100, 2)
        file.write(b"\xff" * 8)
    assert exports[0].read_bytes() != before
    (runs[1] / "metrics.json").unlink()
    kept = (runs[0] / "metrics.json").stat().st_mtime_ns
    capfd.readouterr()
    assert main(["run", str(recipe), "--no_report"]) == 0
    assert "is not as it was written: written again, also in the models that share it" in capfd.readouterr().err
    assert [export.read_bytes() for export in exports] == [before, before]
    assert (runs[0] / "metrics.json").stat().st_mtime_ns == kept  # for its encoder alone it isn't trained again
    (mended,) = (job / "encoders").iterdir()
    assert mended.name == shared.name and mended.read_bytes() == before and mended.samefile(exports[1])
