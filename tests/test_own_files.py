"""The code that comes with models is copied and imported by one process at a time."""

import sys
import time
from pathlib import Path

import pytest
from forked import finish
from forked import start
from tiny_emotion_models import tiny_emotion_model
from transformers import dynamic_module_utils

from emomm import own_files
from emomm.inference.predicting import load_model
from emomm.own_files import code_of_models


def loads(model, modules, waits):
    """In a process of its own: a model with its code, as `emomm predict --trust_remote_code` does."""
    dynamic_module_utils.HF_MODULES_CACHE = modules
    sys.path.insert(0, modules)  # before the one that it has from the process that started it
    own_files._SECONDS_UNTIL_SAID = 0.1
    own_files.logger.info = lambda *_: Path(waits).touch()  # what it says where it has to wait
    loaded, _ = load_model(model, trust_remote_code=True)
    assert type(loaded).__module__.startswith("transformers_modules.")


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Where transformers copies code to: a folder of this test's own."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "modules"


def test_two_processes_that_load_the_same_model_take_turns(tmp_path, modules):
    """While one copies and imports the code, the other has written nothing there; and both have the model."""
    model = tiny_emotion_model(tmp_path / "model", modality="text")
    with code_of_models(), code_of_models():  # one within another is no deadlock
        process = start(loads, model, str(modules), str(tmp_path / "waits"))
        while not (tmp_path / "waits").exists():
            assert process.exitcode is None, "it did not wait"
            time.sleep(0.05)
        assert [path.name for path in modules.iterdir()] == [".emomm.lock"]
    assert finish(process) == 0
    assert list(modules.rglob("modeling_emomm.py"))


def test_a_folder_that_cannot_be_written_is_gone_without(monkeypatch):
    """As transformers does with it what it can."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", "/proc/no/such")
    with code_of_models():
        entered = True
    assert entered
