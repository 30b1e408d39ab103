"""Tables, and trackers that are opened and closed for each run, whatever becomes of it."""

import os
import sys
from pathlib import Path
from types import ModuleType
from types import SimpleNamespace

import pytest

from emomm.errors import InputError
from emomm.reporting import check_trackers
from emomm.reporting import format_table
from emomm.reporting import results_table
from emomm.reporting import tracked
from emomm.settings import Settings


def test_columns_are_aligned():
    text = format_table([["name", "n"], ["a longer one", "1"], ["b", "20"]])
    assert text.splitlines() == ["name          n", "------------  --", "a longer one  1", "b             20"]


def test_the_table_of_results():
    def spread(mean):
        return {"mean": mean, "std": 0.05, "ci95": None, "pooled": mean / 2}

    summary = {name: spread(i / 10) for i, name in enumerate(("uar", "accuracy", "f1_macro", "f1_weighted"), start=1)}
    runs = [
        {"status": "done", "test": {"A": {}}},
        {"status": "done", "test": {"A": {}, "B": {}}},
        {"status": "failed: diverged"},
    ]
    experiments = [
        {"name": "one", "runs": runs, "summary": {"A": summary, "B": summary}},
        {"name": "two", "runs": runs[2:], "summary": {}},
    ]
    lines = results_table({"experiments": experiments}).splitlines()
    assert [line.split() for line in lines[2:]] == [
        [*"one A 2 0.100 ± 0.050 0.200 ± 0.050 0.300 ± 0.050 0.400 ± 0.050 0.050".split()],
        [*"one B 1 0.100 ± 0.050 0.200 ± 0.050 0.300 ± 0.050 0.400 ± 0.050 0.050".split()],
        [*"two - 0 - - - - -".split()],
    ]
    assert lines[0].split("  ")[0] == "experiment" and "UAR pooled" in lines[0]


def test_trackers_must_be_installed(monkeypatch):
    settings = Settings(name="mine", report_to=["wandb", "tensorboard"])
    check_trackers(settings)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match="'mine': report_to holds tensorboard.*pip install tensorboard"):
        check_trackers(settings)
    check_trackers(Settings(report_to=["wandb"]))


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for W&B that keeps what it was given."""
    module = ModuleType("wandb")
    module.calls, module.finished = [], []
    module.api = SimpleNamespace(api_key=None)
    module.Settings = lambda **options: options

    def init(**options):
        module.calls.append(options)
        return SimpleNamespace(finish=lambda exit_code: module.finished.append(exit_code))

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return module


SETTINGS = Settings(name="Both, frozen", report_to=["wandb", "tensorboard"], wandb_project="mine")
RUN = SimpleNamespace(folder=Path("runs/x"), seed=7, fold=SimpleNamespace(name="session-2"))


def test_one_tracker_run_for_a_run_in_its_experiments_group(wandb, tmp_path):
    with tracked(SETTINGS, RUN, tmp_path / "job") as trackers:
        assert trackers == ["wandb", "tensorboard"]
        assert wandb.finished == []
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(Path("runs/x/tensorboard"))
    (call,) = wandb.calls
    assert (call["project"], call["group"], call["name"]) == ("mine", "Both, frozen", "both-frozen-seed7-session-2")
    assert call["mode"] == "offline"  # there is no key
    assert call["dir"] == str(tmp_path / "job") and (tmp_path / "job").is_dir()
    assert wandb.finished == [0]
    assert SETTINGS.report_to == ["wandb", "tensorboard"]


def test_with_a_key_the_mode_is_left_to_wandb(wandb, tmp_path, monkeypatch):
    wandb.api.api_key = "secret"
    with tracked(SETTINGS, RUN, tmp_path):
        pass
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with tracked(SETTINGS, RUN, tmp_path):
        pass
    assert [call["mode"] for call in wandb.calls] == [None, "disabled"]


def test_a_run_that_fails_is_closed_as_failed(wandb, tmp_path):
    with pytest.raises(RuntimeError, match="diverged"), tracked(SETTINGS, RUN, tmp_path):
        raise RuntimeError("diverged")
    assert wandb.finished == [1]


def test_a_tracker_that_cannot_be_opened_or_closed_is_only_a_warning(wandb, tmp_path, monkeypatch, capsys):
    messages = []
    monkeypatch.setattr("emomm.reporting.logger.warning", lambda text, *values: messages.append(text % values))

    def broken(**_):
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "init", lambda **_: SimpleNamespace(finish=broken))
    monkeypatch.setenv("WANDB_MODE", "offline")
    with tracked(SETTINGS, RUN, tmp_path) as trackers:
        assert trackers == ["wandb", "tensorboard"]
    assert messages == ["W&B could not be closed (disk full)"]
    monkeypatch.setattr(wandb, "init", broken)
    with tracked(SETTINGS, RUN, tmp_path) as trackers:
        assert trackers == ["tensorboard"]
    assert messages[1:] == ["W&B could not be started (disk full): this run is not tracked there"]


def test_without_trackers_nothing_is_opened(wandb, tmp_path):
    with tracked(Settings(), RUN, tmp_path / "job") as trackers:
        assert trackers == []
    assert wandb.calls == [] and not (tmp_path / "job").exists()


def test_other_processes_report_nothing(wandb, tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.PartialState", lambda: SimpleNamespace(is_main_process=False))
    with tracked(SETTINGS, RUN, tmp_path) as trackers:
        assert trackers == ["tensorboard"]
    assert wandb.calls == []
