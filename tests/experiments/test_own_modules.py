"""A user's own curriculum, in a file of theirs: trained, gone on with, and refused by name before anything trains."""

import json

import pytest
from small_jobs import assert_same_run
from small_jobs import write_recipe

from emomm.cli import main as cli
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.experiments import job
from emomm.settings.recipe import load_recipe

HEAD = "import numpy as np\nfrom emomm import register_curriculum\n\n"
# Reads what it is sure of, and a file beside it: the first class late.
LATE_FIRST_CLASS = (
    HEAD
    + """from pathlib import Path

@register_curriculum("late_first_class", needs=("difficulty", "confidence"))
def late_first_class(rows):
    late = int((Path(__file__).parent / "late.txt").read_text())
    order = rows.ascending("difficulty") if rows.confidence is None else rows.descending("confidence")
    chosen = order[: rows.size]
    return chosen[rows.labels[chosen] != 0] if rows.epoch < late else chosen
"""
)
OWN = {"curriculum_module": "mine.py", "curriculum_type": "late_first_class", "curriculum_epochs": 3}


@pytest.fixture
def recipe(tmp_path):
    """Writes a job of two runs of voice with the own curriculum: `recipe(name, **fields)`."""
    (tmp_path / "mine.py").write_text(LATE_FIRST_CLASS)
    (tmp_path / "late.txt").write_text("2")

    def write(name="a", **fields):
        fields = {"modality": "audio", "num_epochs": 4, "floors": False, **OWN, **fields}
        return write_recipe(tmp_path, name, **fields)

    return write


def plan(path):
    return job.run(load_recipe(path), dry_run=True)


def history(folder):
    return json.loads((folder / "small" / "seed-1" / "session-1" / "history.json").read_text())


