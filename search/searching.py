"""A search from beginning to end: planned, tried, and what it found run beside the recipe's own settings."""

import gc
import logging
import shutil
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from filelock import Timeout

from ..engines.cards import visible_cards
from ..engines.choosing import AUTO
from ..engines.choosing import engine_of
from ..engines.side_by_side import SideBySide
from ..errors import InputError
from ..experiments.job import run
from ..experiments.progress import JobProgress
from ..experiments.running import Engine
from ..files import is_of_the_disk
from ..files import read_json
from ..files import remove_temporary
from ..files import write_json
from ..job_folder import JobFolder
from ..job_folder import job_results
from ..processes import process_state
from ..reporting.search_words import gains
from ..settings.recipe import Recipe
from .journal import mend_journal
from .journal import open_journal
from .journal import open_study
from .outcome import Found
from .outcome import check_found
from .outcome import found_in
from .outcome import searched_experiments
from .outcome import whole_recipe
from .outcome import write_best
from .outcome import write_trials
from .planning import SearchOptions
from .planning import SearchPlan
from .planning import difference
from .planning import plan_search
from .planning import plan_text
from .planning import record_of
from .work import SearchAnew
from .work import TrialWork

logger = logging.getLogger(__name__)


@dataclass
class SearchOutcome:
    """How a search ended.

    Args:
        text: what to show.
        failed: trials that were lost, or runs that gave no result, each with its reason.
        folder: of the job; None where there is nothing to report.
    """

    text: str
    failed: list[str]
    folder: Path | None = None


def search(
    recipe: Recipe,
    options: SearchOptions,
    jobs: int | str | None = None,
    threads: int | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
) -> SearchOutcome:
    """Searches the settings of a recipe's experiments on validation rows, then trains and tests each experiment with
    its own settings and with those found.

    The same call again goes on: with the trials that are not done, then with the runs.

    Args:
        recipe: from `load_recipe`.
        options: what is searched, and how.
        jobs, threads: of trials, then of runs, as in `engine_of`.
        dry_run: plan and check alone.
        overwrite: a search of another space, recipe or seed in the folder is replaced, and so are its runs.

    Raises InputError for wrong input, and where a study has no trial that gave a score.
    """
    recipe = _in_its_folder(recipe)
    engine = _engine(recipe, options, jobs, threads)
    with engine.at_work():
        if process_state().num_processes > 1:
            raise InputError("emomm search is for one process: start it without a launcher, and give --jobs")
        plan = plan_search(recipe, options)
        if dry_run:
            _refuse_other(plan, overwrite)
            return SearchOutcome(f"{plan_text(plan)}\n\nnothing was trained or written.", [])
        with _locked(plan), _of_the_disk(plan):
            for note in (note for each in plan.experiments for note in each.notes):
                logger.info("note: %s", note)
            _begin(plan, overwrite)
            lost, found = _try_all(plan, engine)
            if lost:
                return SearchOutcome(f"{len(lost)} trials were lost: the same command goes on with them", lost)
            check_found(found)
            searched = searched_experiments(plan, found)
            write_best(plan.folder, searched)
    logger.info("%s: what was found, as a recipe", plan.folder.best)
    names = [settings.name for settings in searched]
    outcome = run(whole_recipe(recipe, searched), overwrite=overwrite, engine=engine_of(jobs, threads), renewed=names)
    results = job_results(recipe.output_dir)
    lines = [line for entry in results["experiments"] if entry["name"] in names for line in gains(results, entry)]
    return SearchOutcome("\n".join([outcome.text, "", *lines]), outcome.failed, recipe.output_dir)


def _engine(recipe: Recipe, options: SearchOptions, jobs: int | str | None, threads: int | None) -> Engine:
    """What carries out the trials."""
    engine = engine_of(jobs, threads)
    if jobs == AUTO and visible_cards():
        raise InputError("--jobs auto tries runs, and no trials, on a GPU: give a number")
    if isinstance(engine, SideBySide):
        return SideBySide(engine.jobs, threads, anew=partial(SearchAnew, recipe, options))
    return engine


