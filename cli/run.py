"""`emomm run`: train and evaluate the experiments of a recipe. Each field of its settings is an option."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..importing import at_one_go
from ..importing import import_trainer
from ..interruption import heed
from ..lazy_modules import import_when_used
from ..settings.consistency import check_places
from ..settings.recipe import Recipe
from ..settings.recipe import load_recipe
from .parsing import Parser
from .parsing import is_first_process
from .parsing import say_at_once
from .parsing import show
from .parsing import speak
from .push import add_hub
from .push import share
from .recipe_options import add_recipe
from .recipe_options import add_settings
from .recipe_options import add_side_by_side
from .recipe_options import parse


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    options, given = parse(_parser(), argv)
    recipe = load_recipe(options["recipe"], **given)
    for settings in () if recipe.may_leave_out else recipe.experiments:
        check_places(settings)
    _check_push(options, recipe)
    say_at_once(f"{recipe.name}: loading")
    with at_one_go():
        import_when_used()
        speak()
        import_trainer()
        from ..engines.choosing import engine_of
        from ..experiments.job import run

    outcome = run(
        recipe,
        dry_run=options["dry_run"],
        overwrite=options["overwrite"],
        engine=engine_of(
            options["jobs"],
            options["threads_per_run"],
            options["engine"],
            options["ray_address"],
            options["slurm"],
        ),
        **({"price": True} if options["price"] else {}),
    )
    show(outcome.text)
    for failed in outcome.failed:
        show(f"failed: {failed}", error=True)
    if not (options["no_report"] or options["dry_run"]) and is_first_process():
        report_job(recipe.output_dir)
    if options["push_to_hub"] and not options["dry_run"]:
        if outcome.failed:
            raise InputError("nothing is pushed, since runs failed: the same command again continues the job")
        share(recipe.output_dir, recipe.experiments[0].name, options)
    return 1 if outcome.failed else 0


def report_job(folder: Path) -> None:
    """The report at the end of a job, which is done with or without it."""
    from ..reporting.report import write_report

    try:
        show(str(write_report([folder])))
    except InputError as error:
        heed()
        show(f"no report: {error}", error=True)
    except Exception as error:  # noqa: BLE001 the job is done, and worth more than its report
        heed()
        logging.getLogger(__name__).debug("the report", exc_info=True)
        said = " ".join(str(error).split())
        show(f"no report: {type(error).__name__}: {said} (`emomm report {folder}` tells more)", error=True)


def _check_push(options: dict[str, Any], recipe: Recipe) -> None:
    """Raises InputError, before anything is trained, for a push that can't be."""
    if not options["push_to_hub"]:
        names = ("hub_model_id", "hub_private", "hub_license", "final_model", "adapter_only")
        given = [name for name in names if options[name] is not None]
        if given:
            raise InputError(f"--{given[0]} goes with --push_to_hub.")
        return
    if options["hub_model_id"] is None:
        raise InputError("--push_to_hub needs --hub_model_id user/name.")
    if len(recipe.experiments) > 1:
        names = ", ".join(settings.name for settings in recipe.experiments)
        raise InputError(f"--push_to_hub shares one model: choose an --experiment. There are: {names}.")
    if options["final_model"] is not False and recipe.experiments[0].by_fold:
        raise InputError(
            "by_fold gives the folds settings of their own, and the model that is pushed is trained on all sessions: "
            "give --final_model false"
        )
    from ..sharing.uploading import check_destination

    check_destination(options["hub_model_id"])
    if options["adapter_only"]:
        from ..sharing.hub import check_adapters

        check_adapters(recipe.experiments[0])
    if options["final_model"] is not False and recipe.experiments[0].lr_scheduler == "plateau":
        raise InputError(
            "lr_scheduler is plateau, which follows validation, and the model that is pushed is trained on all "
            "sessions: give --final_model false"
        )


def _parser() -> Parser:
    """The parser of `run`: its own options, and one for each field of Settings."""
    parser = Parser(
        prog="emomm run",
        usage="emomm run RECIPE [--experiment NAME | --all] [--seeds N ...] [--corpus NAME=PATH ...] [--dry_run]\n"
        "                 [--overwrite] [--FIELD VALUE ...]",
        description="Train and evaluate the experiments of a recipe. The same command again continues where it "
        "stopped. `run_emomm.py RECIPE ...`, by python, accelerate or torchrun, is the same.",
        epilog="Lists are given as a,b,c or a b c; objects as JSON; null as none.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
    )
    add_recipe(parser, "run")
    parser.add_argument("--dry_run", action="store_true", help="say what would run, and train nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace runs whose settings or data have changed")
    parser.add_argument(
        "--price",
        action="store_true",
        help="run experiments whose folds leak once more, on the nearest disjoint folds, and say the difference",
    )
    parser.add_argument("--no_report", action="store_true", help="don't write a report once the job is done")
    _add_engine(parser)
    sharing = parser.add_argument_group("sharing")
    sharing.add_argument("--push_to_hub", action="store_true", help="share the model once the job is done")
    add_hub(sharing)
    add_settings(parser)
    return parser


def _add_engine(parser: Parser) -> None:
    """The options of how the runs are carried out."""
    how = parser.add_argument_group("how the runs are carried out (results are the same at equal threads a run)")
    add_side_by_side(how, "runs")
    how.add_argument(
        "--engine",
        choices=("local", "ray", "slurm"),
        default="local",
        help="this machine (the default), tasks of a Ray cluster, or a job array of SLURM",
    )
    how.add_argument(
        "--ray_address", metavar="ADDRESS", help="of a Ray cluster: auto, HOST:PORT (default: one on this machine)"
    )
    how.add_argument(
        "--slurm", type=_json_object, metavar="JSON", help="parameters of submitit's executor, as a JSON object"
    )


def _json_object(text: str) -> dict[str, Any]:
    """A JSON object, as an option's type."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'is {text!r}, but must be a JSON object, as {{"slurm_partition": "gpu"}}')
    return found


__all__ = ["command", "report_job"]
