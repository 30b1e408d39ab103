"""A user's own curriculum and protocol, in files of theirs: trained, gone on with, and refused before that."""

import json

import pytest
from small_jobs import assert_same_run
from small_jobs import write_recipe

from emomm.cli import main as cli
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.experiments import job
from emomm.reporting.report_data import read_report
from emomm.reporting.words import caveats
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


# ---- protocols ------------------------------------------------------------------------------------------------------

# Tests a session by another, and reads a list of rows that are left out. All speakers of SMALL: 0 and 1, 2 and 3.
BY_LIST = """
from pathlib import Path
import numpy as np
from emomm import Split, register_protocol

@register_protocol("by_list"OPTIONS)
def by_list(rows):
    '''Two halves of the corpus without what is listed in left_out.txt.

    Each is tested once.
    '''
    left_out = (Path(__file__).parent / "left_out.txt").read_text().split()
    kept = ~np.isin(rows.utterance_ids, left_out)
    for number, session in enumerate(np.unique(rows.sessions)):
        train, test = kept & (rows.sessions != session), kept & (rows.sessions == session)
        pass  # an edit
        yield Split(f"half {number}", train, test, description=f"session {session} is tested")
"""
FOLDS = ("half-0-", "half-1-")  # and a hash: of a name that is no folder's


def protocol(edit="pass", options=""):
    return BY_LIST.replace("pass  # an edit", edit).replace("OPTIONS", options)


@pytest.fixture
def listed(tmp_path):
    """Writes a job of voice with the own protocol: `listed(name, **fields)`."""
    (tmp_path / "split.py").write_text(protocol())
    (tmp_path / "left_out.txt").write_text("row-0 row-1 row-47")

    def write(name="a", **fields):
        plain = {"modality": "audio", "floors": False, "use_curriculum_learning": False, "num_epochs": 2}
        own = {"protocol_module": "split.py", "evaluation_mode": "by_list"}
        return write_recipe(tmp_path, name, **{**plain, **own, **fields})

    return write


def folders(job_folder):
    return sorted((job_folder / "small" / "seed-1").iterdir())