def _in_its_folder(recipe: Recipe) -> Recipe:
    """Where no folder is given, a search has one beside that of the recipe's job."""
    if recipe.experiments[0].output_dir is not None:
        return recipe
    folder = f"{recipe.output_dir}-search"
    return replace(recipe, experiments=[replace(each, output_dir=folder) for each in recipe.experiments])


# ---- the folder -----------------------------------------------------------------------------------------------------


@contextmanager
def _locked(plan: SearchPlan) -> Iterator[None]:
    folder = JobFolder(plan.recipe.output_dir)
    lock = FileLock(folder.lock)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another job is writing into {folder.path}; wait for it, or give another --output_dir"
        ) from None
    except OSError as error:
        raise InputError(f"can't write into {folder.path} ({error}); give another --output_dir") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _of_the_disk(plan: SearchPlan) -> Iterator[None]:
    """Says in a line what a disk can't take or give."""
    try:
        yield
    except Exception as error:
        if not is_of_the_disk(error):
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"reading or writing a file of {plan.folder.path} failed ({said}); once that is mended, the same command "
            "goes on"
        ) from error


def _refuse_other(plan: SearchPlan, overwrite: bool) -> bool:
    """Whether another search lies in the folder, which is to be replaced. Raises InputError where it is not to be."""
    before = read_json(plan.folder.record, "form", "seed", "prunes", "space", "studies")
    if before is None:
        return plan.folder.journal.exists()
    other = difference(before, record_of(plan))
    if other and not overwrite:
        raise InputError(
            f"{plan.folder.path} holds another search ({other}): give another --output_dir, or --overwrite to replace "
            "it"
        )
    return bool(other)


def _begin(plan: SearchPlan, overwrite: bool) -> None:
    """Makes the folder ready: of this search, as it was left."""
    folder = plan.folder
    if _refuse_other(plan, overwrite):
        shutil.rmtree(folder.path)
    folder.path.mkdir(parents=True, exist_ok=True)
    remove_temporary(folder.path)
    try:
        mend_journal(folder.journal)
    except InputError:
        if not overwrite:
            raise
        folder.journal.unlink()
    before = read_json(folder.record, "studies") or {"studies": {}}
    now = record_of(plan)
    write_json(folder.record, {**now, "studies": {**before["studies"], **now["studies"]}})


# ---- the trials -----------------------------------------------------------------------------------------------------


def _try_all(plan: SearchPlan, engine: Engine) -> tuple[list[str], list[Found]]:
    """Carries out the trials that are not done. Gives those that were lost, with the reason, and what was found."""
    total = len(plan.studies) * plan.options.trials
    lost = []
    # Every trial begins and ends with full collections; what is there by now need not be looked at each time.
    gc.collect()
    gc.freeze()
    with JobProgress(plan.recipe.name, total, shown=True, of="trial") as progress:
        work = _work(plan, progress)
        try:
            engine.make_ready(work, lambda: _make_shared(work))
            work.share(engine.jobs if isinstance(engine, SideBySide) else 1)
            with closing(engine.outcomes(work)) as outcomes:
                for place, outcome in outcomes:
                    lost += [f"{work.run(place)}: {outcome['status']}"] if _was_lost(outcome) else []
        finally:
            found = [found_in(study, work.study(number)) for number, study in enumerate(plan.studies)]
            write_trials(plan.folder, plan, found)
    return lost, found


def _was_lost(outcome: dict[str, Any]) -> bool:
    """Whether it is of a trial whose process has ended, which is then not in the journal as one that failed."""
    return outcome["status"].startswith("failed: its process")


def _work(plan: SearchPlan, progress: JobProgress) -> TrialWork:
    storage = open_journal(plan.folder.journal)
    for study in plan.studies:
        open_study(storage, study.name, study.direction, plan.options.space.own_values(study.settings))
    return TrialWork.of_plan(plan, progress)


def _make_shared(work: TrialWork) -> None:
    for study, done in zip(work.experiments, work.done, strict=True):
        if done < work.trials:
            study.make_shared()


__all__ = ["SearchOutcome", "search"]
