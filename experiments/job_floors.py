"""The floors of all experiments of a job, each fitted once: experiments that share rows and features share them."""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import as_completed
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..cores import core_count
from ..evaluation.folds import Fold
from ..features.text_states import TextStateStore
from ..floors.fitting import ALPHA_GRID
from ..floors.fitting import C_TIMES_ROWS
from ..floors.fitting import FloorRows
from ..floors.fitting import choosing_metric
from ..floors.fitting import fit_floor
from ..floors.results import ALL
from ..floors.store import MOST_FREQUENT
from ..floors.store import FloorStore
from ..floors.store import FoldFloor
from ..floors.store import RunFloors
from ..floors.store import RunKey
from ..interruption import heed
from ..job_folder import JobFolder
from ..modalities import AUDIO
from ..modalities import BOTH
from ..modalities import TEXT
from ..modalities import Modality
from ..processes import main_process_first
from .run import Run
from .scoring import predictions_of
from .training import Experiment

logger = logging.getLogger(__name__)

_FORMAT = "emomm-floor-1"
_PARTS = ("train", "validation", "test")

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Unit:
    """A floor to be had; several experiments may want it.

    Args:
        experiment: one of them.
        fold, features, key: as in `FoldFloor`.
        modalities: that it is fitted to.
        ratings: whether any of them wants the ridge regression too.
    """

    experiment: Experiment
    fold: Fold
    features: str
    modalities: tuple[Modality, ...]
    key: str
    ratings: bool

    def __str__(self) -> str:
        return f"{self.features}, {self.fold.name}"


def job_floors(
    experiments: Sequence[Experiment], plans: Sequence[Sequence[Run]], folder: Path, state: PartialState
) -> list[RunFloors]:
    """The floors of each experiment that wants them, from the job's folder or fitted now.

    A floor that can't be had or kept is said, and lacks or is made again the next time: it never ends the job.

    Args:
        experiments: of the job.
        plans: the runs of each.
        folder: of the job.
        state: this process among the others. The main process fits, and alone gets the floors; the others wait.
    """
    planned = list(zip(experiments, plans, strict=True))
    if not any(experiment.settings.floors for experiment in experiments):
        return [{} for _ in experiments]
    kept = JobFolder(folder).floors
    with main_process_first(state, kept.with_name(f".{kept.name}.lock")):
        if not state.is_main_process:
            return [{} for _ in experiments]
        wanted = [_units(*each) for each in planned]
        found = _found(_distinct(wanted), FloorStore(kept), state.num_processes)
    return [_of_runs(*each, units, found) for each, units in zip(planned, wanted, strict=True)]


def _units(experiment: Experiment, runs: Sequence[Run]) -> dict[RunKey, list[_Unit]]:
    """The floors of each run."""
    settings = experiment.settings
    if not settings.floors:
        return {}
    ratings, kinds = settings.vad_loss_weight > 0, floor_kinds(experiment.data.modalities)
    return {
        (run.seed, run.fold.name): [
            _Unit(experiment, run.fold, kind, read, _key(experiment, run.fold, kind, read), ratings)
            for kind, read in kinds.items()
        ]
        for run in runs
    }


def floor_kinds(modalities: Sequence[Modality]) -> dict[str, tuple[Modality, ...]]:
    """What the floors of an experiment are fitted to: each modality, by its word, and of several, all together."""
    alone = {modality.word: (modality,) for modality in modalities}
    together = BOTH if tuple(modalities) == (AUDIO, TEXT) else ALL
    return alone if len(alone) == 1 else {**alone, together: tuple(modalities)}


def _key(experiment: Experiment, fold: Fold, features: str, modalities: Sequence[Modality] = ()) -> str:
    """Hash of all that shapes a floor: rows and features by their content, and how it is chosen."""
    settings, data = experiment.settings, experiment.data
    parts = {name: getattr(fold, name) for name in _PARTS}
    named = {part.corpus for of_part in parts.values() for part in of_part}
    shaped_by: dict[str, Any] = {
        "format": _FORMAT,
        "features": features,
        "grids": [C_TIMES_ROWS, ALPHA_GRID],
        "metric": choosing_metric(settings.metric_for_best_model),
        "labels": data.labels,
        "corpora": {corpus.name: corpus.fingerprint for corpus in data.corpora if corpus.name in named},
        "rows": {
            name: [[part.name, hashlib.sha256(part.rows.tobytes()).hexdigest()] for part in of_part]
            for name, of_part in parts.items()
        },
    }
    if TEXT in modalities:
        shaped_by["states"] = [experiment.encoder.hash, settings.text_max_length, settings.store_dtype]
    if AUDIO in modalities and experiment.speech is not None:
        shaped_by["recordings"] = [experiment.speech.hash, settings.max_eval_seconds, settings.recording_dtype]
    return hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode()).hexdigest()


def _distinct(wanted: Sequence[dict[RunKey, list[_Unit]]]) -> list[_Unit]:
    """Each floor once, those that take longest first."""
    found: dict[str, _Unit] = {}
    for unit in (unit for of_runs in wanted for units in of_runs.values() for unit in units):
        ratings = unit.ratings or (unit.key in found and found[unit.key].ratings)
        found[unit.key] = replace(unit, ratings=ratings)
    return sorted(found.values(), key=lambda unit: -len(unit.modalities))


