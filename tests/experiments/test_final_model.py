"""The model that is trained once more on all sessions: on what, for how long, and never twice."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finished_job import finished_job
from finished_job import write_job_recipe
from safetensors.numpy import load_file

from emomm.checksums import refuse_changed_export
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.experiments.final_model import train_final_model
from emomm.experiments.job import plan_experiment
from emomm.settings.recipe import load_recipe
from emomm.sharing.hub import model_folder
from emomm.sharing.uploading import Push


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The job's folder, its settings, and its final model's folder."""
    folder = tmp_path_factory.mktemp("final")
    job = finished_job(folder, save_seconds=0.0)
    settings = load_recipe(folder / "recipe.json").experiments[0]
    return job, settings, train_final_model(*plan_experiment(settings, job))


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished job without its final model, and its settings."""
    job, settings, _ = finished
    shutil.copytree(job, tmp_path / "job", ignore=shutil.ignore_patterns("final"))
    return tmp_path / "job", settings


def read(path):
    return json.loads(path.read_text())


def weights(folder):
    return load_file(folder / "model" / "model-00001-of-00002.safetensors")


def learning_rates(folder):
    return [entry["learning_rate"] for entry in read(folder / "history.json") if "learning_rate" in entry]


def test_it_is_trained_on_all_rows_for_the_median_of_the_chosen_steps(finished):
    job, settings, folder = finished
    said = read(folder / "metrics.json")
    experiment, runs = plan_experiment(settings, job)
    lengths = [epoch_steps(experiment, run) for run in runs]
    chosen = [(read(run.folder / "metrics.json")["best_epoch"], each) for run, each in zip(runs, lengths, strict=True)]
    epochs, steps = sorted(chosen, key=lambda pair: pair[0] * pair[1])[1]  # the lower of the middle ones of four
    assert folder == job / "both-of-them" / "final"
    assert said["parts"]["train"]["rows"] == 48 and said["parts"]["train"]["speaker_count"] == 4
    assert said["parts"]["validation"]["rows"] == said["parts"]["test"]["rows"] == 0
    assert (said["seed"], said["fold"], said["status"]) == (3, "final", "done")
    assert (said["validation"], said["test"], said["best_epoch"]) == (None, {}, None)
    assert said["steps"] == epochs * steps
    assert f"for {said['steps']} steps, the median of those that validation chose in 4 runs" in said["protocol"]
    assert f": {epochs} of 4 epochs of {steps} steps; no rows held out" in said["protocol"]
    about = read(folder / "run.json")
    assert (about["stop_after_epoch"], about["epoch_steps"]) == (epochs, steps)
    assert not (folder / "predictions.parquet").exists() and not list(folder.glob("checkpoint-*"))
    # The cosine of all four epochs, cut off: it does not reach 0.
    logged = learning_rates(folder)
    ends = steps * np.arange(1, epochs + 1) - 1  # the rate that the last step of an epoch was made with
    np.testing.assert_allclose(logged, 0.005 * (1 + np.cos(np.pi * ends / (4 * steps))), atol=1e-9)


def epoch_steps(experiment, run):
    """Batches of four rows of one speaker that a pass over the fold's training rows takes."""
    speakers = experiment.data.speakers[experiment.data.rows(run.fold.train)]
    return sum(-(-count // 4) for count in Counter(speakers.tolist()).values())


def test_it_is_tracked_to_its_end(copied, caplog):
    """It has no validation and no test scores: a tracker that looks for them fails, and says so."""
    job, settings = copied
    folder = train_final_model(*plan_experiment(replace(settings, report_to=["tensorboard"]), job))
    assert list((folder / "tensorboard").glob("events*"))
    assert "could not be sent" not in caplog.text


def test_it_is_not_trained_twice_unless_its_runs_change(copied, monkeypatch):
    job, settings = copied
    folder = train_final_model(*plan_experiment(settings, job))
    before = weights(folder)
    stop = read(folder / "run.json")["stop_after_epoch"]
    with monkeypatch.context() as patch:
        patch.setattr(CurriculumTrainer, "train", lambda *_, **__: pytest.fail("trained again"))
        assert train_final_model(*plan_experiment(settings, job)) == folder
    other = 1 if stop > 1 else 2
    for path in job.glob("*/seed-*/*/metrics.json"):
        path.write_text(json.dumps({**read(path), "best_epoch": other}))
    train_final_model(*plan_experiment(settings, job))
    assert read(folder / "run.json")["stop_after_epoch"] == other
    after = weights(folder)
    assert any(not np.array_equal(before[name], after[name]) for name in before)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.unlink()  # and not in what it is linked to
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("model-00001-of-00002.safetensors", flip_a_bit, "has changed"),
        ("tokenizer.json", Path.unlink, "is missing"),
        ("fusions.py", lambda path: path.write_text("x = 1"), "has changed"),
    ],
)
def test_a_damaged_one_is_not_handed_on(finished, tmp_path, caplog, name, damage, said):
    """The final model is trained again; of a fold it is said how to have it again."""
    job, settings, _ = finished
    job = shutil.copytree(job, tmp_path / "job")
    before = read(job / "both-of-them" / "final" / "model" / "checksums.json")
    for model in job.glob("both-of-them/**/model"):
        damage(model / name)
    fold = Push(job, "Both of them", "user/name", final_model=False)
    with pytest.raises(InputError, match=rf"nothing is pushed: .*{name} {said}.* To have it again, give"):
        model_folder(fold)
    folder = train_final_model(*plan_experiment(settings, job))
    assert f"{name} {said}" in caplog.text and "it is trained again" in caplog.text
    assert read(folder / "model" / "checksums.json") == before
    refuse_changed_export(folder / "model")
    for model in job.glob("both-of-them/seed-*/*/model"):
        shutil.rmtree(model)
    with pytest.raises(InputError, match="nothing is pushed: .*model is gone. To have it again, delete"):
        model_folder(fold)