def test_an_own_protocol_trains_and_goes_on_to_the_same(listed, tmp_path, monkeypatch):
    outcome = job.run(load_recipe(listed()))
    assert outcome.failed == []
    words = "by_list, a protocol of its user's own: Two halves of the corpus without what is listed in left_out.txt"
    assert f"small: {words}." in outcome.text.splitlines()
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    (entry,) = results["experiments"]
    assert entry["protocol"]["about"] in words and not entry["protocol"]["names_validation"]
    assert [run["fold"][:7] for run in entry["runs"]] == list(FOLDS)
    assert sum(run["test"]["synthetic"]["n"] for run in entry["runs"]) == 45
    assert all(run["parts"]["test"]["speakers_trained_on"] == 0 for run in entry["runs"])
    assert any("fold half 1 (session 2 is tested): trained on" in line for line in results["protocol"])
    step = CurriculumTrainer.training_step

    def interrupted(trainer, *args):
        if trainer.state.global_step == 5:
            raise KeyboardInterrupt
        return step(trainer, *args)

    again = listed("b", save_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(CurriculumTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            job.run(load_recipe(again))
    assert list((tmp_path / "b").rglob("checkpoint-*"))
    assert job.run(load_recipe(again)).failed == []
    for one, other in zip(folders(tmp_path / "a"), folders(tmp_path / "b"), strict=True):
        assert_same_run(one, other)
        assert not list((one / "model").glob("*split*"))  # an exported model needs no protocol


def test_a_changed_protocol_is_another_run(listed, tmp_path):
    """The own file, or one that it reads; to an experiment with a protocol of EmoMM's it is nothing."""
    assert job.run(load_recipe(listed(num_epochs=1))).failed == []
    (tmp_path / "split.py").write_text(f"{protocol()}\n")
    with pytest.raises(InputError, match="other settings or data .protocol_module was .*, now "):
        plan_again = load_recipe(listed(num_epochs=1))
        job.run(plan_again)
    (tmp_path / "split.py").write_text(protocol())
    (tmp_path / "left_out.txt").write_text("row-0 row-1 row-46")
    with pytest.raises(InputError, match="other settings or data .rows of protocol_module was .*, now "):
        job.run(load_recipe(listed(num_epochs=1)))
    loso = {"evaluation_mode": "loso", "num_epochs": 1}
    assert job.run(load_recipe(listed("c", **loso))).failed == []
    (tmp_path / "split.py").write_text(f"{protocol()}\n")
    assert job.run(load_recipe(listed("c", **loso))).failed == []


DRAWN = """
import numpy as np
from emomm import Split, register_protocol

@register_protocol("drawn", shares_speakers=True)
def drawn(rows):
    "A third of the rows, drawn anew by each seed"
    order = np.random.default_rng(rows.seed).permutation(len(rows))
    yield Split(f"drawn by {rows.seed}", order[:16], order[16:32], order[32:])
"""


def test_folds_may_follow_from_the_seed_and_share_speakers(listed, tmp_path):
    """With other rows in each seed's test: scores, floors, notes and report know which; and how many are known."""
    (tmp_path / "split.py").write_text(DRAWN)
    path = listed(evaluation_mode="drawn", seeds=[1, 2], num_epochs=1, floors=True)
    outcome = job.run(load_recipe(path))
    assert outcome.failed == []
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    (entry,) = results["experiments"]
    tested = [run["parts"]["test"] for run in entry["runs"]]
    known = sum(part["speakers_trained_on"] for part in tested)
    assert known > 0 and known == sum(part["speaker_count"] for part in tested)  # four speakers, thirds of 48 rows
    assert (
        f"small: tested speakers are trained on too ({known} of the {known} tested speakers of all runs)"
        in outcome.text
    )
    assert results["protocol"][0].endswith("; tested speakers that are trained on too: 4")
    assert entry["floors"]["folds"]["voice"][0]["seeds"] == [1] and len(entry["floors"]["folds"]["voice"]) == 2
    shared = [line for line in results["protocol"] if line.startswith("synthetic: of ")]
    assert len(shared) == 1 and "of 32 test rows" in shared[0]
    data = read_report([tmp_path / "a"])
    assert any(line.startswith("small: tested speakers are trained on too") for line in caveats(data))
    assert entry["selection"]["validation"] == "protocol drawn"


# A row of the tested session is trained on; and is not tested.
TRAINED_ON = "train[np.flatnonzero(test)[:1]] = True"
KNOWN_SPEAKER = f"{TRAINED_ON}; test = test & ~train"
REFUSED = {
    "a tested row that is trained on": (
        protocol(TRAINED_ON),
        ["fold 'half 0'", "('row-", "is in both training and test"],
    ),
    "a tested speaker that is trained on": (
        protocol(KNOWN_SPEAKER),
        ["speaker 'synthetic/", "is in both training and test", "shares_speakers=True"],
    ),
    "no docstring": (protocol().replace("    '''Two", "    f'''Two"), ["split.py, line 6", "no docstring"]),
    "another name": (
        protocol().replace('"by_list"', '"by_lost"'),
        ['evaluation_mode is "by_list"', "it registers by_lost", "Did you mean 'by_lost'?"],
    ),
    "no file": (None, ["protocol_module is", "split.py", "Python file"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_protocol_is_one_message_before_training(listed, tmp_path, capsys, case):
    text, said = REFUSED[case]
    (tmp_path / "split.py").unlink() if text is None else (tmp_path / "split.py").write_text(text)
    assert cli.main(["run", str(listed()), "--dry_run"]) == 2
    err = capsys.readouterr().err
    assert all(words in err for words in said), err
    assert "Traceback" not in err and not (tmp_path / "a").exists()
