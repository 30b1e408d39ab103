"""The runs as tasks of a Ray cluster of two workers on this machine."""

import importlib.util
import os
import re

import psutil
import pytest
from forked import finish
from small_jobs import assert_same_run
from small_jobs import write_recipe
from test_side_by_side import begin
from test_side_by_side import results
from test_side_by_side import run
from test_side_by_side import wait_for
from tiny_encoders import tiny_encoder

from emomm.cli.main import main

# It is looked for, not imported: only who starts the cluster needs it.
without_ray = importlib.util.find_spec("ray") is None
pytestmark = pytest.mark.skipif(without_ray, reason="Ray is not installed: pip install 'emomm[ray]'")

STEPS = 5  # of an epoch
KILLED_AT = 2 * STEPS + 3
# A user's own fusion, which writes down in which processes it trains; in the first that comes to the third epoch while
# the folder `armed` is there, the process is killed.
FUSION = """
import os
import signal
from pathlib import Path

import torch
from torch import nn

from .fusions import Fusion, FusionOutput, register_fusion

HERE = Path({folder!r})


@register_fusion("falling")
class FallingFusion(Fusion):
    def __init__(self, dims, hidden_dim):
        super().__init__()
        self.output = nn.Linear(sum(dims), hidden_dim)
        self.steps = 0

    def forward(self, states):
        if self.training:
            self.steps += 1
            if self.steps > 1:
                (HERE / "trained" / str(os.getpid())).touch()
            if self.steps == {killed_at}:
                try:
                    (HERE / "armed").rename(HERE / f"killed-{{os.getpid()}}")
                except FileNotFoundError:
                    pass
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
        return FusionOutput(self.output(torch.cat([state.pooled for state in states], dim=-1)))
"""


@pytest.fixture
def recipe(tmp_path):
    """Two runs, of voice and words."""
    (tmp_path / "fusion.py").write_text(FUSION.format(folder=str(tmp_path), killed_at=KILLED_AT))
    (tmp_path / "trained").mkdir()
    own = {"fusion_module": "fusion.py", "fusion_type": "falling"}
    encoder = tiny_encoder(tmp_path / "encoder")
    return write_recipe(tmp_path, text_model_name=encoder, dropout=0.2, num_epochs=4, floors=False, **own)


def comparable(folder):
    found = results(folder)
    for each in found["experiments"][0]["runs"]:
        del each["train_seconds"]
    return found


def test_two_workers_give_the_same_bits_and_one_that_is_killed_costs_an_epoch(recipe, tmp_path):
    """A state is saved at the end of each epoch; who takes the run over goes on from the newest."""
    code, said = run(tmp_path / "alone.log", recipe, "--threads_per_run", 1)
    assert code == 0, said
    for path in (tmp_path / "trained").iterdir():
        path.unlink()
    (tmp_path / "armed").mkdir()
    out, given = tmp_path / "out", [recipe, "--engine", "ray", "--threads_per_run", 1]
    process = begin(tmp_path / "log", *given, "--output_dir", out, "--store_dir", tmp_path / "other_store")
    wait_for(lambda: [*tmp_path.glob("killed-*")] or process.exitcode is not None, seconds=300)
    children = psutil.Process(process.pid).children(recursive=True)
    code, said = finish(process, 300), (tmp_path / "log").read_text()
    assert code == 0, said
    (killed,) = (path.name.partition("-")[2] for path in tmp_path.glob("killed-*"))
    trained = {path.name for path in (tmp_path / "trained").iterdir()}
    assert killed in trained and len(trained) >= 2 and str(os.getpid()) not in trained
    assert [int(step) for step in re.findall(r"^\S+: goes on from checkpoint-(\d+)", said, re.MULTILINE)] == [10]
    for session in (1, 2):
        name = f"seed-1/session-{session}"
        assert_same_run(tmp_path / "small" / "small" / name, out / "small" / name)
    assert comparable(out) == comparable(tmp_path / "small")
    assert comparable(out)["environment"]["threads"] == 1
    assert not psutil.wait_procs(children, timeout=30)[1]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379"])
def test_an_address_without_a_cluster_is_refused_at_once(recipe, capsys, address):
    assert main(["run", str(recipe), "--engine", "ray", "--ray_address", address]) == 2
    assert f"error: --ray_address {address}: no Ray cluster there" in capsys.readouterr().err
    assert not (recipe.parent / "small").exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:port", ":6379", "http://127.0.0.1:8265"])
def test_what_is_no_address_is_refused(recipe, capsys, address):
    assert main(["run", str(recipe), "--engine", "ray", "--ray_address", address]) == 2
    assert f"--ray_address is {address!r}, but must be auto or HOST:PORT" in capsys.readouterr().err
