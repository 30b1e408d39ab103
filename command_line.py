"""What the commands share: the parser, what is said and by which process, kinds of values."""

import argparse
import logging
import os
from typing import Any
from typing import NoReturn

from .errors import InputError


class Parser(argparse.ArgumentParser):
    """Bad usage is an InputError, as every other wrong input."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}. See `{self.prog} --help`.")


def speak() -> None:
    """Sends what EmoMM logs to stderr, from the first process alone, and quietens the progress bars of libraries."""
    logger = logging.getLogger(__package__)
    logger.setLevel(logging.INFO if is_first_process() else logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()  # what can't be reached is said once, by us, and not at each of its retries


def is_first_process() -> bool:
    """Whether this process is the one that speaks, of those that a launcher has started."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def with_underscores(argument: str) -> str:
    """`--some-name` is `--some_name`."""
    option, equals, value = argument.partition("=")
    return f"{option.replace('-', '_').replace('__', '--', 1)}{equals}{value}" if option.startswith("--") else argument


def boolean(text: str) -> bool:
    """`true` or `false`, as an option's type."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be true or false")
    return text.lower() == "true"


def add_corpus(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds `--corpus NAME=PATH`, which `corpus_paths` reads."""
    parser.add_argument(
        "--corpus",
        action="append",
        default=[],
        dest="corpora_paths",
        metavar="NAME=PATH",
        help="take a corpus from a local copy (repeatable)",
    )


def corpus_paths(pairs: list[str]) -> dict[str, str]:
    """{name: path} of the `--corpus` options. Raises InputError for one that is no NAME=PATH, or is given twice."""
    paths: dict[str, str] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"--corpus is {pair!r}, but must be NAME=PATH, as in --corpus IEMO=data/iemocap.parquet.")
        if name in paths:
            raise InputError(f"--corpus {name} is given twice: {paths[name]} and {path}.")
        paths[name] = path
    return paths


def positive(text: str) -> int:
    """A whole number of at least 1, as an option's type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be a whole number of at least 1")
    return int(text)


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be a number of at least 0")
    return number


__all__ = [
    "Parser",
    "add_corpus",
    "boolean",
    "corpus_paths",
    "is_first_process",
    "positive",
    "seconds",
    "speak",
    "with_underscores",
]
