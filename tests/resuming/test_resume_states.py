"""A state that is not as it was written is not gone on from."""

import json
import logging
import shutil

import numpy as np
import pytest
from test_curriculum_trainer import STEPS
from test_curriculum_trainer import assert_equal
from test_curriculum_trainer import new_trainer
from test_curriculum_trainer import weights_of

from emomm.resuming.resume_states import fault
from emomm.resuming.resume_states import newest_state
from emomm.resuming.resume_states import resume_states
from emomm.resuming.resume_states import seal

STOPPED = 2 * STEPS + 3
ARGUMENTS = {"dropout": 0.1, "lr_scheduler_type": "linear", "save_seconds": 0.0, "curriculum_type": "model_confidence"}
ARGUMENTS |= {"curriculum_epochs": 3, "num_train_epochs": 3, "scripted": [0.2, 0.6, 0.3]}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder of a run that was interrupted after `STOPPED` steps, with its two newest states."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    trainer = new_trainer(folder, **ARGUMENTS)
    trainer.seen.stop_after = STOPPED
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert [path.name for path in resume_states(folder)] == [f"checkpoint-{STOPPED}", f"checkpoint-{STOPPED - 1}"]
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The last and the best weights of the run that nothing interrupted."""
    trainer = new_trainer(tmp_path_factory.mktemp("whole"), **ARGUMENTS)
    trainer.train()
    last = weights_of(trainer)
    trainer.load_best()
    return last, weights_of(trainer)


@pytest.fixture
def run(interrupted, tmp_path):
    """A copy of it."""
    return shutil.copytree(interrupted, tmp_path / "run")


def flip(path):
    """Changes a bit in the middle of a file, and nothing of its size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def go_on(run):
    """The run, gone on with: the last weights, the best ones, and how many steps it took."""
    steps_of_epochs = 2  # evaluations were before it was interrupted
    trainer = new_trainer(run, **{**ARGUMENTS, "scripted": ARGUMENTS["scripted"][steps_of_epochs:]})
    trainer.train(resume_from_checkpoint=True)
    last = weights_of(trainer)
    trainer.load_best()
    return last, weights_of(trainer), len(trainer.seen.rows)


def test_a_state_names_all_that_it_must_hold(interrupted):
    """So that what is added to a state one day is protected as well."""
    state = resume_states(interrupted)[0]
    parts = json.loads((state / "parts.json").read_text())["parts"]
    assert parts.keys() == {path.name for path in state.iterdir()} - {"parts.json"}
    assert parts.keys() >= {
        "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json",
        "emomm_state.json", "running_loss.json", "confidence.npy", "best.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), flip, cut, lambda path: path.write_bytes(b"")])
def test_a_state_with_a_part_that_is_gone_or_changed_is_known(run, damage, caplog):
    state, before = resume_states(run)
    for path in sorted(state.iterdir()):
        kept = path.read_bytes()
        damage(path)
        assert fault(state) is not None, path.name
        assert path.name in fault(state) or path.name == "parts.json", fault(state)
        path.write_bytes(kept)
    assert fault(state) is None and newest_state(run) == state
    damage(state / "rng_state.pth")
    with caplog.at_level(logging.INFO, "emomm"):
        assert newest_state(run) == before
    assert f"checkpoint-{STOPPED} is passed over and removed: its rng_state.pth" in caplog.text
    assert f"goes on from checkpoint-{STOPPED - 1}" in caplog.text and resume_states(run) == [before]


@pytest.mark.parametrize("part", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "confidence.npy"])
def test_the_run_goes_on_from_the_state_before_to_the_same_bits(run, whole, part):
    (resume_states(run)[0] / part).unlink()
    last, best, steps = go_on(run)
    assert steps == 3 * STEPS - (STOPPED - 1)
    assert_equal(last, whole[0])
    assert_equal(best, whole[1])


def test_without_any_whole_state_the_run_begins_anew(run, caplog):
    for state in resume_states(run):
        flip(state / "optimizer.pt")
    with caplog.at_level(logging.WARNING, "emomm"):
        assert newest_state(run) is None
    assert caplog.text.count("is passed over and removed") == 2 and "the run begins anew" in caplog.text
    assert resume_states(run) == []


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), cut, flip])
def test_the_best_weights_come_from_the_state(run, whole, damage):
    """Of those that lie beside it, nothing says what they are."""
    damage(run / "best.safetensors")
    last, best, steps = go_on(run)
    assert steps == 3 * STEPS - STOPPED
    assert_equal(last, whole[0])
    assert_equal(best, whole[1])


def test_a_state_of_another_run_and_folders_that_are_none(tmp_path):
    assert newest_state(tmp_path / "nowhere") is None
    for name in ("checkpoint-abc", "checkpoint-1-old", "checkpoint-"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-8").write_text("a file")
    assert newest_state(tmp_path) is None and len(list(tmp_path.iterdir())) == 4
    state = tmp_path / "checkpoint-7"
    state.mkdir()
    np.save(state / "a.npy", np.arange(3))
    seal(state, "run a")
    assert newest_state(tmp_path, "run a") == state
    assert fault(state, "run b") == fault(state) == "it is of another run"
    (state / "parts.json").write_text('{"run": "run a", "parts": ["a.npy"]}')
    assert "no list of its parts" in fault(state, "run a")
