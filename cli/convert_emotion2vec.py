"""`convert_emotion2vec.py`: its options, and its exit codes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..emotion2vec.conversion import convert
from ..errors import InputError
from .parsing import Parser
from .parsing import speak


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code: 0, 2 (wrong input or no space: one line on stderr) or 130 (interrupted).

    Args:
        argv: the arguments after the program's name; default those of this process.
    """
    try:
        parser = Parser(
            prog="convert_emotion2vec.py",
            description="Published emotion2vec checkpoints (fairseq's and FunASR's) to a folder that "
            "transformers loads.",
        )
        parser.add_argument(
            "--checkpoint", required=True, type=Path, help="a published .pt file, or the folder that holds it"
        )
        parser.add_argument("--output", required=True, type=Path, help="folder to write; must not be there yet")
        parser.add_argument(
            "--config", type=Path, help="its settings, .yaml or .json; default: the config.yaml beside it, if any"
        )
        options: argparse.Namespace = parser.parse_args(argv)
        speak()
        convert(options.checkpoint, options.output, options.config)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


__all__ = ["main"]
