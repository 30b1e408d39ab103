"""The command line: parses, helps, hands on. The standard library and PyYAML alone, until a command runs."""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import MISSING
from dataclasses import Field
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import FromText
from ..errors import InputError
from ..errors import nearest
from ..interruption import Interrupted
from ..interruption import heed
from ..interruption import interruptible
from ..job_folder import check_finished
from ..job_folder import find_experiment
from ..job_folder import job_results
from ..settings.recipe import ALIASES
from ..settings.recipe import RECIPES
from ..settings.recipe import RUN_OPTIONS
from ..settings.recipe import Recipe
from ..settings.recipe import load_recipe
from ..settings.settings import FIELDS
from ..settings.settings import check_setting
from ..settings.values import describe
from ..settings.values import parse_json
from ..settings.values import takes_list
from .parsing import Parser
from .parsing import add_corpus
from .parsing import boolean
from .parsing import corpus_paths
from .parsing import is_first_process
from .parsing import print_anything
from .parsing import say_at_once
from .parsing import show
from .parsing import speak
from .parsing import with_underscores

# Fields with an option of their own kind, or that belong to one experiment, or that are given as themselves.
_NO_OPTION = ("name", "description", "seeds", "corpus", "training_arguments")
_GROUPS = {
    "data": "data",
    "model": "model",
    "loss": "loss",
    "curriculum": "curriculum",
    "training": "training (any other field of transformers.TrainingArguments is an option too)",
    "job": "job",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; the exit code: 0, 1 (runs failed), 2 (wrong input: one message on stderr), or that of a signal
    (SIGINT 130, SIGTERM 143, SIGHUP 129).

    Args:
        argv: the arguments after the program's name; default those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    print_anything()
    try:
        with interruptible():
            _check_working_folder()
            return _command(arguments)
    except InputError as error:
        show(f"error: {error}", error=True)
        return 2
    except KeyboardInterrupt as error:
        goes_on = "; the same command goes on" if arguments[:1] in (["run"], ["push"]) else ""
        show(f"interrupted{goes_on}", error=True)
        return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(f"the working folder is gone ({error.strerror}): go to one that is there") from None


def _command(argv: list[str]) -> int:
    commands = {
        "run": _run,
        "report": _report,
        "predict": _of_recordings("predict_command"),
        "push": _push,
        "recipes": _recipes,
        "space": _of_recordings("space_command"),
        "live": _of_recordings("live_command"),
    }
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        raise InputError(f"unknown command {argv[0]!r}.{nearest(argv[0], commands)} Commands: {', '.join(commands)}.")
    if argv and argv[0] in commands:
        return commands[argv[0]](argv[1:])
    parser = Parser(
        prog="emomm",
        description="Multimodal emotion recognition from voice and words.",
        epilog="`emomm COMMAND --help` tells more.",
    )
    parser.add_argument("--version", action="version", version=f"emomm {__version__}")
    commands_help = parser.add_subparsers(title="commands", metavar="")
    commands_help.add_parser("run", help="train and evaluate the experiments of a recipe")
    commands_help.add_parser("report", help="write the report of a job, or of several jobs side by side")
    commands_help.add_parser("predict", help="say the emotion of recordings, or predict a corpus, with a model")
    commands_help.add_parser("push", help="share the model of an experiment on the Hub")
    commands_help.add_parser("recipes", help="list the packaged recipes")
    commands_help.add_parser("space", help="write the folder of a Hugging Face Space: a model in the browser")
    commands_help.add_parser("live", help="say the emotion of a recording, a pipe or the microphone as it comes")
    parser.parse_args(argv)
    raise InputError(f"no command. Commands: {', '.join(commands)}. See `emomm --help`.")


def _run(argv: list[str]) -> int:
    parser = _run_parser()
    named = (FIELDS.keys() | ALIASES.keys()) - set(_NO_OPTION)
    known, other = _split_unknown(argv, {"help", "seeds", "corpus", *RUN_OPTIONS, *named})
    options = vars(parser.parse_args(known))
    overrides = {key: options[key] for key in named if key in options} | other
    if options["corpora_paths"]:
        overrides["corpus"] = json.dumps(corpus_paths(options["corpora_paths"]))
    seeds = options["seeds"] and check_setting("seeds", FromText(",".join(options["seeds"])), "command line")
    recipe = load_recipe(options["recipe"], overrides, options["experiment"], seeds)
    _check_push(options, recipe)
    say_at_once(f"{recipe.name}: loading")
    speak()
    from ..experiments.job import run

    outcome = run(recipe, dry_run=options["dry_run"], overwrite=options["overwrite"])
    show(outcome.text)
    for failed in outcome.failed:
        show(f"failed: {failed}", error=True)
    if not (options["no_report"] or options["dry_run"]) and is_first_process():
        _report_job(recipe.output_dir)
    if options["push_to_hub"] and not options["dry_run"]:
        if outcome.failed:
            raise InputError("nothing is pushed, since runs failed: the same command again continues the job")
        _share(recipe.output_dir, recipe.experiments[0].name, options)
    return 1 if outcome.failed else 0


def _report_job(folder: Path) -> None:
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
        names = ("hub_model_id", "hub_private", "hub_license", "final_model")
        given = [name for name in names if options[name] is not None]
        if given:
            raise InputError(f"--{given[0]} goes with --push_to_hub.")
        return
    if options["hub_model_id"] is None:
        raise InputError("--push_to_hub needs --hub_model_id user/name.")
    if len(recipe.experiments) > 1:
        names = ", ".join(settings.name for settings in recipe.experiments)
        raise InputError(f"--push_to_hub shares one model: choose an --experiment. There are: {names}.")
    from ..sharing.uploading import check_destination

    check_destination(options["hub_model_id"])
    if options["final_model"] is not False and recipe.experiments[0].lr_scheduler == "plateau":
        raise InputError(
            "lr_scheduler is plateau, which follows validation, and the model that is pushed is trained on all "
            "sessions: give --final_model false"
        )


def _push(argv: list[str]) -> int:
    parser = Parser(
        prog="emomm push",
        description="Share the model of an experiment on the Hub, with its card and results. What is pushed is also "
        "kept in FOLDER/<experiment>/hub.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="of a finished job: runs/<recipe>")
    parser.add_argument("--experiment", required=True, metavar="NAME", help="which of its experiments")
    _add_hub(parser)
    options = vars(parser.parse_args([with_underscores(argument) for argument in argv]))
    if options["hub_model_id"] is None:
        parser.error("--hub_model_id user/name is missing")
    check_finished(options["folder"], find_experiment(options["folder"], options["experiment"])[1])
    from ..sharing.uploading import check_destination

    check_destination(options["hub_model_id"])
    say_at_once(f"{options['hub_model_id']}: loading")
    speak()
    _share(options["folder"], options["experiment"], options)
    return 0


def _share(folder: str | Path, experiment: str, options: dict[str, Any]) -> None:
    from ..sharing.hub import push
    from ..sharing.uploading import Push

    final = options["final_model"] is not False
    private, licence = options["hub_private"] is True, options["hub_license"]
    wanted = Push(Path(folder), experiment, options["hub_model_id"], private, final, licence)
    show(f"pushed: {push(wanted)}")


def _report(argv: list[str]) -> int:
    parser = Parser(
        prog="emomm report",
        description="Write report.html, with figures (PNG, SVG) and tables (CSV, Markdown, LaTeX) beside it, from "
        "what a job has left. Nothing is trained. Several jobs are compared.",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="folder of a job, such as runs/quickstart")
    parser.add_argument("--output", metavar="DIR", help="folder to write (default: report, in the first FOLDER)")
    options = parser.parse_args(argv)
    for folder in options.folders:
        job_results(folder)  # in time: the libraries take seconds to load
    speak()
    from ..reporting.report import write_report

    show(str(write_report(options.folders, options.output)))
    return 0


def _of_recordings(name: str) -> Callable[[list[str]], int]:
    """A command of `commands`."""

    def command(argv: list[str]) -> int:
        from . import commands

        return getattr(commands, name)(argv)

    return command


def _recipes(argv: list[str]) -> int:
    parser = Parser(prog="emomm recipes", description="List the packaged recipes: `emomm run NAME` runs one.")
    parser.parse_args(argv)
    paths = sorted(RECIPES.glob("*.json"))
    width = max(len(path.stem) for path in paths)
    for path in paths:
        recipe = parse_json(path.read_text(encoding="utf-8"))
        names = ", ".join(entry["name"] for entry in recipe["experiments"])
        print(f"{path.stem:{width}}  {recipe['description']}")
        print(f"{'':{width}}  Experiments: {names}.")
    return 0


def _run_parser() -> Parser:
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
    parser.add_argument("recipe", metavar="RECIPE", help="file (.json or .yaml), or the name of a packaged recipe")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--experiment", metavar="NAME", help="run one experiment: its name, or its number from 0")
    which.add_argument("--all", action="store_true", help="run all experiments (the default)")
    parser.add_argument("--seeds", nargs="+", metavar="N", help=_field_help(FIELDS["seeds"]))
    add_corpus(parser)
    parser.add_argument("--dry_run", action="store_true", help="say what would run, and train nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace runs whose settings or data have changed")
    parser.add_argument("--no_report", action="store_true", help="don't write a report once the job is done")
    sharing = parser.add_argument_group("sharing")
    sharing.add_argument("--push_to_hub", action="store_true", help="share the model once the job is done")
    _add_hub(sharing)
    for group, title in _GROUPS.items():
        options = parser.add_argument_group(title)
        for field in FIELDS.values():
            if field.metadata["group"] == group and field.name not in _NO_OPTION:
                names = [field.name, *(alias for alias, name in ALIASES.items() if name == field.name)]
                for name in names:
                    options.add_argument(
                        f"--{name}",
                        nargs="*" if takes_list(field.type) else "?",
                        action=_Once,
                        default=argparse.SUPPRESS,
                        metavar="VALUE",
                        help=_field_help(field) if name == field.name else argparse.SUPPRESS,
                    )
    return parser


class _Once(argparse.Action):
    """Keeps the text of an option: several values as a JSON list, none as None.

    An option that is given twice is refused, not silently replaced.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if hasattr(namespace, self.dest):
            parser.error(f"{option} is given twice")
        several = isinstance(values, list) and len(values) > 1
        setattr(namespace, self.dest, json.dumps(values) if several else "".join(values or ()) or None)


def _add_hub(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--hub_model_id", metavar="USER/NAME", help="where on the Hub; made if it isn't there")
    parser.add_argument(
        "--hub_private", action="store_const", const=True, help="a repository that is made can be seen by you alone"
    )
    parser.add_argument(
        "--hub_license",
        metavar="ID",
        help="licence of the model by the Hub's name, such as cc-by-nc-4.0; default: other, the training data's terms",
    )
    parser.add_argument(
        "--final_model",
        type=boolean,
        metavar="true|false",
        help="share a model that is trained once more, on all sessions, for as many steps as validation chose (the "
        "default); false: the run with the best validation score",
    )


def _field_help(field: Field) -> str:
    """Help, what is allowed, and the default of a field."""
    default = field.default if field.default_factory is MISSING else field.default_factory()
    allowed = describe(field.type, field.metadata)
    return f"{field.metadata['help']} ({allowed}; default {json.dumps(default)})".replace("%", "%%")


def _split_unknown(argv: list[str], known: set[str]) -> tuple[list[str], dict[str, str | None]]:
    """Takes `--name value` of names that the parser doesn't know (fields of TrainingArguments) out of `argv`.

    `--some-name` is `--some_name`, known or not.
    """
    rest: list[str] = []
    other: dict[str, str | None] = {}
    open_name = None  # of an option that may still take a value
    for argument in argv:
        if not argument.startswith("--") or argument == "--":
            if open_name is None:
                rest.append(argument)
            else:
                other[open_name] = argument
            open_name = None
            continue
        option, equals, value = argument.partition("=")
        name, open_name = option[2:].replace("-", "_"), None
        if name in known:
            rest.append(f"--{name}{equals}{value}")
        elif name in other:
            raise InputError(f"--{name} is given twice.")
        else:
            other[name] = value if equals else None
            open_name = None if equals else name
    return rest, other


if __name__ == "__main__":
    sys.exit(main())
