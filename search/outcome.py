"""What a search found: the experiments with its settings, and its files: trials.csv and a recipe."""

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from ..errors import InputError
from ..files import write_json
from ..files import write_text
from ..job_folder import SearchFolder
from ..markup import csv_cell
from ..settings.fold_settings import as_block
from ..settings.fold_settings import with_values
from ..settings.recipe import Recipe
from ..settings.settings import FIELDS
from ..settings.settings import Settings
from .journal import ENDED
from .journal import ended_trials
from .journal import importance
from .planning import SEARCHED
from .planning import Searched
from .planning import SearchPlan
from .study import Study
from .work import best_of

_OF_THIS_MACHINE = ("name", "output_dir", "store_dir", "report_to", "wandb_project", "save_seconds")
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
_COLUMNS = ["experiment", "study", "trial", "state", "score", "uar", "best_epoch", "epochs", "seconds", "why"]


@dataclass(frozen=True)
class Found:
    """What a study found.

    Args:
        study: which.
        trials: that count, in order.
        best: of them.
        journal: where they are.
    """

    study: Study
    trials: Sequence[FrozenTrial]
    best: FrozenTrial | None
    journal: optuna.Study


def found_in(study: Study, journal: optuna.Study) -> Found:
    """What a study has found so far."""
    trials = ended_trials(journal)
    return Found(study, trials, best_of(trials, study.direction), journal)


def write_trials(folder: SearchFolder, plan: SearchPlan, found: Sequence[Found]) -> None:
    """Writes trials.csv: a row for each trial, with what it tried and what it came to."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = plan.options.space.names
    writer.writerow([*_COLUMNS, *names])
    for each in found:
        for number, trial in enumerate(each.trials):
            said = trial.user_attrs[ENDED]
            row = [each.study.settings.name, each.study.fold.name, number, _STATES[trial.state]]
            row += [said.get(key) for key in _COLUMNS[4:]]
            writer.writerow([csv_cell(cell) for cell in (*row, *(trial.params.get(name) for name in names))])
    write_text(folder.trials, text.getvalue())


def check_found(found: Sequence[Found]) -> None:
    """Raises InputError where a study has no trial to choose."""
    for each in found:
        if each.best is None:
            why = [why for trial in each.trials if (why := trial.user_attrs[ENDED].get("why"))]
            said = f" (the last: {why[-1]})" if why else ""
            raise InputError(
                f"study {each.study.name}: none of its {len(each.trials)} trials gave a score{said}: change the "
                "space, and give another --output_dir, or --overwrite to search anew"
            )


def searched_experiments(plan: SearchPlan, found: Sequence[Found]) -> list[Settings]:
    """The experiments with the settings that were found, in the plan's order."""
    by_study = {each.study.name: each for each in found}
    return [_with_best(plan, each, [by_study[study.name] for study in each.studies]) for each in plan.experiments]


def _with_best(plan: SearchPlan, each: Searched, found: Sequence[Found]) -> Settings:
    settings = each.settings
    blocks = {of.study.fold.name: as_block(_plain(of.best.params)) for of in found}
    about = {"name": SEARCHED.format(settings.name), "searched": _about(plan, each, found), "stack": False}
    if plan.options.once:
        (block,) = blocks.values()
        return replace(with_values(settings, block), **about)
    return replace(settings, by_fold=blocks, **about)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(values)))


def _about(plan: SearchPlan, each: Searched, found: Sequence[Found]) -> dict[str, Any]:
    """How the settings were found, as results.json, report and card say it."""
    states = [trial.state for of in found for trial in of.trials]
    return {
        "form": plan.options.form,
        "of": each.settings.name,
        "metric": each.settings.metric_for_best_model,
        "seed": plan.seed,
        "trials": max(len(of.trials) for of in found),
        "studies": len(found),
        "done": len(states),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
        "space": plan.options.space.card(),
        "fold": found[0].study.fold.name if plan.options.once else None,
        "leaks": each.leaks,
        "found": {
            of.study.fold.name: {
                "trial": list(of.trials).index(of.best),
                "score": of.best.value,
                "epochs": of.best.user_attrs[ENDED]["best_epoch"],
                "settings": _plain(of.best.params),
                "importance": importance(of.journal, of.study.seed),
            }
            for of in found
        },
    }


def best_recipe(experiments: Sequence[Settings]) -> dict[str, Any]:
    """The experiments as a recipe that `emomm run` takes: what differs from the defaults."""
    return {"experiments": [_entry(settings) for settings in experiments]}


def _entry(settings: Settings) -> dict[str, Any]:
    fresh = {name: _default(field) for name, field in FIELDS.items()}
    # What a recipe means by leaving it out follows from its other experiments.
    always = ("curriculum_epochs",)
    given = {
        name: value
        for name, value in dataclasses.asdict(settings).items()
        if name in always or (value != fresh[name] and name not in (*_OF_THIS_MACHINE, "training_arguments"))
    }
    if "by_fold" in given:
        given["by_fold"] = {fold: _flat(block) for fold, block in settings.by_fold.items()}
    return {"name": settings.name, **given, **settings.training_arguments}


def _flat(block: Mapping[str, Any]) -> dict[str, Any]:
    others = block.get("training_arguments", {})
    return {**{name: value for name, value in block.items() if name != "training_arguments"}, **others}


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def write_best(folder: SearchFolder, experiments: Sequence[Settings]) -> None:
    """Writes the recipe of what was found."""
    write_json(folder.best, best_recipe(experiments))


def whole_recipe(recipe: Recipe, searched: Sequence[Settings]) -> Recipe:
    """The recipe's experiments, and beside each that with the settings found."""
    pairs = zip(recipe.experiments, searched, strict=True)
    return replace(recipe, experiments=[each for pair in pairs for each in pair])


__all__ = [
    "Found", "best_recipe", "check_found", "found_in", "searched_experiments", "whole_recipe",
    "write_best", "write_trials",
]  # fmt: skip
