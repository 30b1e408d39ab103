"""The demo: `python app.py --model FOLDER_OR_ID` here, and the file that a Space of `emomm space` starts."""

import sys
from pathlib import Path

if __package__:  # python -m emomm.app
    from .recordings.demo import main
else:
    import recordings

    # Python puts a script's folder first on the search path, where our modules would be importable by bare names that
    # other packages use too.
    if sys.path and Path(sys.path[0]).resolve() == Path(recordings.__file__).resolve().parent.parent:
        del sys.path[0]
    from recordings.demo import main

if __name__ == "__main__":
    sys.exit(main())