def test_an_own_curriculum_trains_and_goes_on_to_the_same(recipe, tmp_path, monkeypatch):
    assert job.run(load_recipe(recipe())).failed == []
    shares = [entry["curriculum/class_0"] for entry in history(tmp_path / "a") if "curriculum/class_0" in entry]
    assert shares[:2] == [0, 0] and min(shares[2:]) > 0
    again = recipe("b", save_seconds=0)
    step = CurriculumTrainer.training_step

    def interrupted(trainer, *args):
        if trainer.state.global_step == 7:  # in epoch 1, whose pool the model's confidence shapes
            raise KeyboardInterrupt
        return step(trainer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(CurriculumTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            job.run(load_recipe(again))
    assert list((tmp_path / "b").rglob("checkpoint-*"))
    assert job.run(load_recipe(again)).failed == []
    for fold in ("session-1", "session-2"):
        one, other = (tmp_path / name / "small" / "seed-1" / fold for name in "ab")
        assert_same_run(one, other)
        assert not list((one / "model").glob("*mine*"))  # an exported model needs no curriculum


def test_a_file_that_changes_while_its_job_runs_does_not_change_it(recipe, tmp_path, monkeypatch):
    assert job.run(load_recipe(recipe("a"))).failed == []
    step = CurriculumTrainer.training_step

    def edited(trainer, *args):
        (tmp_path / "mine.py").write_text("an edit that is not finished")
        return step(trainer, *args)

    path = recipe("b")
    monkeypatch.setattr(CurriculumTrainer, "training_step", edited)
    assert job.run(load_recipe(path)).failed == []
    for fold in ("session-1", "session-2"):
        assert_same_run(*(tmp_path / name / "small" / "seed-1" / fold for name in "ab"))


def test_a_changed_file_is_another_run(recipe, tmp_path):
    """The own file, or one that it reads; moved elsewhere it is the same."""
    path = recipe(num_epochs=1)
    assert job.run(load_recipe(path)).failed == []
    (tmp_path / "moved.py").write_text(LATE_FIRST_CLASS)
    assert job.run(load_recipe(recipe(num_epochs=1, curriculum_module="moved.py"))).failed == []
    (tmp_path / "mine.py").write_text(f"{LATE_FIRST_CLASS}\n")
    with pytest.raises(InputError, match="other settings or data .curriculum_module was .*, now "):
        job.run(load_recipe(recipe(num_epochs=1)))
    (tmp_path / "mine.py").write_text(LATE_FIRST_CLASS)
    (tmp_path / "late.txt").write_text("0")
    with pytest.raises(InputError, match="other settings or data .rows of curriculum_module was .*, now "):
        job.run(load_recipe(recipe(num_epochs=1)))
    # To an experiment with a curriculum of EmoMM's, the file is nothing.
    plain = {"num_epochs": 1, "curriculum_type": "random"}
    assert job.run(load_recipe(recipe("c", **plain))).failed == []
    (tmp_path / "mine.py").write_text(f"{LATE_FIRST_CLASS}\n")
    assert job.run(load_recipe(recipe("c", **plain))).failed == []


GIVES = "@register_curriculum('mine')\ndef mine(rows):\n    return "
CURRICULA = {
    "no file": (None, ["curriculum_module is", "mine.py", "Python file"]),
    "a syntax error": ("def broken(:\n", ["curriculum_module", "mine.py, line 1: SyntaxError"]),
    "an error": ("width = 3\nratio = width / 0\n", ["mine.py, line 2: ZeroDivisionError: division by zero"]),
    "nothing registered": (HEAD, ["curriculum_type is", '"mine"', "none, difficulty", "it registers none"]),
    "another name": (
        HEAD + "@register_curriculum('mime')\ndef mine(rows):\n    return [0]\n",
        ["it registers mime", "Did you mean 'mime'?"],
    ),
    "a name of EmoMM's": (
        HEAD + "@register_curriculum('random')\ndef mine(rows):\n    return [0]\n",
        ["mine.py, line 4", "'random' is EmoMM's own"],
    ),
    "no function": (HEAD + "register_curriculum('mine')(3)\n", ["mine.py, line 4", "must be a function, got 3"]),
    "an unknown need": (
        HEAD + "@register_curriculum('mine', needs=['loss'])\ndef mine(rows):\n    return [0]\n",
        ["mine.py, line 4", "['loss']", "'difficulty', 'confidence', 'preset_order'"],
    ),
    "no rows": (HEAD + GIVES + "[]\n", ["'mine' in epoch 0", "mine.py", "gave no rows", "at least one"]),
    "nothing": (HEAD + GIVES + "None\n", ["'mine' in epoch 0", "gave None"]),
    "a mask": (HEAD + GIVES + "rows.labels > 0\n", ["of bool (18,)", "np.flatnonzero"]),
    "no whole numbers": (HEAD + GIVES + "[0.5]\n", ["of float64 (1,)", "from 0 to 17"]),
    "a row too many": (HEAD + GIVES + "[0, len(rows)]\n", ["row 18", "not among the 18 training rows"]),
    "a row from the end": (HEAD + GIVES + "[-1]\n", ["row -1", "not among the 18 training rows"]),
    "a row twice": (HEAD + GIVES + "[3, 1, 3]\n", ["row 3 more than once"]),
    "an error in a later epoch": (
        HEAD + GIVES + "np.arange(rows.size // (2 - rows.epoch))\n",
        ["'mine' in epoch 2", "mine.py, line 6: ZeroDivisionError"],
    ),
    "labels written to": (
        HEAD + "@register_curriculum('mine')\ndef mine(rows):\n    rows.labels[:] = 0\n    return [0]\n",
        ["mine.py, line 6: ValueError", "read-only"],
    ),
    "a draw of its own": (
        HEAD + GIVES + "np.random.permutation(len(rows))[: rows.size]\n",
        ["'mine' gave other rows when it was asked a second time", "rows.seed"],
    ),
    "a score not asked for": (
        HEAD + GIVES + "rows.ascending('difficulty')[: rows.size]\n",
        ["mine.py, line 6", "needs=('difficulty',)"],
    ),
    "a preset order that isn't there": (
        HEAD + "@register_curriculum('mine', needs=['preset_order'])\ndef mine(rows):\n    return [0]\n",
        ["curriculum_type is mine", "no complete curriculum_order"],
    ),
}


@pytest.mark.parametrize("case", CURRICULA)
def test_a_wrong_curriculum_is_one_message_before_training(recipe, tmp_path, capsys, case):
    text, said = CURRICULA[case]
    (tmp_path / "mine.py").unlink() if text is None else (tmp_path / "mine.py").write_text(text)
    path = recipe(curriculum_type="mine")
    assert cli.main(["run", str(path), "--dry_run"]) == 2
    err = capsys.readouterr().err
    assert all(words in err for words in said), err
    assert "Traceback" not in err and len([line for line in err.splitlines() if line.startswith("emomm")]) <= 1
    assert not (tmp_path / "a").exists()


def test_two_files_can_have_the_same_name(recipe, tmp_path):
    for name, row in (("mine.py", 3), ("other.py", 5)):
        (tmp_path / name).write_text(f"{HEAD}{GIVES}[{row}]\n")
    second = {"name": "second", "curriculum_module": str(tmp_path / "other.py")}
    path = recipe(curriculum_type="mine", num_epochs=1, experiments=[{"name": "small"}, second])
    assert job.run(load_recipe(path)).failed == []
    runs = [tmp_path / "a" / name / "seed-1" / "session-1" for name in ("small", "second")]
    labels = [json.loads((run / "run.json").read_text())["own"] for run in runs]
    assert labels[0] != labels[1]
    assert history(tmp_path / "a")[0]["curriculum/pool_size"] == 1
