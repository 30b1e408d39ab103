"""Jobs that are killed again and again end with the bits of a job that never was."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from forked import finish
from forked import start
from small_jobs import assert_same_run
from small_jobs import die
from small_jobs import kill_at
from small_jobs import run_files
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder

from emomm import curriculum_trainer
from emomm.cli import main as cli
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.experiments import job
from emomm.experiments import training as experiment
from emomm.experiments.training import Experiment
from emomm.floors import store
from emomm.resuming import resumable_trainer
from emomm.resuming.resume_states import resume_states
from emomm.settings.recipe import load_recipe

TORN_MODEL = ".model.1.temporary"

# 5 steps an epoch; the curriculum lasts 15 steps. No gain is enough for early stopping: both runs stop after 25.
TRAINING = {
    "learning_rate": 0.01,
    "metric_for_best_model": "loss",
    "early_stopping_threshold": 10,
    "curriculum_type": "model_confidence",
    "curriculum_pacing": "linear",
    "curriculum_epochs": 3,
    "num_epochs": 12,
    "dropout": 0.2,
    "post_curriculum_dropout": 0.4,
    "early_stopping_patience": 2,
    "use_speaker_disentanglement": False,
}


def while_keeping_a_floor(number):
    """Killed in the middle of a file of the floors, after so many others."""
    seen = []

    def torn(path, _):
        path.with_name(f"{path.name}.1.temporary").write_bytes(b"torn")

    kill_at(store, "write_whole", lambda *_: len(seen) == number or seen.append(1), torn)


def before_step(step):
    """Killed when the training step after `step` begins."""
    kill_at(CurriculumTrainer, "training_step", lambda trainer, *_: trainer.state.global_step == step)


def while_writing(step):
    """Killed in the middle of a file of the resume state at `step`."""

    def torn(trainer, folder):
        Path(folder, "rng_state.pth").write_bytes(b"torn")

    kill_at(CurriculumTrainer, "_save_rng_state", lambda trainer, _: trainer.state.global_step == step, torn)


def while_renaming(step):
    """Killed when the resume state at `step` is whole, but the one before is still there, half of it."""
    original = resumable_trainer.os.rename

    def rename(source, target):
        original(source, target)
        if str(target).endswith(f"checkpoint-{step}"):
            for older in Path(target).parent.glob("checkpoint-*"):
                if older != Path(target):
                    (older / "trainer_state.json").unlink()
            die()

    resumable_trainer.os.rename = rename


def while_keeping_the_best():
    """Killed in the middle of the best weights."""

    def torn(state, path, **_):
        Path(path).write_bytes(b"torn")

    kill_at(curriculum_trainer, "save_file", lambda *_, **__: True, torn)


def after_training():
    """Killed when training has stopped early."""
    kill_at(CurriculumTrainer, "load_best", lambda *_: True)


def while_exporting():
    """Killed in the middle of the exported model."""
    kill_at(experiment, "export_model", lambda *_: True, lambda _, folder, *__: folder.with_name(TORN_MODEL).mkdir())


def before_the_metrics():
    """Killed when all files of the run are there but the one that says so."""
    kill_at(experiment, "write_json", lambda path, _: path.name == "metrics.json")


def before_the_second_run():
    """Killed between two runs."""
    kill_at(Experiment, "train", lambda _, run: run.fold.name == "session-2")


def killed(recipe, point, *args):
    """In a process of its own: the job, killed at a point; what it says goes into a file beside the recipe."""
    point(*args)
    with open(recipe.with_suffix(".said"), "a") as sys.stderr:
        cli.main(["run", str(recipe), "--no_report"])


KILLS = [
    (before_step, 3),  # in the middle of an epoch, random pool
    (while_keeping_the_best,),  # at the end of the first epoch
    (before_step, 7),  # in the middle of an epoch, pool by confidence
    (while_writing, 9),  # resumes at step 8
    (while_writing, 10),  # at the end of an epoch
    (before_step, 10),  # resumes from the end of an epoch, confidence and all
    (before_step, 15),  # resumes where dropout changes and early stopping begins
    (while_renaming, 17),
    (before_step, 22),
    (after_training,),
    (while_exporting,),
    (before_the_metrics,),
    (before_the_second_run,),
    (before_step, 0),  # in the second run, without any resume state
    (before_step, 12),
    (while_keeping_a_floor, 0),  # after the training of so few steps
    (while_keeping_a_floor, 3),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder with the encoder, the store, and the job `whole`, which nothing has interrupted."""
    folder = tmp_path_factory.mktemp("resume")
    encoder = tiny_encoder(folder / "encoder", hidden=16)
    recipe = write_recipe(folder, "whole", **TRAINING, text_model_name=encoder)
    assert finish(start(cli.main, ["run", str(recipe)])) == 0
    return folder


