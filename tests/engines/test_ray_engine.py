"""The runs as tasks of a Ray cluster of two workers on this machine."""

import os
import re
import signal

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


STEPS = 5  # of an epoch
STATE = re.compile(r"checkpoint-(\d+)")


def newest(out):
    """The newest state of each run, by its folder."""
    found = {}
    for path in out.glob("small/*/*/checkpoint-*"):
        if step := STATE.fullmatch(path.name):
            found[str(path.parent)] = max(int(step[1]), found.get(str(path.parent), 0))
    return found


def test_two_workers_give_the_same_bits_and_one_that_is_killed_costs_an_epoch(alone, tmp_path):  # noqa: F811
    """A state is saved at the end of each epoch; who takes the run over goes on from the newest."""
    out, given = tmp_path / "out", [alone, "--num_epochs", 30, "--threads_per_run", 1]
    code, said = run(tmp_path / "alone.log", *given, "--output_dir", tmp_path / "alone")
    assert code == 0, said
    process = begin(tmp_path / "log", *given, "--engine", "ray", "--output_dir", out)
    wait_for(lambda: len(newest(out)) == 2 and min(newest(out).values()) >= 2 * STEPS, seconds=300)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [each for each in children if "_carry_out" in " ".join(each.cmdline())]
    seen = newest(out)
    os.kill(workers[0].pid, signal.SIGKILL)
    code, said = small_jobs.finish(process, 300), (tmp_path / "log").read_text()
    assert code == 0, said
    ((folder, step),) = re.findall(r"^(\S+): goes on from checkpoint-(\d+)", said, re.MULTILINE)
    assert int(step) >= seen[folder] and int(step) % STEPS == 0
    for each in RUNS:
        assert_same_run(tmp_path / "alone" / "small" / each, out / "small" / each)
    assert outcomes(out) == in_plan()
    assert not psutil.wait_procs(children, timeout=10)[1]


def test_an_address_without_a_cluster_is_refused(alone, tmp_path):  # noqa: F811
    given = ["--engine", "ray", "--ray_address", "127.0.0.1:1", "--output_dir", tmp_path / "out"]
    code, said = run(tmp_path / "log", alone, *given)
    assert code == 2 and "error: --ray_address 127.0.0.1:1: no Ray cluster there" in said
    assert not (tmp_path / "out").exists()
