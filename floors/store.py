"""Floors on disk: a file for each fold and kind of features in the job's folder, made once.

A file's name holds a hash of all that shaped it and one of its bytes: a torn or foreign file doesn't match its name,
is never parsed, and is removed and made again. It is a predictions.parquet as a run has one, so that every reader of
those reads it; how the floor was chosen is in its metadata.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from ..evaluation.predictions import Predictions
from ..evaluation.predictions import predictions_file
from ..evaluation.predictions import read_predictions
from ..files import write_whole

logger = logging.getLogger(__name__)

_METADATA = b"emomm_floor"


MOST_FREQUENT = "most_frequent"
RunKey = tuple[int, str]
"""Seed and fold of a run."""


@dataclass(frozen=True, eq=False)
class FoldFloor:
    """A floor in one fold.

    Args:
        features: what it was fitted to: "voice", "words", "both"; "most_frequent" of the class that always is said.
        fold: name of the fold that asked for it first.
        key: hash of all that shaped it.
        choice: of `fitting.Floor`.
        predictions: of the test rows.
    """

    features: str
    fold: str
    key: str
    choice: dict[str, Any]
    predictions: Predictions

    @property
    def gives_ratings(self) -> bool:
        """Whether it has a ridge regression for valence, arousal and dominance."""
        return "ridge" in self.choice

    def without_ratings(self) -> "FoldFloor":
        """The same, of the classes alone."""
        choice = {key: value for key, value in self.choice.items() if key != "ridge"}
        return FoldFloor(self.features, self.fold, self.key, choice, self.predictions.without_ratings())


class FloorStore:
    """The floors in `folder` of a job."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, features: str, fold: str, key: str) -> FoldFloor | None:
        """The floor with this key; None where there is none yet. A file that isn't what its name says is removed."""
        for path in sorted(self.folder.glob(f"*.{features}.{key[:16]}.*.parquet")):
            found = _read(path)
            if found is not None and found["key"] == key:
                return FoldFloor(features, fold, key, found["choice"], found["predictions"])
            logger.warning("%s is torn or not ours: it is made again", path)
            _remove(path)
        return None

    def write(self, floor: FoldFloor) -> None:
        """Keeps a floor. Raises OSError where that can't be done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        said = json.dumps({"key": floor.key, "choice": floor.choice}).encode()
        content = predictions_file([floor.predictions], {_METADATA: said})
        name = f"{floor.fold}.{floor.features}.{floor.key[:16]}.{_digest(content)}.parquet"
        write_whole(self.folder / name, lambda temporary: Path(temporary).write_bytes(content))


def _digest(content: bytes) -> str:
    return xxhash.xxh3_128(content).hexdigest()[:16]


def _read(path: Path) -> dict[str, Any] | None:
    """Key, choice and predictions of a file, None where its bytes are not those that it was named for.

    The hash comes first: a wrong bit can end the process that parses it.
    """
    try:
        content = path.read_bytes()
        if path.name.split(".")[-2] != _digest(content):
            return None
        predictions = read_predictions(content)
        return {**json.loads(predictions.table.schema.metadata[_METADATA]), "predictions": predictions}
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:  # a folder, or not ours to remove: what is written has another name
        logger.warning("%s stays (%s)", path, error)


RunFloors = dict[RunKey, dict[str, FoldFloor]]
"""The floors of an experiment's runs, by seed and fold, and by what they were fitted to."""


__all__ = ["FloorStore", "FoldFloor", "MOST_FREQUENT", "RunFloors", "RunKey"]
