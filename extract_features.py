"""`extract_features.py --input … --encoder … --output …`: recordings to voice features, by any number of processes.

By python, accelerate or torchrun, from any working directory; `--help` tells the rest.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent

# Not only under "__main__": worker processes that are spawned run this file under another name, and need the package.
if "emomm" not in sys.modules:
    # Here once, and first: importing run_emomm makes the folder the package `emomm` and takes it off the path again.
    sys.path[:] = [str(ROOT), *(entry for entry in sys.path if Path(entry).resolve() != ROOT)]
    import run_emomm  # noqa: F401

if __name__ == "__main__":
    from emomm.cli.extract_features import main

    sys.exit(main())
