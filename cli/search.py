"""`emomm search`: search the settings of a recipe's experiments, then run them with their own and those found."""

import argparse
import importlib.util
from typing import Any

from ..errors import InputError
from ..importing import at_one_go
from ..importing import import_trainer
from ..lazy_modules import import_when_used
from ..settings.consistency import check_places
from ..settings.recipe import load_recipe
from .parsing import Parser
from .parsing import positive
from .parsing import say_at_once
from .parsing import show
from .parsing import speak
from .recipe_options import add_recipe
from .recipe_options import add_settings
from .recipe_options import add_side_by_side
from .recipe_options import parse
from .run import report_job

_ENGINE = ("engine", "ray_address", "slurm")
_OWN = ("space", "trials", "once", "search_seed", "no_pruning")


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    options, given = parse(_parser(), argv, _OWN)
    _check_engine(options)
    if options["space"] is None:
        raise InputError("--space is missing: give a file that says which settings are searched. See --help.")
    recipe = load_recipe(options["recipe"], **given)
    for settings in () if recipe.may_leave_out else recipe.experiments:
        check_places(settings)
    if importlib.util.find_spec("optuna") is None:
        raise InputError("emomm search needs optuna: pip install emomm[optuna]")
    from ..search.space import read_space

    space = read_space(options["space"])
    say_at_once(f"{recipe.name}: loading")
    with at_one_go():
        import_when_used()
        speak()
        import_trainer()
        from ..search.planning import SearchOptions
        from ..search.searching import search

    how = SearchOptions(space, options["trials"], options["once"], options["search_seed"], not options["no_pruning"])
    outcome = search(
        recipe,
        how,
        jobs=options["jobs"],
        threads=options["threads_per_run"],
        dry_run=options["dry_run"],
        overwrite=options["overwrite"],
    )
    show(outcome.text)
    for failed in outcome.failed:
        show(f"failed: {failed}", error=True)
    if not (options["no_report"] or options["dry_run"] or outcome.folder is None):
        report_job(outcome.folder)
    return 1 if outcome.failed else 0


def _check_engine(options: dict[str, Any]) -> None:
    """Raises InputError for an engine of `emomm run` that a search has not."""
    for name in _ENGINE:
        given = options.pop(name)
        if given not in (None, "local"):
            raise InputError(
                f"--{name} is for emomm run: trials are carried out on this machine, with --jobs N several at a time; "
                "the recipe of what was found (best.json in the search's folder) runs anywhere"
            )


def _whole(text: str) -> int:
    """A whole number from 0 on, as an option's type."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be a whole number of at least 0 and below 2^32")
    return int(text)


def _parser() -> Parser:
    parser = Parser(
        prog="emomm search",
        usage="emomm search RECIPE --space SPACE.json [--trials N] [--once] [--experiment NAME | --all] [--jobs N]\n"
        "                    [--dry_run] [--overwrite] [--FIELD VALUE ...]",
        description="Search the settings of a recipe's experiments on validation rows, a study for each fold; then "
        "run each experiment with its own settings and with those found. The same command again continues where it "
        "stopped.",
        epilog='SPACE.json: {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": true}, "hidden_dim": {"choices": '
        "[64, 256]}}. Fields of the settings are options, as in `emomm run`.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
    )
    add_recipe(parser, "search")
    parser.add_argument("--space", metavar="SPACE", help="file (.json): the values that each setting may take")
    parser.add_argument("--trials", type=positive, default=20, metavar="N", help="of each study (default: 20)")
    parser.add_argument(
        "--once",
        action="store_true",
        help="one study, on the first fold's validation rows, for all folds: quicker, and optimistic, since rows that "
        "other folds test are in it",
    )
    parser.add_argument(
        "--search_seed",
        type=_whole,
        metavar="N",
        help="seed of the trials, no seed of a run (default: the lowest such)",
    )
    parser.add_argument("--no_pruning", action="store_true", help="let every trial train to its end")
    parser.add_argument("--dry_run", action="store_true", help="say what would be searched, and train nothing")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace another search, and runs whose settings or data have changed"
    )
    parser.add_argument("--no_report", action="store_true", help="don't write a report once the job is done")
    add_side_by_side(parser.add_argument_group("how trials and runs are carried out"), "trials, then runs,")
    for name in _ENGINE:
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    add_settings(parser)
    return parser


__all__ = ["command"]
