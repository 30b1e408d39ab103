"""`--price`: of each experiment whose folds leak, a twin on the nearest folds that don't."""

import atexit
import contextlib
import csv
import logging
import shutil
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import PartialState

from ..corpora.raw_columns import UNKNOWN
from ..errors import InputError
from ..evaluation.folds import Fold
from ..evaluation.nearest_disjoint import GivenFold
from ..evaluation.nearest_disjoint import nearest_disjoint
from ..job_folder import JobFolder
from ..job_folder import slug_of
from ..settings.recipe import Recipe
from ..settings.settings import Settings
from ..text_columns import coded
from .data import ExperimentData
from .planning import Loaded
from .planning import folds_by_seed
from .planning import load_data

logger = logging.getLogger(__name__)

TWIN = "{} (disjoint)"


def with_twins(recipe: Recipe, loaded: Loaded, state: PartialState, dry_run: bool) -> tuple[Recipe, dict[str, str]]:
    """The recipe with a twin after each experiment whose folds leak; and {experiment: its twin}.

    The twins' folds are manifests in the job's folder, `disjoint/EXPERIMENT.csv`, which a recipe can name; of a dry
    run they lie in a temporary folder. Experiments with a twin may train on what leaks.

    Raises:
        InputError: no experiment's folds leak; speakers that are unknown, or too few; a test part of another corpus.
    """
    folder = _passing_folder() if dry_run else JobFolder(recipe.output_dir).disjoint.absolute()
    experiments: list[Settings] = []
    twins: dict[str, str] = {}
    for settings in recipe.experiments:
        settings = replace(settings, allow_overlap=True)
        data = load_data(replace(settings, seeds=settings.seeds[:1]), loaded)
        folds = folds_by_seed(data)[settings.seeds[0]]
        people, copies = _leaks(data, folds)
        experiments.append(settings)
        if not people and not copies:
            logger.info("note: %s: its folds share no speaker or recording, and have no price", settings.name)
            continue
        path = folder / f"{slug_of(settings.name)}.csv"
        made = _disjoint(data, folds)
        if state.is_main_process:
            _write(path, data, made)
        name = TWIN.format(settings.name)
        twins[settings.name] = name
        by = [*dict.fromkeys([*settings.disjoint_by, *(["recording"] if copies else [])])]
        experiments.append(
            replace(
                settings,
                name=name,
                evaluation_mode="manifest",
                manifest=str(path),
                protocol_module=None,
                test_datasets=None,
                allow_overlap=False,
                disjoint_by=by,
            )  # fmt: skip
        )
    state.wait_for_everyone()
    if not twins:
        raise InputError("--price: no experiment's folds share a speaker or a recording: there is no leak to price")
    return replace(recipe, experiments=experiments), twins


@contextmanager
def as_it_was_where_refused(folder: Path) -> Iterator[None]:
    """Leaves the folder of disjoint folds, and that of the job, as they were where what is done within is refused: the
    folds may be those of a job that is under way, or of runs that are done."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    before = {} if missing else {file: file.read_bytes() for file in folder.glob("*.csv")}
    try:
        yield
    except InputError:
        for file in folder.glob("*.csv"):
            if file not in before:
                file.unlink(missing_ok=True)
            elif file.read_bytes() != before[file]:
                file.write_bytes(before[file])
        for each in missing:
            with contextlib.suppress(OSError):  # not there, or another has put something into it
                each.rmdir()
        raise


def _passing_folder() -> Path:
    """A folder that is there until this process ends."""
    folder = tempfile.mkdtemp(prefix="emomm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _leaks(data: ExperimentData, folds: Sequence[Fold]) -> tuple[int, int]:
    """Tested speakers and test rows' recordings that are on two sides, over all folds."""
    people, copies, numbers = 0, 0, data.same_recordings
    for fold in folds:
        others, tests = data.rows((*fold.train, *fold.validation)), data.rows(fold.test)
        people += len(np.intersect1d(coded(data.speakers[others])[0], coded(data.speakers[tests])[0]))
        copies += int(np.isin(numbers[tests], numbers[others][numbers[others] >= 0]).sum())
    return people, copies


def _disjoint(data: ExperimentData, folds: Sequence[Fold]) -> list[GivenFold]:
    where = f"--price: experiment {data.settings.name!r}"
    names, speakers = coded(data.speakers)
    unknown = np.char.endswith(names, f"/{UNKNOWN}")
    if unknown.any():
        rows = int(unknown[speakers].sum())
        raise InputError(
            f"{where}: it isn't known who speaks in {rows} rows, so that no disjoint folds can be made: give the "
            "corpus a speaker column, or leave these rows out"
        )
    trained = {corpus.name for corpus in data.train}
    if any(part.corpus not in trained for fold in folds for part in fold.test):
        raise InputError(f"{where}: it tests another corpus than it trains on, whose folds can't be drawn again")
    given = [_given(data, fold) for fold in folds]
    try:
        return nearest_disjoint(given, speakers, data.label_ids)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _given(data: ExperimentData, fold: Fold) -> GivenFold:
    def mask(parts) -> np.ndarray:
        chosen = np.zeros(len(data.label_ids), bool)
        chosen[data.rows(parts)] = True
        return chosen

    tests: dict[str, np.ndarray] = {}
    for part in fold.test:
        name = part.test or "test"
        tests[name] = tests.get(name, False) | mask((part,))
    named = fold.protocol is not None and fold.protocol.names_validation
    train, validation = mask(fold.train), mask(fold.validation)
    return GivenFold(fold.name, train if named else train | validation, validation if named else None, tests)


def _write(path: Path, data: ExperimentData, folds: Sequence[GivenFold]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["utterance_id", "corpus", "fold", "part"])
            for fold in folds:
                parts = {"train": fold.train, "validation": fold.validation, **fold.tests}
                for part, chosen in parts.items():
                    for row in np.flatnonzero(chosen) if chosen is not None else ():
                        writer.writerow([data.utterance_ids[row], data.corpus_names[row], fold.name, part])
    except OSError as error:
        raise InputError(f"can't write {path} ({error}); give another --output_dir") from error


__all__ = ["as_it_was_where_refused", "with_twins"]
