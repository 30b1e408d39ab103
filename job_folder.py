"""What lies in a job's folder, read for commands that refuse at once: with the standard library alone."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from .errors import InputError
from .errors import nearest
from .files import read_json

RESULTS = "results.json"
PREDICTIONS = "predictions.parquet"
SETTINGS = "settings.json"
"""In an experiment's folder: its settings, with the paths of this machine."""

_KEYS = ("recipe", "protocol", "environment", "experiments")
_OF_EXPERIMENT = {"name", "labels", "corpora", "runs", "summary"}
_OF_RUN = {"seed", "fold", "status"}


# Of an experiment's folder, below which others lie.
_LONGEST_SLUG = 100


def readable_results(folder: Path) -> dict[str, Any] | None:
    """The results.json of a job; None where there is none, or it is torn or another file."""
    found = read_json(folder / RESULTS, *_KEYS)
    if found is None or not isinstance(found["experiments"], list):
        return None
    for entry in found["experiments"]:
        if not isinstance(entry, dict) or not entry.keys() >= _OF_EXPERIMENT or not isinstance(entry["runs"], list):
            return None
        if not all(isinstance(run, dict) and run.keys() >= _OF_RUN for run in entry["runs"]):
            return None
    return found


def job_results(folder: str | Path) -> dict[str, Any]:
    """The results.json of a job. Raises InputError where there is none, or it can't be read."""
    path = Path(folder) / RESULTS
    if not os.path.isfile(path):  # unlike Path's, it doesn't raise for a name that is too long
        raise InputError(f"{folder} holds no results.json: give the folder of a job, such as runs/quickstart")
    found = readable_results(Path(folder))
    if found is None:
        raise InputError(
            f"{path} is torn, or not of a job of emomm: the command that started the job makes it again, and trains "
            "nothing again"
        )
    return found


def find_experiment(folder: str | Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """results.json, and the entry in it of an experiment, by its name or its folder's.

    Raises InputError where there is none.
    """
    results = job_results(folder)
    for entry in results["experiments"]:
        if name in (entry["name"], slug_of(entry["name"])):
            return results, entry
    names = [entry["name"] for entry in results["experiments"]]
    raise InputError(
        f"{Path(folder) / RESULTS}: there is no experiment {name!r}.{nearest(name, names)} There are: "
        f"{', '.join(names)}"
    )


def check_finished(folder: str | Path, entry: dict[str, Any]) -> None:
    """Raises InputError where not all runs of an experiment are done."""
    unfinished = [f"seed {run['seed']}, {run['fold']}: {run['status']}" for run in entry["runs"]]
    unfinished = [said for said in unfinished if not said.endswith(": done")] or ["none is there"] * (not unfinished)
    if unfinished:
        raise InputError(
            f"{Path(folder) / RESULTS}: not all runs of {entry['name']!r} are done ({unfinished[0]}): run the job "
            "again, then push"
        )


def slug_of(name: str) -> str:
    """A name as a folder: lower-case, [a-z0-9-]; of one that is too long what is left and a hash."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if len(slug) <= _LONGEST_SLUG:
        return slug
    return f"{slug[: _LONGEST_SLUG - 9].strip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


__all__ = [
    "PREDICTIONS", "RESULTS", "SETTINGS", "check_finished", "find_experiment", "job_results", "readable_results",
    "slug_of",
]  # fmt: skip
