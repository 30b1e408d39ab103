"""The files of a run: of which settings they are, whether they can be relied on, and taking them away.

A file that is torn, or not this run's, counts as not there: the run is trained again, to the same numbers, and it is
said.
"""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from ..checksums import ChangedFiles
from ..checksums import refuse_changed_export
from ..curriculum_trainer import BEST_WEIGHTS
from ..errors import InputError
from ..errors import show
from ..evaluation.predictions import read_predictions
from ..files import read_json
from ..files import remove_temporary
from ..files import write_json
from ..job_folder import RunFolder
from ..resuming.resume_states import resume_states

if TYPE_CHECKING:
    from .run import Run

logger = logging.getLogger(__name__)

_SAID = ("identity", "seed", "fold", "status", "steps", "best_epoch", "train_seconds", "validation", "test", "parts")


# ---- one run --------------------------------------------------------------------------------------------------------


def outcome_of(run: "Run") -> dict[str, Any] | None:
    """What the metrics.json of a finished run says; None where it isn't finished, or its files can't be relied on.

    The latter is said.
    """
    if not run.files.metrics.exists():
        return None
    outcome = read_json(run.files.metrics, *_SAID)
    reason = f"its {run.files.metrics.name} is torn" if outcome is None else _fault(run, outcome)
    if reason is None:
        return outcome
    logger.warning("%s: %s; it is trained again", run, reason)
    return None


def _fault(run: "Run", outcome: dict[str, Any]) -> str | None:
    """Why the files of a run can't be relied on; None where they can."""
    if outcome["identity"] != run.identity:
        return f"its {run.files.metrics.name} is of another run"
    try:
        history = json.loads(run.files.history.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        history = None
    if not (isinstance(history, list) and all(isinstance(entry, dict) for entry in history)):
        return f"its {run.files.history.name} is torn or gone"
    try:
        other = _other_predictions(run, outcome) if run.fold.test else None
    except ValueError as error:
        return f"its {run.files.predictions.name} {error}"
    return other or (None if model_is_gone(run.files) else fault_of_model(run.files))


def _other_predictions(run: "Run", outcome: dict[str, Any]) -> str | None:
    """Whether the predictions are others than those that metrics.json counts."""
    rows = read_predictions(run.files.predictions)
    by_corpus, classes = rows.by_corpus(), len(rows.labels)
    if by_corpus.keys() != outcome["test"].keys():
        return f"its {run.files.predictions.name} is of other corpora"
    for name, scores in outcome["test"].items():
        counts = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(counts, (by_corpus[name].references, by_corpus[name].predictions), 1)
        if counts.tolist() != scores.get("confusion_matrix"):
            return f"its {run.files.predictions.name} and {run.files.metrics.name} don't belong together"
    return None


def model_is_gone(files: RunFolder) -> bool:
    """Whether a run has no exported model any more: whoever deleted it wanted its room, or the numbers alone, so that
    a finished run is not trained again for it."""
    return not os.path.lexists(files.model)


def fault_of_model(files: RunFolder) -> str | None:
    """Why the exported model of a run can't be handed on; None where it can.

    Every file that was noted on exporting it is read; one that several runs link to, once.
    """
    if model_is_gone(files):
        return f"{files.model} is gone"
    if not (files.model / "config.json").is_file():
        return f"{files.model} has no config.json"
    try:
        refuse_changed_export(files.model)
    except (ChangedFiles, OSError) as error:
        return str(error)
    return None


def begin_run(run: "Run") -> None:
    """Makes the folder of a run, and writes of which settings it is."""
    run.folder.mkdir(parents=True, exist_ok=True)
    about = {"identity": run.identity, "experiment": run.settings.name, **run.inputs}
    write_json(run.files.record, json.loads(json.dumps(about, default=str)))


def keep_run(run: "Run") -> None:
    """Of a finished run: takes away what only an interrupted one needs, and mends a torn run.json."""
    tidy(run.folder)
    if read_json(run.files.record, "identity", "settings", "processes", "corpora") is None:
        logger.warning("%s: its %s is torn or gone; it is written again", run, run.files.record.name)
        begin_run(run)


def remove_run(folder: Path) -> None:
    """Removes a run. `run.json`, which says of which settings it is, goes last: a kill can't leave the rest alone."""
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != RunFolder(folder).record:
            path.unlink()
    shutil.rmtree(folder)


def tidy(folder: Path) -> None:
    """Removes what only an interrupted run needs, and what was being written when it was killed."""
    remove_temporary(folder)
    for path in resume_states(folder):
        shutil.rmtree(path, ignore_errors=True)
    (folder / BEST_WEIGHTS).unlink(missing_ok=True)


# ---- all runs of a job ----------------------------------------------------------------------------------------------


def changed_runs(runs: list["Run"], overwrite: bool) -> list[Path]:
    """The folders of runs that were made with other settings or data; InputError unless they may be replaced."""
    changed = []
    for run in runs:
        before = _before(run.folder)
        if before is None or before["identity"] == run.identity:
            continue
        if not overwrite:
            raise InputError(
                f"{run.folder} holds a run with other settings or data ({_difference(before, run)}): give another "
                "--output_dir, or --overwrite to replace it"
            )
        changed.append(run.folder)
    return changed


def _before(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder was made from; None where nothing there says it."""
    said = read_json(RunFolder(folder).record, "identity", "settings", "processes", "corpora")
    return said if said is not None else read_json(RunFolder(folder).metrics, "identity")


def _difference(before: dict[str, Any], run: "Run") -> str:
    """What is not as it was, in words."""
    if "settings" not in before:
        return f"which ones, its {run.files.record.name} no longer says"
    inputs = json.loads(json.dumps(run.inputs, default=str))
    old, new = (
        {**each["settings"], "processes": each["processes"], **each.get("own", {})} for each in (before, inputs)
    )
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    parts = [f"{key} was {show(old.get(key))}, now {show(new.get(key))}" for key in keys]
    old, new = before["corpora"], inputs["corpora"]
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return "; ".join(parts + ([f"other data in {', '.join(changed)}"] if changed else []))


__all__ = [
    "begin_run", "changed_runs", "fault_of_model", "keep_run", "model_is_gone", "outcome_of", "remove_run", "tidy",
]  # fmt: skip
