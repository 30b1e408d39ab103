"""The runs as tasks of a Ray cluster of two workers on this machine."""

import os
import re
import signal
import time

import psutil
import pytest
import small_jobs
from small_jobs import assert_same_run
from test_side_by_side import RUNS
from test_side_by_side import alone  # noqa: F401 a fixture
from test_side_by_side import begin
from test_side_by_side import in_plan
from test_side_by_side import outcomes
from test_side_by_side import run
from test_side_by_side import wait_for

pytest.importorskip("ray", reason="Ray is not installed: pip install 'emomm[ray]'")


def test_two_workers_give_the_same_bits_and_one_that_is_killed_costs_an_epoch(alone, tmp_path):  # noqa: F811
    """A state is saved at the end of each epoch; who takes the run over goes on from the newest."""
    out, epochs = tmp_path / "out", 40
    given = [alone, "--num_epochs", epochs, "--threads_per_run", 1]
    code, said = run(tmp_path / "alone.log", *given, "--output_dir", tmp_path / "alone")
    assert code == 0, said
    process = begin(tmp_path / "log", *given, "--engine", "ray", "--output_dir", out)
    states = re.compile(r"checkpoint-(\d+)")

    def steps():
        return [int(found[1]) for path in out.glob("small/*/*/*") if (found := states.fullmatch(path.name))]

    wait_for(lambda: len(steps()) >= 3)
    workers = [each for each in psutil.Process(process.pid).children(recursive=True) if "_carry_out" in each.name()]
    seen = min(steps())
    os.kill(workers[0].pid, signal.SIGKILL)
    code, said = small_jobs.finish(process), (tmp_path / "log").read_text()
    assert code == 0, said
    of_epoch = 5
    went_on = [int(step) for step in re.findall(r"goes on from checkpoint-(\d+)", said)]
    assert len(went_on) == 1 and went_on[0] >= seen and went_on[0] % of_epoch == 0
    for each in RUNS:
        assert_same_run(tmp_path / "alone" / "small" / each, out / "small" / each)
    assert outcomes(out) == in_plan()
    time.sleep(0.2)
    assert not [each for each in workers if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_an_address_without_a_cluster_is_refused(alone, tmp_path):  # noqa: F811
    given = ["--engine", "ray", "--ray_address", "127.0.0.1:1", "--output_dir", tmp_path / "out"]
    code, said = run(tmp_path / "log", alone, *given)
    assert code == 2 and "error: --ray_address 127.0.0.1:1: no Ray cluster there" in said
    assert not (tmp_path / "out").exists()