def exit_with(recipe):
    """Runs the job and ends the process with its exit code; what it says goes into a file beside the recipe."""
    with open(recipe.with_suffix(".said"), "a") as sys.stderr:
        sys.exit(cli.main(["run", str(recipe), "--no_report"]))


def terminated(recipe, step, number):
    """In a process of its own: the job, which gets a signal within the training step after `step`."""
    original = CurriculumTrainer.training_step

    def training_step(trainer, *args):
        if trainer.state.global_step == step:
            os.kill(os.getpid(), number)
        return original(trainer, *args)

    CurriculumTrainer.training_step = training_step
    signal.signal(number, signal.SIG_DFL)  # tests that run in the background ignore SIGINT
    exit_with(recipe)


def full(recipe, part):
    """In a process of its own: the job, whose disk is full when a part of its second resume state is written."""
    save, written = torch.save, []

    def to_a_full_disk(state, path, *args):
        written.append(path)
        full = Path(path).name == part and [Path(each).name for each in written].count(part) == 2
        return save(state, "/dev/full" if full else path, *args)

    torch.save = to_a_full_disk
    exit_with(recipe)


def runs(job_folder):
    return {fold: job_folder / "small" / "seed-1" / fold for fold in ("session-1", "session-2")}


def test_the_undisturbed_job_has_everything_on(undisturbed):
    for run in runs(undisturbed / "whole").values():
        metrics, history = run_files(run)["metrics"], run_files(run)["history"]
        assert metrics["steps"] == 25
        assert [entry["curriculum/pool_fraction"] for entry in history if "curriculum/pool_size" in entry][:4] == [
            pytest.approx(share, abs=0.06) for share in (1 / 3, 2 / 3, 1, 1)
        ]
    assert any(run_files(run)["metrics"]["best_epoch"] > 1 for run in runs(undisturbed / "whole").values())


