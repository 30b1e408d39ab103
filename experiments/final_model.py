"""The model of an experiment: trained once more, on all sessions of its training corpora."""

import logging
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list

from ..errors import InputError
from ..evaluation.folds import Fold
from ..evaluation.folds import Part
from ..files import read_json
from ..files import write_json
from ..job_folder import JobFolder
from ..processes import process_state
from .job import environment
from .run import Run
from .run import RunFailed
from .run_folder import begin_run
from .run_folder import changed_runs
from .run_folder import keep_run
from .run_folder import model_is_gone
from .run_folder import outcome_of
from .run_folder import remove_run
from .run_folder import tidy
from .training import Experiment

logger = logging.getLogger(__name__)


def train_final_model(experiment: Experiment, runs: list[Run]) -> Path:
    """Trains on all rows of the training corpora with the experiment's settings, for as many optimiser steps as
    validation chose: the median of its runs'.

    The run that chose the median gives the length of an epoch too. So the learning rate, the curriculum and dropout
    change at the very steps at which they did in that run; all rows being more than its own, a pass over them takes
    more than one such epoch.

    No rows are held out and nothing is selected, so nothing is tested. An interrupted training goes on, and what was
    trained before from the same runs is kept. Every process of the job calls it.

    Args:
        experiment: prepared as for the job.
        runs: all of its runs, finished.

    Returns its folder, `<experiment>/final`, beside the seeds: `model` and a `metrics.json` that says how it came
    about. Raises InputError where runs are missing, were made with other settings or data, or training fails.
    """
    state = process_state()
    run = _plan(experiment, runs)
    done = [False]
    if state.is_main_process:
        for changed in changed_runs([run], overwrite=True):
            remove_run(changed)
        done = [outcome_of(run) is not None and not model_is_gone(run.files)]
    if broadcast_object_list(done)[0]:
        if state.is_main_process:
            keep_run(run)
        logger.info("%s: done before", run)
        return run.folder
    if state.is_main_process:
        begin_run(run)
        write_json(run.files.environment, environment())
    state.wait_for_everyone()
    logger.info("%s: training on all rows for %d steps", run, run.stop_after_epoch * run.epoch_steps)
    try:
        experiment.train(run)
    except RunFailed as error:
        raise InputError(f"{run}: {error}; with --final_model false, the model of a fold is pushed") from error
    if state.is_main_process:
        tidy(run.folder)
    return run.folder


def finished_runs(runs: list[Run]) -> list[dict[str, Any]]:
    """What the runs' `metrics.json` say. Raises InputError where one is missing or was made from something else."""
    found = []
    for run in runs:
        path = run.files.metrics
        said = read_json(path, "identity", "best_epoch")
        if said is None:
            what = "torn" if path.exists() else "missing"
            raise InputError(f"{run} is not finished ({path} is {what}): the job's command continues it")
        found.append(said)
        if said["identity"] != run.identity:
            before = read_json(run.files.record, "processes")
            if before is not None and before["processes"] != run.inputs["processes"]:
                raise InputError(
                    f"{run} was trained by {before['processes']} processes, and now there are "
                    f"{run.inputs['processes']}: add --push_to_hub to the command that started the job, or give "
                    "--final_model false"
                )
            raise InputError(f"{run} was made with other settings or data than there are now: run the job again")
    return found


def _plan(experiment: Experiment, runs: list[Run]) -> Run:
    settings = experiment.settings
    if settings.by_fold:
        raise InputError(
            f"experiment {settings.name!r}: its settings differ by fold, so none are those of a model that is trained "
            "on all sessions: give --final_model false, or search once for all folds (emomm search --once)"
        )
    if settings.lr_scheduler == "plateau":
        raise InputError(
            f"experiment {settings.name!r}: lr_scheduler is plateau, which follows validation, and a model that is "
            "trained on all sessions has no validation rows: give --final_model false"
        )
    chosen = [
        (outcome["best_epoch"] * steps, outcome["best_epoch"], steps)
        for outcome, steps in zip(finished_runs(runs), _epoch_steps(experiment, runs), strict=True)
    ]
    total, epochs, epoch_steps = statistics.median_low(chosen)
    train, protocol = _all_rows(experiment, runs), runs[0].fold.protocol
    names = " + ".join(part.corpus for part in train)
    place = JobFolder(experiment.job_folder).experiment(settings.name).final.path
    what = "all sessions" if protocol is None else f"all rows that the protocol {protocol.name} uses"
    description = (
        f"trained on {what} of {names} for {total} steps, the median of those that validation chose in "
        f"{len(chosen)} runs: {epochs} of {settings.num_epochs} epochs of {epoch_steps} steps; no rows held out, "
        "nothing selected, not tested"
    )
    return Run(
        settings,
        settings.seeds[0],
        Fold(place.name, train, (), (), description),
        place,
        {**runs[0].inputs, "stop_after_epoch": epochs, "epoch_steps": epoch_steps},
        stop_after_epoch=epochs,
        epoch_steps=epoch_steps,
    )


def _all_rows(experiment: Experiment, runs: list[Run]) -> tuple[Part, ...]:
    """All rows of the training corpora; where the protocol goes by its name, those that any of its folds uses."""
    sizes = {corpus.name: len(corpus) for corpus in experiment.data.corpora}
    if runs[0].fold.protocol is None:
        return tuple(Part(corpus.name, np.arange(sizes[corpus.name])) for corpus in experiment.data.train)
    found = []
    for corpus in experiment.data.train:
        used = np.zeros(sizes[corpus.name], dtype=bool)
        for run in runs:
            for part in (*run.fold.train, *run.fold.validation, *run.fold.test):
                if part.corpus == corpus.name:
                    used[part.rows] = True
        found += [Part(corpus.name, np.flatnonzero(used))] if used.any() else []
    return tuple(found)


def _epoch_steps(experiment: Experiment, runs: list[Run]) -> list[int]:
    """Optimiser steps of an epoch of each run."""
    processes = process_state().num_processes
    return [experiment.steps(run, processes) // experiment.settings.num_epochs for run in runs]


__all__ = ["finished_runs", "train_final_model"]
