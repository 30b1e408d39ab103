"""What a search is going to do: its studies, each checked before the first trial, and what they are called."""

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..errors import show
from ..evaluation.folds import Fold
from ..experiments.data import ExperimentData
from ..experiments.job import plan_experiment
from ..experiments.own_fusion import load_fusion
from ..experiments.planning import Loaded
from ..experiments.planning import folds_by_seed
from ..experiments.run import Run
from ..experiments.text_encoder import Encoders
from ..job_folder import JobFolder
from ..job_folder import SearchFolder
from ..job_folder import slug_of
from ..reporting.results_table import format_table
from ..settings.recipe import Recipe
from ..settings.settings import Settings
from .space import Space
from .space import check_space
from .space import value_of
from .study import Study
from .study import without_test_rows

NESTED, ONCE = "nested", "once"
SEARCHED = "{} (searched)"
"""What an experiment is called with the settings that were found."""


@dataclass(frozen=True)
class SearchOptions:
    """How settings are searched.

    Args:
        space: what is searched.
        trials: of each study.
        once: one study for all folds, on the first; else one for each fold.
        seed: of the trials, and of what they try; None, the lowest that is no seed of a run.
        prunes: whether trials end early that do worse than the median of those before.
    """

    space: Space
    trials: int = 20
    once: bool = False
    seed: int | None = None
    prunes: bool = True

    @property
    def form(self) -> str:
        """`nested` or `once`."""
        return ONCE if self.once else NESTED


@dataclass
class Searched:
    """An experiment whose settings are searched.

    Args:
        settings: that it has.
        runs: those of its job, with these settings.
        studies: the folds' own, or the one of the first fold.
        leaks: the folds whose test rows are trained on or validated in the study that gives them settings.
        notes: what there is to say of what is searched.
    """

    settings: Settings
    runs: list[Run]
    studies: list[Study]
    leaks: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass
class SearchPlan:
    """A search, planned and checked.

    Args:
        recipe: whose experiments are searched; its output_dir is the search's.
        options: how.
        seed: of the trials.
        experiments: in the recipe's order.
    """

    recipe: Recipe
    options: SearchOptions
    seed: int
    experiments: list[Searched]

    @property
    def studies(self) -> list[Study]:
        """Of all experiments."""
        return [study for each in self.experiments for study in each.studies]

    @property
    def folder(self) -> SearchFolder:
        """Of the search."""
        return JobFolder(self.recipe.output_dir).search


def plan_search(recipe: Recipe, options: SearchOptions) -> SearchPlan:
    """Reads the corpora, makes the folds, and checks all that can be checked before a trial.

    Raises InputError for what can't be searched, or trained.
    """
    seed = _seed(recipe, options.seed)
    loaded: Loaded = {}
    encoders: Encoders = {}
    found = []
    slugs = {settings.slug for settings in recipe.experiments}
    for settings in recipe.experiments:
        if slug_of(SEARCHED.format(settings.name)) in slugs:
            raise InputError(
                f"{recipe.path}: an experiment is called {SEARCHED.format(settings.name)!r} already: give it another "
                "name"
            )
        if settings.by_fold or settings.searched:
            raise InputError(
                f"experiment {settings.name!r} has settings that a search found: search the recipe that it was made of"
            )
        notes = check_space(options.space, settings, load_fusion)
        experiment, runs = plan_experiment(settings, recipe.output_dir, loaded, encoders)
        searched = _searched(experiment.data, runs, recipe.output_dir, options, seed, encoders)
        found.append(replace(searched, notes=[f"{settings.name}: {note}" for note in notes]))
    return SearchPlan(recipe, options, seed, found)


def _seed(recipe: Recipe, given: int | None) -> int:
    used = {seed for settings in recipe.experiments for seed in settings.seeds}
    if given in used:
        raise InputError(
            f"--search_seed is {given}, which is a seed of the runs too: give another, so that no run repeats the "
            "training that chose its settings"
        )
    return next(seed for seed in range(len(used) + 1) if seed not in used) if given is None else given


def _searched(
    data: ExperimentData, runs: list[Run], output_dir: Path, options: SearchOptions, seed: int, encoders: Encoders
) -> Searched:
    settings = data.settings
    folds = folds_by_seed(replace(data, settings=replace(settings, seeds=[seed])))[seed]
    if any(not fold.validation for fold in folds):
        raise InputError(f"experiment {settings.name!r}: a search needs validation rows, and its protocol has none")
    names = list(dict.fromkeys(run.fold.name for run in runs))
    by_name = {fold.name: fold for fold in folds}
    wanted = names[:1] if options.once else names
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise InputError(
            f"experiment {settings.name!r}: its protocol has no fold {missing[0]!r} with the search's seed {seed}: "
            "folds must be the same for all seeds"
        )
    studies, leaks = [], []
    for name in wanted:
        fold = by_name[name]
        leaks += [each for each in _leaks(data, fold, runs) if options.once or each == name]
        if name in leaks:
            raise InputError(
                f"experiment {settings.name!r}: with the search's seed {seed}, fold {name} trains on or validates "
                "rows that a run of it tests: its test rows must be the same for all seeds"
            )
        study = Study(
            replace(settings, stack=False, report_to=[]),
            *without_test_rows(data, fold),
            f"{slug_of(settings.name)}/{name}",
            options.space,
            seed,
            JobFolder(output_dir).search.path,
            options.prunes,
            encoders,
        )
        studies.append(study)
    return Searched(settings, runs, studies, list(dict.fromkeys(leaks)))


