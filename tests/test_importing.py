"""What a command imports, in processes of their own; and what stands for peft until someone imports it."""

import gc
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from types import SimpleNamespace

import pytest

from emomm import importing

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = """
import contextlib, json, sys
sys.path.insert(0, sys.argv[1])
import run_emomm
from emomm.cli.main import main
for arguments in json.loads(sys.argv[2]):
    with contextlib.suppress(SystemExit):
        assert not main(arguments)
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(*commands: list[str]) -> set[str]:
    """The modules that are there after some commands, one after the other in a process of its own."""
    command = [sys.executable, "-c", COMMANDS, str(ROOT), json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_and_recipes_load_no_library():
    loaded = loaded_by(["--help"], ["run", "--help"], ["recipes"])
    assert "emomm.cli.run" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "datasets", "pyarrow", "matplotlib", "sklearn", "scipy"}


def test_a_run_of_the_voice_loads_what_it_needs(tmp_path):
    options = ["--seeds", "1", "--num_epochs", "1", "--floors", "false", "--no_report", "--output_dir", str(tmp_path)]
    loaded = loaded_by(["run", "emodb", "--experiment", "voice", *options])
    assert (tmp_path / "results.json").exists() and {"transformers.trainer", "emomm.experiments.training"} <= loaded
    not_needed = {"peft", "sklearn", "scipy.stats", "statsmodels", "matplotlib", "wandb", "evaluate"}
    not_needed |= {"transformers.models.bert.modeling_bert", "transformers.models.wav2vec2.modeling_wav2vec2"}
    assert not loaded & (not_needed | {"emomm.reporting.figures", "emomm.pipeline_emomm"})


def test_nothing_is_an_instance_of_a_class_of_peft_before_it_is_imported(monkeypatch):
    stands = importing._NotYet("PeftModel", (), {})
    monkeypatch.delitem(sys.modules, "peft", raising=False)
    assert not isinstance(object(), stands)
    real = type("PeftModel", (), {})
    monkeypatch.setitem(sys.modules, "peft", SimpleNamespace(PeftModel=real))
    assert isinstance(real(), stands) and isinstance(real(), (int, stands)) and not isinstance(object(), stands)
    monkeypatch.setitem(sys.modules, "peft", ModuleType("peft"))  # while it is being imported
    assert not isinstance(real(), stands)


def test_other_names_are_asked_of_peft_itself(monkeypatch):
    stand_in, real = importing._StandIn("peft"), SimpleNamespace(LoraConfig="the real one")
    monkeypatch.setitem(sys.modules, "peft", stand_in)
    monkeypatch.setattr(importing.importlib, "import_module", lambda name: real if name not in sys.modules else None)
    assert stand_in.LoraConfig == "the real one"
    with pytest.raises(AttributeError):
        _ = stand_in.__path__


def test_nothing_is_collected_while_importing():
    frozen = gc.get_freeze_count()
    with pytest.raises(KeyError), importing.at_one_go():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled() and gc.get_freeze_count() == frozen  # nothing was imported
