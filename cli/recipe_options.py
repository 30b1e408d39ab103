"""The options of commands that take a recipe: the recipe, which experiment of it, and each field of its settings."""

import argparse
import json
from dataclasses import MISSING
from dataclasses import Field
from typing import Any

from ..errors import FromText
from ..errors import InputError
from ..settings.recipe import ALIASES
from ..settings.recipe import RUN_OPTIONS
from ..settings.settings import FIELDS
from ..settings.settings import check_setting
from ..settings.values import describe
from ..settings.values import takes_list
from .parsing import Parser
from .parsing import add_corpus
from .parsing import corpus_paths
from .parsing import positive

# Fields with an option of their own kind, or that belong to one experiment, or that are given as themselves.
_NO_OPTION = ("name", "description", "seeds", "corpus", "training_arguments")
_GROUPS = {
    "data": "data",
    "model": "model",
    "encoders": "encoders of recordings and words",
    "loss": "loss",
    "curriculum": "curriculum",
    "training": "training (any other field of transformers.TrainingArguments is an option too)",
    "job": "job",
}


def add_recipe(parser: Parser, does: str) -> None:
    """Adds the recipe, which experiments of it, seeds and corpora.

    Args:
        does: what the command does with an experiment, as "run".
    """
    parser.add_argument("recipe", metavar="RECIPE", help="file (.json or .yaml), or the name of a packaged recipe")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--experiment", metavar="NAME", help=f"{does} one experiment: its name, or its number from 0")
    which.add_argument("--all", action="store_true", help=f"{does} all experiments (the default)")
    parser.add_argument("--seeds", nargs="+", metavar="N", help=_field_help(FIELDS["seeds"]))
    add_corpus(parser)


def add_side_by_side(group: argparse._ArgumentGroup, what: str) -> None:
    """Adds `--jobs` and `--threads_per_run`.

    Args:
        what: is carried out, as "runs".
    """
    group.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N|auto",
        help=f"{what} in N processes side by side, each with its share of the cores or a GPU; auto: what a short "
        "trial says pays (default: one after another)",
    )
    group.add_argument(
        "--threads_per_run",
        type=positive,
        metavar="N",
        help="threads that a run computes with (default: the cores, shared out among the processes)",
    )


def add_settings(parser: Parser) -> None:
    """Adds an option for each field of Settings that has none of its own."""
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


def parse(parser: Parser, argv: list[str], own: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a command with a recipe, and what `load_recipe` takes of them.

    Args:
        own: the command's own options, besides those of `emomm run`.
    """
    named = (FIELDS.keys() | ALIASES.keys()) - set(_NO_OPTION)
    known, other = _split_unknown(argv, {"help", "seeds", "corpus", *RUN_OPTIONS, *named, *own})
    options = vars(parser.parse_args(known))
    overrides = {key: options[key] for key in named if key in options} | other
    if options["corpora_paths"]:
        overrides["corpus"] = json.dumps(corpus_paths(options["corpora_paths"]))
    seeds = options["seeds"] and check_setting("seeds", FromText(",".join(options["seeds"])), "command line")
    return options, {"overrides": overrides, "experiment": options["experiment"], "seeds": seeds}


def _jobs(text: str) -> int | str:
    """`auto`, or a whole number of at least 1, as an option's type."""
    try:
        return text if text == "auto" else positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from None


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


__all__ = ["add_recipe", "add_settings", "add_side_by_side", "parse"]
