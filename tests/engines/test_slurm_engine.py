"""The runs as a job array, which submitit's local executor runs here as SLURM would there."""

import pytest
from small_jobs import assert_same_run
from small_jobs import write_recipe
from test_side_by_side import RUNS
from test_side_by_side import VOICE
from test_side_by_side import alone  # noqa: F401 a fixture
from test_side_by_side import in_plan
from test_side_by_side import outcomes
from test_side_by_side import run

from emomm.engines.choosing import engine_of
from emomm.errors import InputError


def test_an_array_gives_the_same_bits(alone, tmp_path):  # noqa: F811
    """Its tasks' logs are kept."""
    given = ["--threads_per_run", 1, "--seeds", 1, "--output_dir", tmp_path / "out"]
    code, said = run(tmp_path / "log", alone, *given, "--engine", "slurm", "--slurm", '{"timeout_min": 5}')
    assert code == 0, said
    assert "there is no SLURM here" in said and "2 runs as job array" in said
    for each in RUNS[:2]:
        assert_same_run(alone.parent / "small" / "small" / each, tmp_path / "out" / "small" / each)
    assert outcomes(tmp_path / "out") == in_plan()[:2]
    assert len([*(tmp_path / "out" / "array").glob("*_log.out")]) == 2


def tasks_die():
    """Each is killed as it begins; what it gave is not waited for, as it is where file systems are slow."""
    import submitit

    from emomm.engines import slurm_engine

    def dies(place, identity):
        import os

        os.kill(os.getpid(), 9)

    dies.__module__ = "__main__"  # so that it is pickled as a whole
    slurm_engine.task_of = lambda work, threads: dies
    submitit.Job._results_timeout_s = 0


def test_tasks_that_are_lost_are_said(tmp_path):
    recipe = write_recipe(tmp_path, **{**VOICE, "seeds": [1]})
    code, said = run(tmp_path / "log", recipe, "--engine", "slurm", change=tasks_die)
    assert code == 1
    assert [status for *_, status in outcomes(tmp_path / "small")] == ["failed", "failed"]
    assert "seed 1 · session-2: failed: its task" in said and "Traceback" not in said
    assert said.count("the same command goes on") == 4  # as each is lost, and at the end


@pytest.mark.parametrize(
    "given, said",
    [
        ({"engine": "slurm", "jobs": "auto"}, "--jobs auto is for this machine"),
        ({"slurm": {}}, "--slurm goes with --engine slurm"),
        ({"engine": "slurm", "ray_address": "auto"}, "--ray_address goes with --engine ray"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        engine_of(**given)


def test_parameters_that_submitit_does_not_know_are_refused(tmp_path):
    recipe = write_recipe(tmp_path, **VOICE)
    code, said = run(tmp_path / "log", recipe, "--engine", "slurm", "--slurm", '{"no_such": 1}')
    assert code == 2 and "error: --slurm is {'no_such': 1}, which submitit doesn't take" in said
