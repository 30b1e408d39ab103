"""`convert_emotion2vec.py --checkpoint X.pt --output DIR`: a published emotion2vec checkpoint to one of transformers.

By python, from any working directory; `--help` tells the rest.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import run_emomm  # noqa: F401 makes the folder the package `emomm` and takes it off the path again

    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    from emomm.cli.convert_emotion2vec import main

    sys.exit(main())
