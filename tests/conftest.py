"""Makes this checkout importable as `emomm`, whatever its folder is called, and keeps the tests off the network."""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Several workers run side by side, and "bitwise equal" holds for equal threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if "emomm" not in sys.modules:
    init = ROOT / "__init__.py"
    spec = importlib.util.spec_from_file_location("emomm", init, submodule_search_locations=[str(ROOT)])
    package = importlib.util.module_from_spec(spec)
    sys.modules["emomm"] = package
    spec.loader.exec_module(package)
