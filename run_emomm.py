"""`run_emomm.py RECIPE ...` is `emomm run RECIPE ...`, started as a script.

By python, accelerate or torchrun, from any working directory, in a clone of any folder name, installed or not: it is
always the code beside this file that runs.
"""

import importlib.util
import sys
from pathlib import Path


def load_package() -> None:
    """Makes the folder of this file the package `emomm`, and takes it off the module search path.

    Python puts a script's folder first on that path, where our modules would be importable a second time, by bare
    names that other packages use too.
    """
    root = Path(__file__).resolve().parent
    if sys.path and Path(sys.path[0]).resolve() == root:
        del sys.path[0]
    spec = importlib.util.spec_from_file_location(
        "emomm", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules["emomm"] = package
    spec.loader.exec_module(package)


# Not only under "__main__": worker processes that are spawned run this file under another name, and need the package.
if not __package__ and "emomm" not in sys.modules:
    load_package()

if __name__ == "__main__":
    from emomm.cli.main import main

    sys.exit(main(["run", *sys.argv[1:]]))
