"""The command line: finds the command and hands on. The standard library alone, until a command runs."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import InputError
from ..errors import nearest
from ..interruption import Interrupted
from ..interruption import interruptible
from .parsing import Parser
from .parsing import draw_anywhere
from .parsing import print_anything
from .parsing import show
from .parsing import wait_asleep

COMMANDS = {
    "run": "train and evaluate the experiments of a recipe",
    "search": "search the settings of a recipe's experiments on validation rows",
    "report": "write the report of a job, or of several jobs side by side",
    "predict": "say the emotion of recordings, or predict a corpus, with a model",
    "export": "write a model as a folder that runs without torch (ONNX)",
    "push": "share the model of an experiment on the Hub",
    "recipes": "list the packaged recipes",
    "space": "write the folder of a Hugging Face Space: a model in the browser",
    "live": "say the emotion of a recording, a pipe or the microphone as it comes",
    "audit": "say what a corpus or a split gives away: shared speakers, sentences, copies, shortcuts",
    "describe": "say what a corpus is: a page of numbers, figures and some recordings",
}
"""What each does; a command is the function `command` of the module of its name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; the exit code: 0, 1 (runs failed), 2 (wrong input: one message on stderr), or that of a signal
    (SIGINT 130, SIGTERM 143, SIGHUP 129).

    Args:
        argv: the arguments after the program's name; default those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    print_anything()
    draw_anywhere()
    wait_asleep()
    try:
        with interruptible():
            _check_working_folder()
            return _command(arguments)
    except InputError as error:
        show(f"error: {error}", error=True)
        return 2
    except KeyboardInterrupt as error:
        goes_on = "; the same command goes on" if arguments[:1] in (["run"], ["search"], ["push"]) else ""
        show(f"interrupted{goes_on}", error=True)
        return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(f"the working folder is gone ({error.strerror}): go to one that is there") from None


def _command(argv: list[str]) -> int:
    if argv and argv[0] in COMMANDS:
        return importlib.import_module(f".{argv[0]}", __package__).command(argv[1:])
    if argv and not argv[0].startswith("-"):
        raise InputError(f"unknown command {argv[0]!r}.{nearest(argv[0], COMMANDS)} Commands: {', '.join(COMMANDS)}.")
    parser = Parser(
        prog="emomm",
        description="Multimodal emotion recognition from voice and words.",
        epilog="`emomm COMMAND --help` tells more.",
    )
    parser.add_argument("--version", action="version", version=f"emomm {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="")
    for name, what in COMMANDS.items():
        commands.add_parser(name, help=what)
    parser.parse_args(argv)
    raise InputError(f"no command. Commands: {', '.join(COMMANDS)}. See `emomm --help`.")


__all__ = ["COMMANDS", "main"]

if __name__ == "__main__":
    sys.exit(main())
