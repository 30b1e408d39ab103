"""The demo: `python app.py --model FOLDER_OR_ID` here, and the file that a Space of `emomm space` starts."""

import sys
from pathlib import Path

if __package__:  # python -m emomm.app
    from .demo.page import main
    from .hub_access import limit_waiting
    from .hub_access import reach_hub
else:
    import demo
    from hub_access import limit_waiting
    from hub_access import reach_hub

    # Python puts a script's folder first on the search path, where our modules would be importable by bare names that
    # other packages use too.
    if sys.path and Path(sys.path[0]).resolve() == Path(demo.__file__).resolve().parent.parent:
        del sys.path[0]
    from demo.page import main

if __name__ == "__main__":
    limit_waiting()
    sys.exit(main(reach_hub=reach_hub))