@pytest.mark.parametrize("step", [3, 9])
def test_interrupted_it_goes_on_to_the_same_weights(finished, copied, monkeypatch, step):
    job, settings = copied
    for place in (job, finished[0]):
        for path in place.glob("*/seed-*/*/metrics.json"):
            path.write_text(json.dumps({**read(path), "best_epoch": 3}))
    undisturbed = train_final_model(*plan_experiment(settings, finished[0]))
    train = CurriculumTrainer.training_step

    def interrupted(trainer, *args, **kwargs):
        if trainer.state.global_step == step:
            raise KeyboardInterrupt
        return train(trainer, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CurriculumTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_final_model(*plan_experiment(settings, job))
    assert list((job / "both-of-them" / "final").glob("checkpoint-*"))
    folder = train_final_model(*plan_experiment(settings, job))
    expected, found = weights(undisturbed), weights(folder)
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(expected[name], found[name], err_msg=name)
    assert learning_rates(folder) == learning_rates(undisturbed)


def test_what_can_not_be_is_refused(copied, tmp_path):
    job, settings = copied
    experiment, runs = plan_experiment(settings, job)
    run = runs[1]
    path = run.folder / "metrics.json"
    content = path.read_text()
    path.unlink()
    with pytest.raises(InputError, match="is not finished .*metrics.json is missing"):
        train_final_model(experiment, runs)
    path.write_text(json.dumps({**json.loads(content), "identity": "another"}))
    with pytest.raises(InputError, match="other settings or data than there are now"):
        train_final_model(experiment, runs)
    about = read(run.folder / "run.json")
    (run.folder / "run.json").write_text(json.dumps({**about, "processes": 4}))
    with pytest.raises(InputError, match="by 4 processes, and now there are 1: add --push_to_hub to the command"):
        train_final_model(experiment, runs)
    plateau = load_recipe(write_job_recipe(tmp_path, lr_scheduler="plateau")).experiments[0]
    with pytest.raises(InputError, match="plateau, which follows validation.*--final_model false"):
        train_final_model(*plan_experiment(plateau, job))
    assert not (job / "both-of-them" / "final").exists()