def _leaks(data: ExperimentData, fold: Fold, runs: list[Run]) -> list[str]:
    """The folds with a test row that this one trains on or validates."""
    seen = np.zeros(len(data.label_ids), bool)
    seen[data.rows((*fold.train, *fold.validation))] = True
    return [run.fold.name for run in runs if seen[data.rows(run.fold.test)].any()]


# ---- what a search is, to be told from another ----------------------------------------------------------------------


def record_of(plan: SearchPlan) -> dict[str, Any]:
    """What makes trials those of this search, as plain JSON values; how many there are is no part of it."""
    return {
        "form": plan.options.form,
        "seed": plan.seed,
        "prunes": plan.options.prunes,
        "space": plan.options.space.card(),
        "studies": {
            study.name: {
                "settings": each.runs[0].inputs["settings"],
                "corpora": {corpus.name: corpus.fingerprint for corpus in study.corpora},
            }
            for each in plan.experiments
            for study in each.studies
        },
    }


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What two records differ in, in words; "" where they are the same search."""
    said = [
        f"{key} was {show(before.get(key))}, now {show(now[key])}"
        for key in ("form", "seed", "prunes")
        if before.get(key) != now[key]
    ]
    spaces = before.get("space") or {}, now["space"]
    said += [
        f"{name} was searched in {show(spaces[0].get(name))}, now {show(spaces[1].get(name))}"
        for name in dict.fromkeys([*spaces[0], *spaces[1]])
        if spaces[0].get(name) != spaces[1].get(name)
    ]
    studies = before.get("studies") or {}
    for name, study in now["studies"].items():
        old = studies.get(name)
        if old is None or old == study:
            continue
        if old.get("corpora") != study["corpora"]:
            said.append(f"other data in {name}")
        settings = old.get("settings") or {}, study["settings"]
        said += [
            f"{key} was {show(settings[0].get(key))}, now {show(settings[1].get(key))}"
            for key in sorted({*settings[0], *settings[1]})
            if settings[0].get(key) != settings[1].get(key)
        ]
    return "; ".join(dict.fromkeys(said))


# ---- in words -------------------------------------------------------------------------------------------------------


def plan_text(plan: SearchPlan) -> str:
    """The studies and their rows, what is searched, and how many trainings it comes to."""
    rows = [["experiment", "study", "train", "validation", "left out", "trials"]]
    for each in plan.experiments:
        for study in each.studies:
            sizes = [sum(len(part.rows) for part in side) for side in (study.fold.train, study.fold.validation)]
            tested = sum(len(part.rows) for part in _test_parts(each, study))
            rows.append([each.settings.name, study.fold.name, *map(str, sizes), str(tested), str(plan.options.trials)])
    searched = [["setting", "values", *(each.settings.name for each in plan.experiments)]]
    for dimension in plan.options.space.dimensions:
        own = [show(value_of(each.settings, dimension.name)) for each in plan.experiments]
        searched.append([dimension.name, str(dimension), *own])
    trainings = len(plan.studies) * plan.options.trials
    runs = sum(len(each.runs) for each in plan.experiments)
    first = (
        ""
        if any(study.space.own_values(study.settings) is None for study in plan.studies)
        else (" The first trial of each has the recipe's own values.")
    )
    return "\n\n".join(
        [
            format_table(rows),
            format_table(searched),
            f"{len(plan.studies)} {'study' if len(plan.studies) == 1 else 'studies'}, {trainings} trials with seed "
            f"{plan.seed}.{first} Then {runs} runs with the recipe's settings and {runs} with those found. Left out: "
            "test rows, which no trial is given.",
            *(f"note: {note}" for each in plan.experiments for note in each.notes),
        ]
    )


def _test_parts(each: Searched, study: Study) -> list[Any]:
    return next(list(run.fold.test) for run in each.runs if run.fold.name == study.fold.name)


__all__ = [
    "SEARCHED",
    "SearchOptions",
    "SearchPlan",
    "Searched",
    "difference",
    "plan_search",
    "plan_text",
    "record_of",
]
