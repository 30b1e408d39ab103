"""A job: a recipe's runs planned, checked, carried out by an engine, and gathered into results.json."""

import dataclasses
import gc
import importlib.metadata
import logging
import platform
import subprocess
from collections.abc import Collection
from collections.abc import Iterator
from contextlib import closing
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from filelock import FileLock
from filelock import Timeout

from ..corpora.corpus import Corpus
from ..errors import InputError
from ..evaluation.metrics import summarise
from ..evaluation.price import earlier_twins
from ..evaluation.price import prices
from ..evaluation.results import add_statistics
from ..evaluation.results import earlier_experiments
from ..features.speech_states import WantedStates
from ..files import is_of_the_disk
from ..files import remove_temporary
from ..files import write_json
from ..floors.results import floors_entry
from ..job_folder import JobFolder
from ..job_folder import readable_results
from ..processes import process_state
from ..reporting.price_words import price_lines
from ..reporting.protocol_words import overlaps
from ..reporting.results_table import comparison_lines
from ..reporting.results_table import format_table
from ..reporting.results_table import results_notes
from ..reporting.results_table import results_table
from ..settings.recipe import Recipe
from ..settings.recipe import leaving_out
from ..settings.settings import Settings
from ..settings.settings import settings_identity
from ..tracking.tracker import summarise_job
from .auditing import audit_entry
from .auditing import audit_experiment
from .auditing import audit_notes
from .disjoint_twins import as_it_was_where_refused
from .disjoint_twins import with_twins
from .floors_aside import floors_aside
from .fold_experiments import FoldExperiments
from .job_floors import job_floors
from .own_modules import check_agreement
from .own_modules import own_inputs
from .own_modules import with_protocol
from .planning import Loaded
from .planning import folds_by_seed
from .planning import load_data
from .progress import JobProgress
from .run import Run
from .run_folder import changed_runs
from .run_folder import remove_run
from .running import Engine
from .running import OneByOne
from .running import Place
from .running import Work
from .running import threads_of
from .stacked_runs import stacked_outcomes
from .text_encoder import Encoders
from .training import Experiment

logger = logging.getLogger(__name__)

_PACKAGES = ("transformers", "datasets", "accelerate", "evaluate", "torch", "scikit-learn", "huggingface_hub", "numpy")


@dataclass
class Outcome:
    """How a job ended.

    Args:
        text: what to show: the table of results, or the plan.
        failed: the runs that gave no result, each with its reason.
    """

    text: str
    failed: list[str]


def run(
    recipe: Recipe,
    dry_run: bool = False,
    overwrite: bool = False,
    price: bool = False,
    engine: Engine | None = None,
    renewed: Collection[str] = (),
) -> Outcome:
    """Plans and checks every run of a recipe, then trains and tests those that are not done yet.

    Args:
        recipe: from `load_recipe`.
        dry_run: plan and check alone: the runs, rows in each part and steps; nothing is trained or written.
        overwrite: runs whose settings or data have changed replace those in the folder; without it they are refused.
        price: experiments whose folds leak are run once more, on the nearest folds that don't (see `disjoint_twins`).
        engine: carries the runs out; by default one after the other, in this process.
        renewed: names of experiments whose runs replace changed ones in any case.

    Raises InputError for wrong input, before any training and with the output folder as it was.
    """
    engine = OneByOne() if engine is None else engine
    with engine.at_work():
        return _run(recipe, dry_run, overwrite, price, engine, renewed)


