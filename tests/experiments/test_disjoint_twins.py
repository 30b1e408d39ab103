"""`--price`: a leaky experiment's twin on disjoint folds, and what the leak comes to."""

import csv
import dataclasses
import json
import random

import pytest
from filelock import FileLock
from small_jobs import write_recipe

from emomm.errors import InputError
from emomm.experiments import job
from emomm.job_folder import JobFolder
from emomm.reporting.report_data import read_report
from emomm.reporting.words import lead as lead_text
from emomm.settings.recipe import load_recipe

VOICE = {
    "modality": "audio", "use_curriculum_learning": False, "use_difficulty_scaling": False,
    "use_speaker_disentanglement": False, "floors": False, "num_epochs": 1,
    "corpora": {"synthetic": {"generator": {"rows": 96, "speakers": 6, "sessions": 3, "audio_dim": 16}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """A finished job on two folds that share all speakers, with its price."""
    folder = tmp_path_factory.mktemp("priced")
    places = [number % 2 for number in range(96)]
    random.Random(0).shuffle(places)
    with (folder / "folds.csv").open("w") as file:
        file.write("utterance_id,fold,part\n")
        for number, place in enumerate(places):
            for fold in (0, 1):
                file.write(f"row-{number},{fold},{'test' if place == fold else 'train'}\n")
    path = write_recipe(folder, **VOICE, evaluation_mode="manifest", manifest="folds.csv")
    recipe = load_recipe(path)
    plan = job.run(recipe, dry_run=True, price=True)
    assert not recipe.output_dir.exists() and "small (disjoint)" in plan.text
    return recipe, job.run(recipe, price=True)


def test_the_difference_has_an_interval(priced):
    recipe, outcome = priced
    results = json.loads((recipe.output_dir / "results.json").read_text())
    (found,) = results["price"]
    assert (found["experiment"], found["disjoint"], found["paired"]) == ("small", "small (disjoint)", True)
    scores = [entry["summary"]["synthetic"]["uar"]["pooled"] for entry in results["experiments"]]
    assert found["uar"] == pytest.approx(scores) and found["difference"] == pytest.approx(scores[0] - scores[1])
    assert found["ci95"][0] <= found["difference"] <= found["ci95"][1] and found["units"] == "speakers"
    assert f"the price of the leak: small on synthetic: UAR {scores[0]:.3f} as given" in outcome.text


def test_the_twin_leaks_nothing(priced):
    recipe, _ = priced
    results = json.loads((recipe.output_dir / "results.json").read_text())
    leaky, disjoint = ([each["check"] for each in entry.get("audit", [])] for entry in results["experiments"])
    assert "speakers" in leaky and "speakers" not in disjoint
    rows = list(csv.DictReader((recipe.output_dir / "disjoint/small.csv").open()))
    assert len(rows) == 192 and sum(row["part"] == "test" for row in rows) == 96


def test_it_is_in_the_report(priced):
    from emomm.reporting.report import write_report

    recipe, _ = priced
    page = write_report([recipe.output_dir]).read_text(encoding="utf-8")
    assert "The price of the leak" in page


def test_the_twin_is_no_method_to_choose(priced):
    recipe, outcome = priced
    results = json.loads((recipe.output_dir / "results.json").read_text())
    assert [entry.get("twin_of") for entry in results["experiments"]] == [None, "small"]
    assert results["chosen_on_validation"] == {} and "chosen on validation" not in outcome.text
    (lead,) = lead_text(read_report([recipe.output_dir])).splitlines()
    assert lead.endswith(", small.")


def test_it_stays_while_the_runs_are_the_same(priced):
    """Without --price the job goes on with the experiment as it is given."""
    recipe, _ = priced
    path = recipe.output_dir / "results.json"
    before = json.loads(path.read_text())
    (settings,) = recipe.experiments
    alone = dataclasses.replace(recipe, experiments=[dataclasses.replace(settings, allow_overlap=True)])
    outcome = job.run(alone)
    after = json.loads(path.read_text())
    assert after["price"] == before["price"] and "the price of the leak: small on synthetic" in outcome.text
    assert sorted(entry["name"] for entry in after["experiments"]) == ["small", "small (disjoint)"]
    path.write_text(json.dumps(before))  # in its order


def test_folds_of_what_is_refused_leave_the_folder_as_it_was(priced, tmp_path):
    """Of a job that is under way, of runs that others would replace, and where there was no folder."""
    recipe, _ = priced
    path = recipe.output_dir / "disjoint/small.csv"
    before = path.read_text()
    (settings,) = recipe.experiments
    others = dataclasses.replace(settings, disjoint_by=["transcript"], corpora={"synthetic": {"generator": {
        **VOICE["corpora"]["synthetic"]["generator"], "seed": 5}}})  # fmt: skip
    with pytest.raises(InputError, match="--overwrite"):
        job.run(dataclasses.replace(recipe, experiments=[others]), price=True)
    assert path.read_text() == before
    path.write_text("")  # as another's half-written one
    with FileLock(JobFolder(recipe.output_dir).lock), pytest.raises(InputError, match="another job is writing into"):
        job.run(recipe, price=True)
    assert path.read_text() == ""
    path.write_text(before)
    both = {"output_dir": str(tmp_path / "new/out"), "modality": "both", "text_model_name": "nowhere"}
    refused = dataclasses.replace(settings, **both)
    with pytest.raises(InputError, match="nowhere"):
        job.run(dataclasses.replace(recipe, experiments=[refused]), price=True)
    assert not (tmp_path / "new").exists()


def test_what_does_not_leak_has_no_price(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, **VOICE))
    with pytest.raises(InputError, match="there is no leak to price"):
        job.run(recipe, price=True)
    assert not recipe.output_dir.exists()