def _found(units: Sequence[_Unit], store: FloorStore, processes: int) -> dict[str, FoldFloor]:
    """The floors by key: those that are kept, and the others fitted."""
    found: dict[str, FoldFloor] = {}
    for unit in units:
        kept = store.read(unit.features, unit.fold.name, unit.key)
        if kept is not None and (kept.gives_ratings or not unit.ratings):
            found[unit.key] = kept
    missing = [unit for unit in units if unit.key not in found]
    bar = tqdm(total=len(missing), desc="floors", unit="fit", disable=None if missing else True)
    with bar, closing(_fitted(missing, processes)) as fitted:
        for floor in fitted:
            if floor is not None:
                found[floor.key] = floor
                _attempt(f"{floor.features}, {floor.fold}, can't be kept", lambda floor=floor: store.write(floor))
            bar.update()
    return found


def _fitted(units: Sequence[_Unit], processes: int) -> Iterator[FoldFloor | None]:
    """The floors as they are done, a thread to each; None for one that can't be had."""
    if not units:
        return
    from sklearn.exceptions import ConvergenceWarning  # before the limits: they hold for what is loaded by then

    vectors = _Vectors()
    # One thread for the algebra of each: the cores are taken, and the figures are the same on any number of them.
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said in `choice`
        pool = ThreadPoolExecutor(_threads(processes))
        try:
            futures = []
            for unit in units:
                features = _attempt(f"{unit}", lambda unit=unit: vectors.of(unit))
                if features is None:
                    yield None
                else:
                    futures.append(pool.submit(_attempt, f"{unit}", lambda u=unit, f=features: _fit(u, f)))
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _threads(processes: int) -> int:
    """As many as torch may use, in all processes of this launch together, since the others wait."""
    return max(1, min(core_count(), torch.get_num_threads() * processes))


def _attempt(what: str, make: Callable[[], T]) -> T | None:
    try:
        return make()
    except Exception as error:  # noqa: BLE001 a job is worth more than its floors
        heed()
        logger.debug("floors", exc_info=True)
        logger.warning("floors: %s (%s: %s)", what, type(error).__name__, " ".join(str(error).split()))
        return None


class _Vectors:
    """A vector for each row of an experiment's data; those of the same corpora and encoder are made once."""

    def __init__(self) -> None:
        self._made: dict[tuple, np.ndarray] = {}

    def of(self, unit: _Unit) -> list[np.ndarray]:
        """(rows, d) float32 of each modality that the floor reads; NaN where a row lacks it."""
        return [self._of(unit.experiment, modality) for modality in unit.modalities]

    def _of(self, experiment: Experiment, modality: Modality) -> np.ndarray:
        settings, data = experiment.settings, experiment.data
        key = (modality, tuple(data.labels), *((corpus.name, corpus.fingerprint) for corpus in data.corpora))
        if modality == TEXT:
            key += (experiment.encoder.hash, settings.text_max_length, settings.store_dtype)
        recorded = modality == AUDIO and experiment.speech is not None
        if recorded:
            key += (experiment.speech.hash, settings.max_eval_seconds)
        if key not in self._made:
            if recorded:
                sequences = experiment.inputs.mean_states()
            elif modality != TEXT:
                sequences = data.vectors(modality.name)
            else:
                store = TextStateStore(
                    settings.text_model_name, settings.text_max_length, settings.store_dtype, settings.store_dir
                )
                sequences = store.states(data.texts(may_be_missing=True))
            self._made[key] = sequences.means()
        return self._made[key]


def _fit(unit: _Unit, vectors: Sequence[np.ndarray]) -> FoldFloor:
    data, settings = unit.experiment.data, unit.experiment.settings
    train, validation, test = (data.rows(getattr(unit.fold, part)) for part in _PARTS)
    features = np.concatenate(vectors, axis=1) if len(vectors) > 1 else vectors[0]
    floor = fit_floor(
        *(
            FloorRows(features[rows], data.label_ids[rows], data.vad[rows] if unit.ratings else None)
            for rows in (train, validation)
        ),
        data.labels,
        choosing_metric(settings.metric_for_best_model),
    )
    lacking = {
        modality.word: int(np.isnan(of_modality[train, 0]).sum())
        for modality, of_modality in zip(unit.modalities, vectors, strict=True)
    }
    choice = {**floor.choice, "rows_without": {name: count for name, count in lacking.items() if count}}
    names = data.tested_names(unit.fold.test)
    predictions = predictions_of(data, test, *floor.predict(features[test]), tested_on=names)
    return FoldFloor(unit.features, unit.fold.name, unit.key, choice, predictions)


def _of_runs(
    experiment: Experiment,
    runs: Sequence[Run],
    units: dict[RunKey, list[_Unit]],
    found: dict[str, FoldFloor],
) -> RunFloors:
    ratings = experiment.settings.vad_loss_weight > 0
    floors: RunFloors = {}
    for run in runs if units else ():
        of_run = {MOST_FREQUENT: _most_frequent(experiment, run.fold)}
        for unit in units[run.seed, run.fold.name]:
            if unit.key in found:
                floor = found[unit.key]
                of_run[unit.features] = floor if ratings else floor.without_ratings()
        floors[run.seed, run.fold.name] = of_run
    return floors


def _most_frequent(experiment: Experiment, fold: Fold) -> FoldFloor:
    """The class that most training rows have, said of every test row; of equally frequent ones the first."""
    data = experiment.data
    counts = np.bincount(data.label_ids[data.rows(fold.train)], minlength=len(data.labels))
    test = data.rows(fold.test)
    guesses = np.tile(counts / counts.sum(), (len(test), 1))
    predictions = predictions_of(data, test, guesses, tested_on=data.tested_names(fold.test))
    choice = {"class": data.labels[int(counts.argmax())], "rows": {"train": int(counts.sum())}}
    return FoldFloor(MOST_FREQUENT, fold.name, _key(experiment, fold, MOST_FREQUENT), choice, predictions)


__all__ = ["floor_kinds", "job_floors"]