def test_a_job_killed_again_and_again_ends_bit_for_bit_the_same(undisturbed):
    recipe = write_recipe(
        undisturbed, "killed", **TRAINING, text_model_name=str(undisturbed / "encoder"), save_seconds=0
    )
    first, second = runs(undisturbed / "killed").values()
    for point, *args in KILLS:
        name = f"{point.__name__}{args}"
        assert finish(start(killed, recipe, point, *args)) == -9, f"not killed: {name}"
        if point is while_writing:
            assert any((first / ".states.temporary").rglob("rng_state.pth")), name
        if point is while_keeping_the_best:
            assert list(first.glob(".best.safetensors.*.temporary")) and not second.exists(), name
        if point is while_exporting:
            assert (first / TORN_MODEL).exists()
        if args == [12]:
            assert (first / "metrics.json").exists() and list(second.glob("checkpoint-*")), name
            written = (first / "metrics.json").stat().st_mtime_ns

    assert finish(start(exit_with, recipe)) == 0
    said = recipe.with_suffix(".said").read_text()
    assert "session-1: done before" in said and "session-2: goes on from checkpoint-12" in said
    assert (first / "metrics.json").stat().st_mtime_ns == written
    for fold, run in runs(undisturbed / "killed").items():
        assert_same_run(runs(undisturbed / "whole")[fold], run)
        files = {path.name for path in run.iterdir()}
        assert files == {"run.json", "metrics.json", "history.json", "predictions.parquet", "model"}, fold
    names = {".lock", "encoders", "floors", "results.json", "small"}
    assert {path.name for path in (undisturbed / "killed").iterdir()} == names
    floors = [
        {p.name: p.read_bytes() for p in (undisturbed / job / "floors").iterdir()} for job in ("whole", "killed")
    ]
    assert floors[0] == floors[1] and len(floors[0]) == 6
    results = json.loads((undisturbed / "killed" / "results.json").read_text())
    whole = json.loads((undisturbed / "whole" / "results.json").read_text())
    for part in ("summary", "floors"):
        assert results["experiments"][0][part] == whole["experiments"][0][part]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_saves_a_state_and_the_same_command_goes_on(undisturbed, number, code):
    """In the middle of an epoch, with nothing else that would have saved one; and at the end of one."""
    name = f"signal-{code}"
    recipe = write_recipe(
        undisturbed, name, **TRAINING, text_model_name=str(undisturbed / "encoder"), save_seconds=1e9
    )
    first = runs(undisturbed / name)["session-1"]
    for step in (7, 14):
        assert finish(start(terminated, recipe, step, number)) == code
        assert [path.name for path in resume_states(first)][0] == f"checkpoint-{step + 1}"
    assert not list(first.glob("*.temporary")) and not (first / "metrics.json").exists()
    err = recipe.with_suffix(".said").read_text()
    assert err.count("interrupted; the same command goes on") == 2 and "Traceback" not in err
    job.run(load_recipe(recipe))
    for fold, run in runs(undisturbed / name).items():
        assert_same_run(runs(undisturbed / "whole")[fold], run)


@pytest.mark.parametrize("part", ["optimizer.pt", "rng_state.pth"])
def test_a_disk_that_fills_up_is_one_message_and_the_same_command_goes_on(undisturbed, part):
    """torch says it as a RuntimeError of its own kind."""
    recipe = write_recipe(
        undisturbed, f"full-{part}", **TRAINING, text_model_name=str(undisturbed / "encoder"), save_seconds=0
    )
    assert finish(start(full, recipe, part)) == 2
    err = recipe.with_suffix(".said").read_text()
    assert err.count("error: ") == 1 and "Traceback" not in err, err
    assert "checkpoint-2 could not be written, is the disk full?" in err and "the same command goes on" in err
    first = runs(undisturbed / f"full-{part}")["session-1"]
    assert [path.name for path in resume_states(first)] == ["checkpoint-1"] and not list(first.glob("*.temporary"))
    job.run(load_recipe(recipe))
    for fold, run in runs(undisturbed / f"full-{part}").items():
        assert_same_run(runs(undisturbed / "whole")[fold], run)


def killed_while_replacing(recipe):
    """In a process of its own: `--overwrite` with another learning rate, killed when the first file is gone.

    `run.json` is listed first and `metrics.json` last: what a folder's order is, nobody knows.
    """
    listed, unlink, order = Path.iterdir, Path.unlink, {"run.json": 0, "metrics.json": 2}

    def unlink_and_die(path, **options):
        unlink(path, **options)
        if path.parent.name == "session-1":
            die()

    Path.iterdir = lambda path: iter(sorted(listed(path), key=lambda p: order.get(p.name, 1)))
    Path.unlink = unlink_and_die
    job.run(load_recipe(recipe, {"learning_rate": "0.02"}), overwrite=True)


def test_a_kill_while_a_run_is_replaced_does_not_leave_the_old_one_as_the_new(undisturbed):
    recipe = write_recipe(undisturbed, "whole", **TRAINING, text_model_name=str(undisturbed / "encoder"))
    assert finish(start(killed_while_replacing, recipe)) == -9
    assert (runs(undisturbed / "whole")["session-1"] / "metrics.json").exists()
    changed = load_recipe(recipe, {"learning_rate": "0.02"})
    with pytest.raises(InputError, match="learning_rate was 0.01, now 0.02"):
        job.run(changed)
    assert job.run(changed, overwrite=True).failed == []
    for run in runs(undisturbed / "whole").values():
        assert max(entry.get("learning_rate", 0) for entry in run_files(run)["history"]) > 0.01, run
