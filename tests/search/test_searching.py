"""A search: what it finds, what it never sees, and that it goes on."""

import csv
import json
import logging
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from forked import finish
from forked import start
from small_jobs import die
from small_jobs import run_files

from emomm.cli.main import main
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.experiments.job import run
from emomm.interruption import Interrupted
from emomm.job_folder import JobFolder
from emomm.job_folder import job_results
from emomm.reporting.report import write_report
from emomm.search import planning
from emomm.search import searching
from emomm.search.planning import SearchOptions
from emomm.search.planning import plan_search
from emomm.search.searching import search
from emomm.search.space import read_space
from emomm.search.study import TrialTrainer
from emomm.settings.recipe import load_recipe

# One good value among those that learn nothing; and one that is nearly as good.
RATES = [1e-7, 1e-6, 0.03]
RECIPE = {
    "train_dataset": "synthetic",
    "corpora": {
        "synthetic": {
            "generator": {
                "rows": 48, "speakers": 4, "sessions": 2, "audio_dim": 4, "classes": ["sad", "happy"],
                "audio_accuracy": 0.97, "frames": [1, 1],
            }
        }
    },
    "modality": "audio",
    "validation": "random",
    "validation_fraction": 0.34,
    "seeds": [1],
    "hidden_dim": 0,
    "num_epochs": 2,
    "batch_size": 8,
    "learning_rate": 1e-7,
    "lr_width_limit": None,
    "floors": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    """Reports are others' tests, and what runs that learn nothing say is meant."""
    logging.getLogger("emomm").setLevel(logging.ERROR)
    yield
    logging.getLogger("emomm").setLevel(logging.NOTSET)


def write(folder: Path, name: str = "recipe", space=None, **fields) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    recipe = {**RECIPE, "output_dir": str(folder / "job"), "store_dir": str(folder / "store"), **fields}
    path.write_text(json.dumps({"experiments": [{"name": "voice"}], **recipe}))
    (folder / "space.json").write_text(json.dumps(space or {"learning_rate": {"choices": RATES}}))
    return path


def options(folder: Path, **given) -> SearchOptions:
    return SearchOptions(read_space(folder / "space.json"), **{"trials": 4, **given})


def trials_in(folder: Path) -> list[dict[str, str]]:
    with open(JobFolder(folder / "job").search.trials, newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """A nested search that is through."""
    folder = tmp_path_factory.mktemp("nested")
    outcome = search(load_recipe(write(folder)), options(folder))
    assert not outcome.failed
    return folder, outcome


def test_the_planted_value_is_found_in_every_fold(nested):
    folder, outcome = nested
    results = job_results(folder / "job")
    own, found = results["experiments"]
    assert own["name"] == "voice" and found["name"] == "voice (searched)"
    assert {each["settings"]["learning_rate"] for each in found["searched"]["found"].values()} == {0.03}
    (of_corpus,) = found["summary"].values()
    assert of_corpus["uar"]["pooled"] > own["summary"]["synthetic"]["uar"]["pooled"] + 0.2
    assert "nested cross-validation" in outcome.text and "4 trials" in outcome.text
    assert "test rows: voice (searched) - voice: UAR +" in outcome.text
    assert results["chosen_on_validation"] == {}  # of validation scores that are the highest of many
    files = JobFolder(folder / "job").experiment("voice (searched)")
    assert json.loads(files.run(1, "session-1").record.read_text())["settings"]["learning_rate"] == 0.03


def test_trials_are_listed(nested):
    folder, _ = nested
    rows = trials_in(folder)
    assert [(row["study"], row["trial"]) for row in rows] == [
        (fold, str(number)) for fold in ("session-1", "session-2") for number in range(4)
    ]
    first = [row for row in rows if row["trial"] == "0"]
    assert {row["learning_rate"] for row in first} == {"1e-07"}  # the recipe's own
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    best = max(rows[:4], key=lambda row: float(row["score"]))
    assert best["learning_rate"] == "0.03"


def test_best_is_a_recipe_that_gives_the_same_runs(nested, tmp_path):
    folder, _ = nested
    recipe = load_recipe(JobFolder(folder / "job").search.best, {"output_dir": str(tmp_path / "again")})
    (settings,) = recipe.experiments
    assert settings.by_fold == {name: {"learning_rate": 0.03} for name in ("session-1", "session-2")}
    run(recipe)
    files = [JobFolder(place).experiment("voice (searched)").run(1, "session-2") for place in
             (folder / "job", tmp_path / "again")]  # fmt: skip
    first, second = (run_files(each.path) for each in files)
    assert first["metrics"] == second["metrics"] and first["predictions"].equals(second["predictions"])
    (entry,) = job_results(tmp_path / "again")["experiments"]
    assert entry["searched"]["trials"] == 4  # whoever runs it is told


def test_the_same_command_again_tries_nothing(nested, monkeypatch):
    folder, outcome = nested

    def refuse(*args, **kwargs):
        raise AssertionError("a trial, or a run, is trained")

    monkeypatch.setattr(CurriculumTrainer, "train", refuse)
    before = trials_in(folder)
    again = search(load_recipe(folder / "recipe.json"), options(folder))
    assert again.text == outcome.text and trials_in(folder) == before


def test_the_report_shows_the_search(nested):
    folder, _ = nested
    page = write_report([folder / "job"])
    figures = {path.name for path in (page.parent / "figures").iterdir()}
    for kind in ("search-history", "search-importance"):
        assert {f"{kind}-voice-searched.png", f"{kind}-voice-searched.svg"} <= figures
    text = page.read_text()
    assert "Search for settings" in text and "nested cross-validation" in text and "- voice: UAR +" in text
    with open(page.parent / "tables" / "search.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["study"], row["learning_rate"]) for row in found] == [("session-1", "0.03"), ("session-2", "0.03")]


def test_another_search_in_the_folder_is_refused(nested):
    folder, _ = nested
    recipe = load_recipe(folder / "recipe.json")
    space = replace(options(folder).space.dimensions[0], choices=(1e-7, 0.5))
    other = replace(options(folder), space=replace(options(folder).space, dimensions=(space,)))
    with pytest.raises(InputError, match=r"holds another search \(learning_rate was searched in .*--overwrite"):
        search(recipe, other)
    changed = replace(recipe, experiments=[replace(recipe.experiments[0], num_epochs=3)])
    with pytest.raises(InputError, match=r"another search \(num_epochs was 2, now 3\)"):
        search(changed, options(folder), dry_run=True)
    with pytest.raises(InputError, match="form was"):
        search(recipe, options(folder, once=True))
    with pytest.raises(InputError, match="has settings that a search found"):
        search(load_recipe(JobFolder(folder / "job").search.best), options(folder))


# ---- test rows ------------------------------------------------------------------------------------------------------


def csv_corpus(path: Path, swapped: bool) -> None:
    """Voice features of two sessions; `swapped`: those of session 1 have the other label."""
    rng, lines = np.random.default_rng(0), ["utterance_id,speaker,session,label,audio_features"]
    for row in range(60):
        label, session = row % 2, 1 + row % 4 // 2
        vector = rng.normal(size=3) + 2 * label
        shown = 1 - label if swapped and session == 1 else label
        name = ("sad", "happy")[shown]
        values = " ".join(f"{value:.4f}" for value in vector)
        lines.append(f'r{row},s{row % 8},{session},{name},"[{values.replace(" ", ", ")}]"')
    path.write_text("\n".join(lines))


def test_labels_of_test_rows_change_no_trial(tmp_path):
    found = []
    for swapped in (False, True):
        folder = tmp_path / str(swapped)
        folder.mkdir()
        csv_corpus(folder / "own.csv", swapped)
        spec = {"path": str(folder / "own.csv"), "labels": ["sad", "happy"], "audio_dim": 3}
        recipe = load_recipe(write(folder, train_dataset="own", corpora={"own": spec}))
        plan = plan_search(recipe, options(folder, trials=3))
        searching._begin(plan, False)
        searching._try_all(plan, searching.engine_of())
        found.append(trials_in(folder))
    (one, two) = ([row for row in rows if row["study"] == "session-1"] for rows in found)
    assert one == two and len(one) == 3
    others = [[row["score"] for row in rows if row["study"] == "session-2"] for rows in found]
    assert others[0] != others[1]  # where they are trained on


def test_a_study_has_no_row_that_its_fold_tests(tmp_path):
    plan = plan_search(load_recipe(write(tmp_path)), options(tmp_path))
    assert [study.name for study in plan.studies] == ["voice/session-1", "voice/session-2"]
    for study, other in zip(plan.studies, ("2", "1"), strict=True):
        (corpus,) = study.corpora
        assert study.fold.test == () and {str(name)[-1] for name in corpus.sessions} == {other}
        data = study.experiment(study.settings).data
        rows = np.concatenate([data.rows(study.fold.train), data.rows(study.fold.validation)])
        assert sorted(rows.tolist()) == list(range(len(data.label_ids)))
    assert plan.experiments[0].leaks == []


def test_a_protocol_whose_test_rows_follow_the_seed_is_refused(tmp_path, monkeypatch):
    real = planning.folds_by_seed

    def other(data):
        (seed,) = data.settings.seeds
        first, second = real(data)[seed]
        return {seed: [replace(first, name=second.name), replace(second, name=first.name)]}

    monkeypatch.setattr(planning, "folds_by_seed", other)
    with pytest.raises(InputError, match="its test rows must be the same for all seeds"):
        plan_search(load_recipe(write(tmp_path)), options(tmp_path))


# ---- once -----------------------------------------------------------------------------------------------------------


def test_once_says_what_it_leaks(tmp_path):
    outcome = search(load_recipe(write(tmp_path)), options(tmp_path, once=True, trials=3))
    (entry,) = [each for each in job_results(tmp_path / "job")["experiments"] if "searched" in each]
    assert entry["searched"]["fold"] == "session-1" and entry["searched"]["leaks"] == ["session-2"]
    assert "Rows that session-2 tests were trained on or validated there" in outcome.text
    assert "optimistic" in outcome.text
    assert {row["study"] for row in trials_in(tmp_path)} == {"session-1"}
    (settings,) = load_recipe(JobFolder(tmp_path / "job").search.best).experiments
    assert settings.learning_rate == 0.03 and not settings.by_fold


# ---- ends -----------------------------------------------------------------------------------------------------------


def test_a_search_that_is_interrupted_goes_on_to_the_same_trials(nested, tmp_path, monkeypatch):
    recipe = load_recipe(write(tmp_path))
    real, begun = TrialTrainer.train, []

    def train(self, *args, **kwargs):
        begun.append(self)
        if len(begun) == 4:
            raise Interrupted(2)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(TrialTrainer, "train", train)
    with pytest.raises(KeyboardInterrupt):
        search(recipe, options(tmp_path))
    assert len(trials_in(tmp_path)) == 3
    outcome = search(recipe, options(tmp_path))
    assert len(begun) == 4 + 5  # those that had ended are not tried again
    assert trials_in(tmp_path) == trials_in(nested[0])
    assert outcome.text.replace(str(tmp_path), "") == nested[1].text.replace(str(nested[0]), "")


def _search_until_killed(folder: Path) -> None:
    real, begun = TrialTrainer.train, []

    def train(self, *args, **kwargs):
        begun.append(self)
        if len(begun) == 2:
            with open(JobFolder(folder / "job").search.journal, "ab") as file:
                file.write(b'{"op_code": 5, "worker')  # torn
            die()
        return real(self, *args, **kwargs)

    TrialTrainer.train = train
    search(load_recipe(folder / "recipe.json"), options(folder, once=True, trials=3))


def test_a_search_that_is_killed_goes_on(tmp_path):
    write(tmp_path)
    assert finish(start(_search_until_killed, tmp_path)) == -9
    outcome = search(load_recipe(tmp_path / "recipe.json"), options(tmp_path, once=True, trials=3))
    assert not outcome.failed and [row["trial"] for row in trials_in(tmp_path)] == ["0", "1", "2"]


def test_what_was_killed_before_it_was_told_is_tried_again(nested, tmp_path):
    """A process can end between what a trial says of itself and its state."""
    folder = tmp_path / "copy"
    shutil.copytree(nested[0], folder)
    journal = JobFolder(folder / "job").search.journal
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if b'"ended"' in line)
    journal.write_bytes(b"".join(lines[: last + 1]))  # its state is told after it
    recipe = load_recipe(folder / "recipe.json", {"output_dir": str(folder / "job")})
    search(recipe, options(folder))
    assert trials_in(folder) == trials_in(nested[0])


def test_a_damaged_journal_is_said(nested, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(nested[0], folder)
    journal = JobFolder(folder / "job").search.journal
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([lines[0], b"{torn", *lines[2:]]) + b"\n")
    recipe = load_recipe(folder / "recipe.json", {"output_dir": str(folder / "job")})
    with pytest.raises(InputError, match=r"journal\.log, line 2 is damaged"):
        search(recipe, options(folder))


def test_what_diverges_has_failed_and_is_never_the_best(tmp_path):
    space = {"learning_rate": {"choices": [1e-7, 1e30]}}
    recipe = load_recipe(write(tmp_path, space=space, max_grad_norm=0.0))
    search(recipe, options(tmp_path, once=True, trials=4))
    rows = trials_in(tmp_path)
    diverged = [row for row in rows if row["learning_rate"] == "1e+30"]
    assert diverged and all(row["state"] == "failed" and "training diverged" in row["why"] for row in diverged)
    (settings,) = load_recipe(JobFolder(tmp_path / "job").search.best).experiments
    assert settings.learning_rate == 1e-7


def test_where_all_trials_fail_nothing_is_chosen(tmp_path):
    space = {"learning_rate": {"choices": [1e29, 1e30]}}
    recipe = load_recipe(write(tmp_path, space=space, max_grad_norm=0.0))
    with pytest.raises(InputError, match=r"none of its 2 trials gave a score \(the last: training diverged"):
        search(recipe, options(tmp_path, once=True, trials=2))
    assert [row["state"] for row in trials_in(tmp_path)] == ["failed", "failed"]
    assert not JobFolder(tmp_path / "job").results.exists()


def test_a_full_disk_is_said_and_the_same_command_goes_on(tmp_path, monkeypatch):
    recipe = load_recipe(write(tmp_path))
    with monkeypatch.context() as patch:

        def full(*args):
            raise OSError(28, "No space left on device")

        patch.setattr(searching, "write_trials", full)
        with pytest.raises(InputError, match="No space left on device.*once that is mended, the same command goes on"):
            search(recipe, options(tmp_path, once=True, trials=2))
    assert search(recipe, options(tmp_path, once=True, trials=2)).failed == []


# ---- side by side ---------------------------------------------------------------------------------------------------


def _search_side_by_side(folder: Path, jobs: int, once: bool, trials: int) -> None:
    recipe = load_recipe(folder / "recipe.json")
    plan = plan_search(recipe, options(folder, once=once, trials=trials))
    engine = searching._engine(recipe, plan.options, jobs, 1)
    with engine.at_work():
        searching._begin(plan, False)
        lost, _ = searching._try_all(plan, engine)
    assert not lost


def test_two_processes_try_what_one_tries(nested, tmp_path):
    write(tmp_path)
    assert finish(start(_search_side_by_side, tmp_path, 2, False, 4)) == 0
    assert trials_in(tmp_path) == trials_in(nested[0])


def _search_side_by_side_until_killed(folder: Path) -> None:
    here, real, begun = os.getpid(), TrialTrainer.train, []

    def train(self, *args, **kwargs):
        begun.append(self)
        if len(begun) == 2:  # in the first process to come to its second trial
            os.kill(here, signal.SIGKILL)
        return real(self, *args, **kwargs)

    TrialTrainer.train = train
    _search_side_by_side(folder, 2, False, 4)


def test_two_processes_that_are_killed_go_on_to_the_same_trials(nested, tmp_path):
    recipe = load_recipe(write(tmp_path))
    assert finish(start(_search_side_by_side_until_killed, tmp_path)) == -9
    plan = plan_search(recipe, options(tmp_path))
    begun = JobFolder(tmp_path / "job").search.journal.read_text()
    assert begun.count('"op_code":4') >= 2  # Optuna's code of a new trial
    searching._begin(plan, False)
    searching._try_all(plan, searching.engine_of())
    assert trials_in(tmp_path) == trials_in(nested[0])


def test_two_searches_at_once_in_a_folder_are_refused(tmp_path):
    recipe = load_recipe(write(tmp_path))
    (tmp_path / "job").mkdir()
    with (
        FileLock(JobFolder(tmp_path / "job").lock),
        pytest.raises(
            InputError, match=r"another job is writing into .*job; wait for it, or give another --output_dir"
        ),
    ):
        search(recipe, options(tmp_path))
    assert not JobFolder(tmp_path / "job").search.path.exists()


def test_two_processes_share_a_study(tmp_path):
    write(tmp_path)
    assert finish(start(_search_side_by_side, tmp_path, 5, True, 3)) == 0
    rows = trials_in(tmp_path)
    assert [row["trial"] for row in rows] == ["0", "1", "2"] and rows[0]["learning_rate"] == "1e-07"


# ---- the command ----------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_searched_and_writes_nothing(tmp_path, capsys):
    recipe = write(tmp_path, seeds=[0, 1])
    assert main(["search", str(recipe), "--space", str(tmp_path / "space.json"), "--trials", "7", "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "2 studies, 14 trials with seed 2" in said and "1e-07, 1e-06, 0.03" in said
    assert "Then 4 runs with the recipe's settings and 4 with those found" in said
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "--space is missing"),
        (["--space", "SPACE", "--search_seed", "1"], "--search_seed is 1, which is a seed of the runs too"),
        (["--space", "SPACE", "--trials", "0"], "must be a whole number of at least 1"),
        (["--space", "SPACE", "--jobs", "0"], "--jobs: is '0', but must be a whole number of at least 1, or auto"),
        (["--space", "SPACE", "--engine", "ray"], "--engine is for emomm run: trials are carried out on this machine"),
        (["--space", "SPACE", "--ray_address", "auto"], "--ray_address is for emomm run"),
        (["--space", "SPACE", "--learning_rat", "1"], "Did you mean 'learning_rate'"),
        (["--space", "SPACE", "--experiment", "words"], "there is no experiment 'words'"),
    ],
)
def test_wrong_options_are_refused(tmp_path, capsys, given, said):
    recipe = write(tmp_path)
    given = [str(tmp_path / "space.json") if each == "SPACE" else each for each in given]
    assert main(["search", str(recipe), *given, "--dry_run"]) == 2
    assert said in capsys.readouterr().err
