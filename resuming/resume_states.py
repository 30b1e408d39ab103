"""Resume states of a run: folders `checkpoint-STEP`, each with a list of its parts and a hash of each.

A state is gone on from where all its parts are there and as they were written. One that isn't is passed over for the
one before, or the run begins anew: another optimiser or random state would give other numbers without a word.
"""

import logging
import re
import shutil
from pathlib import Path

from ..files import content_hash
from ..files import read_json
from ..files import write_json

logger = logging.getLogger(__name__)

_PARTS = "parts.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def resume_states(folder: str | Path) -> list[Path]:
    """The states in a run's folder, the newest first; whole or not."""
    steps = {path: _NAME.fullmatch(path.name) for path in Path(folder).glob("checkpoint-*") if path.is_dir()}
    return sorted((path for path, match in steps.items() if match), key=lambda path: -int(steps[path].group(1)))


def seal(state: Path, identity: str | None = None) -> None:
    """Writes the list of a state's parts, which makes it one; `identity` is of its run."""
    parts = {path.name: content_hash(path) for path in sorted(state.iterdir()) if path.is_file()}
    write_json(state / _PARTS, {"run": identity, "parts": parts})


def fault(state: Path, identity: str | None = None) -> str | None:
    """Why a state can't be gone on from; None where it can."""
    listed = read_json(state / _PARTS, "run", "parts")
    if listed is None or not isinstance(listed["parts"], dict):
        return f"it has no list of its parts ({_PARTS})"
    if listed["run"] != identity:
        return "it is of another run"
    for name, wanted in listed["parts"].items():
        try:
            found = content_hash(state / name)
        except OSError as error:
            return f"its {name} can't be read ({error.strerror})"
        if found != wanted:
            return f"its {name} is not as it was written"
    return None


def newest_state(folder: str | Path, identity: str | None = None) -> Path | None:
    """The newest state that can be gone on from, which is said, and why others can't; these are removed."""
    found = resume_states(folder)
    for state in found:
        reason = fault(state, identity)
        if reason is None:
            logger.info("%s: goes on from %s", folder, state.name)
            return state
        logger.warning("%s: %s is passed over and removed: %s", folder, state.name, reason)
        shutil.rmtree(state, ignore_errors=True)
    if found:
        logger.warning("%s: no state to go on from is left: the run begins anew", folder)
    return None


__all__ = ["fault", "newest_state", "resume_states", "seal"]
