"""What a command imports, in processes of their own."""

import gc
import json
import subprocess
import sys
from pathlib import Path

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
    not_needed = {"sklearn", "scipy.stats", "statsmodels", "matplotlib", "wandb", "evaluate"}
    not_needed |= {"transformers.models.bert.modeling_bert", "transformers.models.wav2vec2.modeling_wav2vec2"}
    assert not loaded & (not_needed | {"emomm.reporting.figures", "emomm.pipeline_emomm"})
    within = {"peft.peft_model", "datasets.arrow_dataset", "scipy.optimize._optimize", "sympy.core", "mpmath.libmp"}
    within |= {"torch._dynamo.convert_frame", "torch._inductor.config", "torch.distributed.tensor._api"}
    assert not loaded & within and {"peft", "torch._dynamo", "torch.distributed.tensor"} <= loaded  # stand-ins


def test_a_module_of_a_package_that_is_not_as_it_was_is_imported_as_ever(monkeypatch):
    asked = []

    def imported(name):
        asked.append(name)
        if len(asked) == 1:
            raise TypeError("of what stands for a class")

    monkeypatch.setattr(importing.importlib, "import_module", imported)
    monkeypatch.setattr(importing, "import_at_once", lambda: asked.append("at once"))
    importing.import_trainer()
    assert asked == ["transformers.trainer", "at once", "transformers.trainer"]


def test_nothing_is_collected_while_importing():
    frozen = gc.get_freeze_count()
    with pytest.raises(KeyError), importing.at_one_go():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled() and gc.get_freeze_count() == frozen  # nothing was imported