def _run(
    recipe: Recipe, dry_run: bool, overwrite: bool, price: bool, engine: Engine, renewed: Collection[str]
) -> Outcome:
    state = process_state()
    folder = recipe.output_dir
    loaded: Loaded = {}
    encoders: Encoders = {}
    with as_it_was_where_refused(JobFolder(folder).disjoint) if price and not dry_run else nullcontext():
        recipe, twins = with_twins(recipe, loaded, state, dry_run) if price else (recipe, {})
        experiments, plans, without = _planned(recipe, loaded, encoders, dry_run)
        check_agreement([run for runs in plans for run in runs], state)
        changed = []
        for each in [] if dry_run else (run for runs in plans for run in runs):
            changed += changed_runs([each], overwrite or each.settings.name in renewed)
        if dry_run:
            _say_notes(recipe, loaded, experiments)
            return Outcome(_with_left_out(_plan_table(experiments, plans, state.num_processes), without), [])
        lock = _locked(folder, changed, experiments, state)
    try:
        state.wait_for_everyone()
        _say_notes(recipe, loaded, experiments)
        outcome = _run_all(recipe, experiments, plans, state, twins, engine)
        return dataclasses.replace(outcome, text=_with_left_out(outcome.text, without))
    except Exception as error:
        if not is_of_the_disk(error):
            raise
        raise InputError(
            f"reading or writing a file of {folder} failed ({_in_a_line(error)}); once that is mended, the same "
            "command goes on"
        ) from error
    finally:
        lock.release()


def _locked(folder: Path, changed: list[Path], experiments: list[Experiment], state: PartialState) -> FileLock:
    """The lock of the job's folder, held by the main process, which has taken away what is to be made again."""
    lock = FileLock(JobFolder(folder).lock)
    try:
        if state.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
            remove_temporary(folder)
            for run_folder in changed:
                remove_run(run_folder)
            for experiment in experiments:  # for `emomm push`
                place = JobFolder(folder).experiment(experiment.settings.name)
                place.path.mkdir(exist_ok=True)
                write_json(place.settings, dataclasses.asdict(experiment.settings))
    except Timeout as error:
        raise InputError(f"another job is writing into {folder}; wait for it, or give another --output_dir") from error
    except OSError as error:
        raise InputError(f"can't write into {folder} ({error}); give another --output_dir") from error
    return lock


def plan_experiment(
    settings: Settings, folder: Path, loaded: dict[str, Corpus] | None = None, encoders: Encoders | None = None
) -> tuple[Experiment, list[Run]]:
    """An experiment of the job in `folder`, ready to train, and its runs. Raises InputError as `run` does.

    Args:
        loaded, encoders: what experiments planned before have read, used and added to.
    """
    experiment = _prepare(
        settings, folder, {} if loaded is None else loaded, {} if encoders is None else encoders, False
    )
    return experiment, _runs(experiment, folder, process_state().num_processes)


# ---- planning -------------------------------------------------------------------------------------------------------


def _prepare(settings: Settings, folder: Path, loaded: Loaded, encoders: Encoders, dry_run: bool) -> Experiment:
    kind = FoldExperiments if settings.by_fold else Experiment
    return kind(load_data(settings, loaded), folder, dry_run, encoders)


def _runs(experiment: Experiment, folder: Path, world_size: int) -> list[Run]:
    settings, data = experiment.settings, experiment.data
    runs, every = [], []
    by_seed = folds_by_seed(data)
    experiment.check_folds([fold.name for folds in by_seed.values() for fold in folds])
    inputs = _inputs(experiment, world_size)
    for seed, folds in by_seed.items():
        every += folds
        for fold in folds:
            place = JobFolder(folder).experiment(settings.name).run(seed, fold.name).path
            of_fold = experiment.of_fold(fold.name)
            of_run = inputs if of_fold is experiment else _inputs(of_fold, world_size)
            planned = Run(of_fold.settings, seed, fold, place, of_run)
            of_fold.check(planned)
            runs.append(dataclasses.replace(planned, inputs=of_run | own_inputs(of_fold, planned)))
    data.note_shared(every)
    experiment.audit = audit_experiment(data, by_seed, settings.name, brief=True)
    data.notes += audit_notes(experiment.audit)
    return runs


def _inputs(experiment: Experiment, world_size: int) -> dict[str, Any]:
    """All that can change the result of the runs of an experiment, with settings that hold in all of them."""
    inputs = {
        "settings": settings_identity(experiment.settings),
        "corpora": {corpus.name: corpus.fingerprint for corpus in experiment.data.corpora},
        "processes": world_size,
    }
    if experiment.encoder is None:
        del inputs["settings"]["text_model_name"]
    elif experiment.encoder.config is not None:  # by its content: where it lies does not matter
        inputs["settings"]["text_model_name"] = experiment.encoder.hash
    if experiment.speech is not None and experiment.speech.config is not None:
        inputs["settings"]["speech_model_name"] = experiment.speech.hash
    return inputs


