"""What the commands share: the parser, what is said and by which process, kinds of values."""

import argparse
import codecs
import contextlib
import io
import logging
import os
import re
import shutil
import sys
from typing import Any
from typing import NoReturn

from ..errors import InputError

# A user's or an organisation's name, and that of a model of theirs.
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class Parser(argparse.ArgumentParser):
    """Bad usage is an InputError, as every other wrong input."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}. See `{self.prog} --help`.")


# What a terminal or a log of ASCII shows for the signs that EmoMM prints.
_SPINS = "1000"  # some microseconds
_PLAIN = str.maketrans({"±": "+-", "–": "-", "—": "-", "−": "-", "·": "|", "…": "...", "×": "x", "→": "->", "’": "'"})


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Replaces what an encoding lacks: an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error("emomm.plain", _plain)


def print_anything() -> None:
    """Lets stdout and stderr show any text, in other signs where their encoding lacks some (in cron, in docker)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="emomm.plain")


def draw_anywhere() -> None:
    """Tells tqdm a size, before it is imported, where the terminal says that it has 0 columns: in a container, in some
    schedulers. Else it draws bars of that size."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):  # no terminal
        return
    if not columns:
        size = shutil.get_terminal_size()
        os.environ.setdefault("TQDM_NCOLS", str(size.columns))
        os.environ.setdefault("TQDM_NROWS", str(size.lines))


def wait_asleep() -> None:
    """Lets the threads of libgomp, before it is loaded, sleep soon where they have nothing to do.

    By default they spin for milliseconds after each operation: of a small model, that is all the time, and a core is
    taken from whatever else runs. What the user says of it (OMP_WAIT_POLICY, GOMP_SPINCOUNT) holds. The results are
    the same, bit by bit.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def show(text: str, error: bool = False) -> None:
    """Prints what a command gives, or with `error` an error, from the first process alone.

    What comes after is done all the same where no one reads it any more, or the disk behind it is full.
    """
    if not is_first_process():
        return
    stream = sys.stderr if error else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError as failure:
        with contextlib.suppress(OSError, ValueError):  # else the interpreter fails with it at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not error and not isinstance(failure, BrokenPipeError):
            show(f"stdout can't be written ({failure.strerror})", error=True)


def say_at_once(text: str) -> None:
    """Says on a terminal what is being done, before the seconds that loading the libraries takes."""
    if sys.stderr is not None and sys.stderr.isatty():
        show(text, error=True)


def speak(libraries: bool = True) -> None:
    """Sends what EmoMM logs to stderr, from the first process alone, and quietens the progress bars of libraries.

    Args:
        libraries: whether those are loaded: transformers, and the Hub's.
    """
    logger = logging.getLogger(__package__.partition(".")[0])
    logger.setLevel(logging.INFO if is_first_process() else logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not libraries:
        return
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as transformers_logging

    from ..hub_access import limit_waiting

    limit_waiting()
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


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds `MODEL`, which `check_model` looks at."""
    parser.add_argument("model", metavar="MODEL", help="folder of an exported model, or its Hub id")


def add_speech_encoder(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds `--speech_encoder MODEL`, in place of the one that the exported model names."""
    parser.add_argument(
        "--speech_encoder",
        metavar="MODEL",
        help="folder or Hub id to take the model's speech encoder from (default: the one it names)",
    )


def add_trust(parser: argparse.ArgumentParser, whose: str) -> None:
    """Adds `--trust_remote_code`.

    Args:
        whose: code is then run, for the help.
    """
    parser.add_argument("--trust_remote_code", action="store_true", help=f"run the code of {whose}")


def with_release(name: str, paths: dict[str, str], nor: str = "") -> tuple[str, dict[str, str]]:
    """The corpus whose release folder `name` is, and the paths of corpora with that folder's; both as they are where
    `name` is no folder.

    Args:
        nor: what else the folder could have been, for the message.

    Raises InputError for another folder.
    """
    if not os.path.isdir(name):
        return name, paths
    from ..corpora.releases.release_folders import release_kind

    known = release_kind(name)
    if known is None:
        raise InputError(
            f"{name} is no release folder that is known{nor}: describe the corpus in a recipe's corpora, and give its "
            "name with --recipe RECIPE"
        )
    return known, {**paths, known: name}


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
    """A number of at least 0, as an option's type."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be a number of at least 0")
    return number


def check_model(name: str) -> None:
    """Raises InputError for what is neither a folder nor a Hub id, before the seconds that loading libraries takes."""
    if not os.path.isdir(name) and not _HUB_ID.fullmatch(name):
        kind = "is a file" if os.path.exists(name) else "is not there"
        raise InputError(
            f"model {name!r} {kind}: give the folder of an exported model, such as the model/ of a run of a job, or "
            "its Hub id, user/name"
        )


__all__ = [
    "Parser",
    "add_corpus",
    "add_model",
    "add_speech_encoder",
    "add_trust",
    "boolean",
    "check_model",
    "corpus_paths",
    "draw_anywhere",
    "is_first_process",
    "positive",
    "print_anything",
    "say_at_once",
    "seconds",
    "show",
    "speak",
    "with_release",
    "with_underscores",
]
