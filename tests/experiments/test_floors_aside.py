"""Floors fitted by a fork while the job trains are those that are fitted after it."""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from forked import finish
from forked import start
from small_jobs import die
from small_jobs import write_recipe

FLOORS = {"floors": True, "evaluation_mode": "loso"}
VOICE = [{"name": "small", "modality": "audio"}]


def job(recipe: str, fitted: str, aside: bool, killed: bool = False, hangs: bool = False) -> None:
    """Runs a job; notes the process of each fit in the file `fitted`."""
    from emomm.experiments import floors_aside
    from emomm.experiments import job_floors
    from emomm.experiments.job import run
    from emomm.settings.recipe import load_recipe

    fit, own = job_floors._fit, os.getpid()

    def noted(*arguments):
        with open(fitted, "a") as file:
            file.write(f"{os.getpid() == own}\n")
        if killed and os.getpid() != own:
            die()
        if hangs and os.getpid() != own:
            time.sleep(600)
        return fit(*arguments)

    job_floors._fit = noted
    floors_aside._WORTH = 0 if aside else 10**9
    floors_aside._PATIENCE = 2.0 if hangs else 300
    floors_aside.sys = SimpleNamespace(modules={}, platform=sys.platform)  # the server has imported scikit-learn
    floors_aside.core_count = lambda: 2
    assert not run(load_recipe(recipe, {})).failed


def floors_of(folder: Path, name: str, **how: bool) -> tuple[dict, list[bool]]:
    recipe = write_recipe(folder, name, experiments=VOICE, **FLOORS)
    assert finish(start(job, str(recipe), str(folder / f"{name}.fitted"), *how.values())) == 0
    own = (folder / f"{name}.fitted").read_text().split()
    return json.loads((folder / name / "results.json").read_text())["experiments"][0]["floors"], own


def test_floors_are_fitted_beside_the_training(tmp_path):
    after, by_itself = floors_of(tmp_path, "after", aside=False)
    beside, by_fork = floors_of(tmp_path, "beside", aside=True)
    assert beside == after
    assert by_itself == ["True"] * 2 and by_fork == ["False"] * 2
    killed, by_both = floors_of(tmp_path, "killed", aside=True, killed=True)
    assert killed == after and by_both[0] == "False" and by_both[-2:] == ["True"] * 2
    hung, by_both = floors_of(tmp_path, "hung", aside=True, killed=False, hangs=True)
    assert hung == after and by_both == ["False", "True", "True"]