def _planned(
    recipe: Recipe, loaded: Loaded, encoders: Encoders, dry_run: bool
) -> tuple[list[Experiment], list[list[Run]], list[str]]:
    """The experiments, the runs of each, and of a recipe that may leave some out, why these can't run: said, too."""
    folder, processes = recipe.output_dir, process_state().num_processes
    experiments: list[Experiment] = []
    plans: list[list[Run]] = []
    left_out: dict[int, str] = {}
    for number, settings in enumerate(recipe.experiments):
        with leaving_out(left_out, number, recipe.may_leave_out):
            experiment = _prepare(settings, folder, loaded, encoders, dry_run)
            plans.append(_runs(experiment, folder, processes))
            experiments.append(experiment)
    if not experiments:
        raise InputError(left_out[0])
    without = recipe.left_out + [_left_out(recipe.experiments[number], why) for number, why in left_out.items()]
    for line in without:
        logger.warning("left out: %s", line)
    return experiments, plans, without


def _left_out(settings: Settings, why: str) -> str:
    return why if repr(settings.name) in why else f"experiment {settings.name!r}: {why}"


def _with_left_out(text: str, without: list[str]) -> str:
    return "\n".join([text, *(["", *(f"left out: {line}" for line in without)] if without else [])])


def _say_notes(recipe: Recipe, loaded: Loaded, experiments: list[Experiment]) -> None:
    corpora = [corpus for corpus in loaded.values() if isinstance(corpus, Corpus)]
    notes = recipe.notes + [f"{corpus.name}: {note}" for corpus in corpora for note in corpus.notes]
    notes += [note for experiment in experiments for note in (*experiment.data.notes, *experiment.notes)]
    for note in dict.fromkeys(notes):
        logger.info("note: %s", note)


def _plan_table(experiments: list[Experiment], plans: list[list[Run]], world_size: int) -> str:
    rows = [["experiment", "seed", "fold", "train", "validation", "test", "steps"]]
    for experiment, runs in zip(experiments, plans, strict=True):
        for planned in runs:
            fold = planned.fold
            sizes = [str(sum(len(part.rows) for part in parts)) for parts in (fold.train, fold.validation)]
            tested = " ".join(f"{part.name}:{len(part.rows)}" for part in fold.test)
            steps = str(experiment.steps(planned, world_size))
            rows.append([planned.settings.name, str(planned.seed), fold.name, *sizes, tested, steps])
    return f"{format_table(rows)}\n\n{len(rows) - 1} runs; nothing was trained or written."


# ---- running --------------------------------------------------------------------------------------------------------


def _run_all(
    recipe: Recipe,
    experiments: list[Experiment],
    plans: list[list[Run]],
    state: PartialState,
    twins: dict[str, str],
    engine: Engine,
) -> Outcome:
    entries = [
        {**with_protocol(experiment.card(), runs), **audit_entry(experiment.audit), "runs": [], "summary": {}}
        for experiment, runs in zip(experiments, plans, strict=True)
    ]
    for name, twin in twins.items():  # it is no other method, and is not chosen among them
        next(entry for entry in entries if entry["name"] == twin)["twin_of"] = name
    before = readable_results(recipe.output_dir)
    results = {
        "recipe": recipe.name,
        "protocol": _protocol(experiments, plans),
        "environment": environment(),
        "experiments": [*earlier_experiments(recipe.output_dir, {entry["name"] for entry in entries}), *entries],
        **{key: before[key] for key in ("price",) if before is not None and key in before},  # until all runs are done
    }
    # Every run begins and ends with a full collection; what is there by now need not be looked at each time.
    gc.collect()
    gc.freeze()
    with JobProgress(recipe.name, sum(map(len, plans)), shown=state.is_main_process) as progress:
        work = Work(recipe, experiments, plans, state, progress)
        _join_wanted(work)
        engine.make_ready(work, lambda: _make_for_all(work))
        results["environment"]["threads"] = engine.threads
        aside = floors_aside(work, recipe.output_dir) if isinstance(engine, OneByOne) else nullcontext()
        with aside:
            failed = _carry_out(work, engine, results, entries)
        floors = job_floors(experiments, plans, recipe.output_dir, state)
    if state.is_main_process:
        pooled = add_statistics(results, recipe.output_dir)
        for experiment, entry, found in zip(experiments, entries, floors, strict=True):
            said = floors_entry(experiment.data.words, entry["runs"], found, pooled[entry["name"]])
            entry.update({} if said is None else {"floors": said})
            entry.update({"overlap": leaks} if (leaks := overlaps(entry)) else {})
        results.pop("price", None)
        if priced := {**earlier_twins(before, results), **twins}:
            results["price"] = prices(priced, pooled, results["comparisons"])
        summarise_job(results, [experiment.settings for experiment in experiments], recipe.output_dir)
        write_json(JobFolder(recipe.output_dir).results, results)
    return Outcome(_in_tables(results, recipe), failed)


