"""Makes this checkout importable as `emomm`, whatever its folder is called, and keeps the tests off the network."""

import gc
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Several workers run side by side, and "bitwise equal" holds for equal threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Of a job in the background a shell has it ignored, and then what is started here ignores it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test cuts the power, and a disk takes milliseconds to be sure of each of ten thousand files.
os.fsync = lambda descriptor: None

# Tests of one room take what tests of another have made.
sys.path += [str(room) for room in sorted(Path(__file__).resolve().parent.iterdir()) if any(room.glob("test_*.py"))]

if "emomm" not in sys.modules:
    init = ROOT / "__init__.py"
    spec = importlib.util.spec_from_file_location("emomm", init, submodule_search_locations=[str(ROOT)])
    package = importlib.util.module_from_spec(spec)
    sys.modules["emomm"] = package
    spec.loader.exec_module(package)


def pytest_configure(config):
    """Each worker, and what it starts, copies the code that comes with models into a folder of its own.

    transformers writes it there before it imports it, from a folder that all processes of a user share: one may import
    what another is just writing.
    """
    folder = tempfile.mkdtemp(prefix="emomm-tests-")
    os.environ["HF_MODULES_CACHE"] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


# Two workers end together where the files that take longest begin first; files are handed out whole, in this order.
_LONGEST = (
    "onnx_model", "side_by_side", "finetuning", "hub", "extract", "readme", "known_answers", "own_modality",
    "training", "distributed", "curriculum_trainer", "exporting", "tracker", "modeling_emomm", "resume",
    "recorded_jobs", "pipeline_emomm", "served_page", "wrong_input", "report", "ray_engine", "slurm_engine",
    "searching", "benchmarks", "text_states", "job", "figures", "run_folder", "page", "final_model", "speech_encoders",
    "live", "floors", "emotion_rows", "conversion", "learning_watch", "tuning_of_encoders", "stacked_training", "main",
    "importing", "encoder_layers", "layout", "modeling_emotion2vec", "own_modules", "part_cards", "tuned_models",
    "recordings_recipes", "model_card", "kept_corpora",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Sorts the files, and leaves the tests of a file in their order."""
    rank = {f"test_{name}.py": place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_collection():
    """What is imported stays: to look through it again and again would take a sixth of the time."""
    gc.disable()


def pytest_collection_finish(session):
    """Everything is imported, and nothing has been computed: what tests start is forked from here."""
    gc.freeze()
    gc.enable()
    if "forked" in sys.modules:
        sys.modules["forked"].begin()
        session.config.add_cleanup(sys.modules["forked"].end)
