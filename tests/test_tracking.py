"""Trackers are opened and closed for each run, whatever becomes of it; what they wrote is read back."""

import os
import struct
import sys
from pathlib import Path
from types import ModuleType
from types import SimpleNamespace

import pytest

from emomm.errors import InputError
from emomm.job import run as run_job
from emomm.settings import Settings
from emomm.settings import load_recipe
from emomm.tracking import check_trackers
from emomm.tracking import tracked


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


def planned(settings=SETTINGS):
    return SimpleNamespace(settings=settings, folder=Path("runs/x"), seed=7, fold=SimpleNamespace(name="session-2"))


def test_one_tracker_run_for_a_run_in_its_experiments_group(wandb, tmp_path):
    with tracked(planned(), tmp_path / "job") as tracker:
        assert tracker.report_to == ["wandb", "tensorboard"]
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
    with tracked(planned(), tmp_path):
        pass
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with tracked(planned(), tmp_path):
        pass
    assert [call["mode"] for call in wandb.calls] == [None, "disabled"]


def test_a_run_that_fails_is_closed_as_failed(wandb, tmp_path):
    with pytest.raises(RuntimeError, match="diverged"), tracked(planned(), tmp_path):
        raise RuntimeError("diverged")
    assert wandb.finished == [1]


def test_a_tracker_that_cannot_be_opened_or_closed_is_only_a_warning(wandb, tmp_path, monkeypatch, capsys):
    messages = []
    monkeypatch.setattr("emomm.tracking.logger.warning", lambda text, *values: messages.append(text % values))

    def broken(**_):
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "init", lambda **_: SimpleNamespace(finish=broken))
    monkeypatch.setenv("WANDB_MODE", "offline")
    with tracked(planned(), tmp_path) as tracker:
        assert tracker.report_to == ["wandb", "tensorboard"]
    assert messages == ["W&B: the end of this run could not be sent (disk full)"]
    monkeypatch.setattr(wandb, "init", broken)
    with tracked(planned(), tmp_path) as tracker:
        assert tracker.report_to == ["tensorboard"]
    assert messages[1:] == ["W&B: this run could not be sent (disk full)"]


def test_without_trackers_nothing_is_opened(wandb, tmp_path):
    with tracked(planned(Settings()), tmp_path / "job") as tracker:
        assert tracker.report_to == []
    assert wandb.calls == [] and not (tmp_path / "job").exists()


def test_other_processes_report_nothing(wandb, tmp_path, monkeypatch):
    monkeypatch.setattr("emomm.tracking.PartialState", lambda: SimpleNamespace(is_main_process=False))
    with tracked(planned(), tmp_path) as tracker:
        assert tracker.report_to == ["tensorboard"]
    assert wandb.calls == []


def records(path: Path):
    """The records of an offline W&B file: LevelDB log blocks of 32 KiB behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, piece = path.read_bytes(), 7, b""
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(piece)
            piece = b""
            yield record


def test_what_wandb_was_told_is_in_its_files(tmp_path, monkeypatch):
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    given = {"seeds": "1", "num_epochs": "2", "curriculum_epochs": "1", "report_to": "wandb", "wandb_project": "tests"}
    run_job(load_recipe("quickstart", {**given, "output_dir": str(tmp_path / "runs")}, "voice"))
    files = sorted((tmp_path / "runs/wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 6  # five folds and the summary
    kinds = {}
    for path in files:
        kept = list(records(path))
        about = next(record.run for record in kept if record.WhichOneof("record_type") == "run")
        history = {"/".join(item.nested_key) or item.key for record in kept for item in record.history.item}
        said = {item.key for record in kept for item in record.summary.update}
        artifacts = [
            record.request.log_artifact.artifact for record in kept if record.request.HasField("log_artifact")
        ]
        artifacts += [record.artifact for record in kept if record.HasField("artifact")]
        kinds.setdefault(about.job_type or "run", []).append((about, history, said, artifacts))
    assert [len(kinds[kind]) for kind in ("run", "summary")] == [5, 1]
    for about, history, _, artifacts in kinds["run"]:
        assert about.run_group == "voice" and about.project == "tests"
        assert {"voice", "audio", "seed-1"} <= set(about.tags)
        assert {"train/loss", "eval/uar", "train/curriculum/pool_size"} <= history
        assert "test/emodb_emobank/uar" in history
        assert any(name.startswith("test/emodb_emobank/confusion_matrix") for name in history)
        assert any(name.startswith("test/emodb_emobank/difficulty") for name in history)
        files_of_model = {entry.path for artifact in artifacts for entry in artifact.manifest.contents}
        assert {"model.safetensors", "config.json", "modeling_emomm.py"} <= files_of_model
    ((about, history, said, _),) = kinds["summary"]
    assert "results" in " ".join(history)
    assert any("voice/emodb_emobank/uar pooled" in key for key in said)