def _in_tables(results: dict[str, Any], recipe: Recipe) -> str:
    lines = [
        results_table(results),
        "",
        *results_notes(results),
        "",
        *comparison_lines(results),
        *price_lines(results),
    ]
    return "\n".join([*lines, str(JobFolder(recipe.output_dir).results)])


def _carry_out(work: Work, engine: Engine, results: dict[str, Any], entries: list[dict[str, Any]]) -> list[str]:
    """Lets the engine carry out the runs, and keeps what each gives in results.json, in the order of the plan,
    whatever the order they end in. Returns those that failed, in words."""
    found: dict[Place, dict[str, Any]] = {}
    for experiment in work.experiments:
        for encoder in (experiment.encoder, experiment.speech) if work.state.is_main_process else ():
            if encoder is not None:
                encoder.mend_shared_weights()
    with closing(_all_outcomes(work, engine)) as outcomes:
        for place, outcome in outcomes:
            found[place] = outcome
            number, _ = place
            of_experiment = [found[each] for each in sorted(found) if each[0] == number]
            entry = entries[number]
            entry["runs"] = [_public(each) for each in of_experiment]
            entry["summary"] = summarise([run for run in entry["runs"] if run["status"] == "done"])
            if work.state.is_main_process:
                write_json(JobFolder(work.recipe.output_dir).results, results)
    return [f"{work.run(each)}: {found[each]['status']}" for each in sorted(found) if found[each]["status"] != "done"]


def _all_outcomes(work: Work, engine: Engine) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Those of the runs that train alone, then of those that are stacked: a process that trained can't be forked."""
    if work.places:
        with closing(engine.outcomes(work)) as outcomes:
            yield from outcomes
    with threads_of(engine.threads):
        yield from stacked_outcomes(work)


def _join_wanted(work: Work) -> None:
    """Lets the experiments with runs to be done fill the stores of recordings' states together."""
    wanted = WantedStates()
    for experiment in work.unfinished():
        experiment.inputs.join(wanted)


def _make_for_all(work: Work) -> None:
    """Makes what the runs share, on disk, before the first of them."""
    for experiment in work.unfinished():
        experiment.make_shared()
    job_floors(work.experiments, work.plans, work.recipe.output_dir, work.state)


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _public(outcome: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in outcome.items() if key not in ("experiment", "identity")}


def _protocol(experiments: list[Experiment], plans: list[list[Run]]) -> list[str]:
    """How the folds were made, in words, and what test rows share with training rows; each once."""
    folds = [run.fold.description for runs in plans for run in runs]
    return list(dict.fromkeys([*folds, *(line for experiment in experiments for line in experiment.data.shared_rows)]))


def environment() -> dict[str, Any]:
    """Versions and hardware, for results.json; no path and no name of the machine."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    accelerators = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "packages": versions,
        "accelerators": accelerators,
        "processes": process_state().num_processes,
        "threads": torch.get_num_threads(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of EmoMM's own checkout, with a + where it has changes; None where it is installed without one."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if dirty.strip() else commit


__all__ = ["Outcome", "environment", "plan_experiment", "run"]
