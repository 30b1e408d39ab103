"""`extract_features.py`: its options, and its exit codes."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ..corpora.extraction_state import FAILED
from ..errors import InputError
from ..extraction.extract import extract
from ..extraction.options import Extraction
from ..interruption import Interrupted
from ..interruption import interruptible
from ..speech_encoders import BATCH_SECONDS
from ..speech_features import POOLINGS
from .parsing import Parser
from .parsing import positive
from .parsing import print_anything
from .parsing import seconds
from .parsing import show
from .parsing import speak
from .parsing import with_underscores


def parse_extraction(argv: list[str]) -> Extraction:
    """What a command line asks for. Raises InputError for what it can't."""
    parser = Parser(
        prog="extract_features.py",
        description="Extract voice features from recordings into a data set in EmoMM's schema: by one process or, "
        "with `accelerate launch extract_features.py ...`, by many, on any number of machines that share the output "
        "folder. The same command again continues where it stopped. Recordings that can't be read are listed, with "
        "the reason, in OUTPUT/failed.jsonl.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    none = argparse.SUPPRESS
    add = parser.add_argument
    add(
        "--input",
        required=True,
        default=none,
        help="folder of audio (beside a metadata.csv or manifest.csv, if there is one), .csv, .tsv or .jsonl with "
        "paths (columns start and end, in seconds, take parts of them), a corpus' own release folder (IEMOCAP, EmoDB, "
        "RAVDESS, ...), save_to_disk folder, parquet with recordings, or a Hub id",
    )
    add("--encoder", required=True, default=none, help="speech encoder: a Hub id, or a folder")
    add("--output", required=True, default=none, metavar="DIR", help="folder to write")
    add("--layers", nargs="+", type=int, default=[-1], metavar="N", help="a layer, or several for their mean")
    add("--pooling", choices=POOLINGS, default="frames", help="frames, or their mean over the utterance")
    add("--frame_rate", type=_amount, default=none, metavar="HZ", help="average frames to so many a second")
    add("--revision", default=none, help="of the encoder, on the Hub")
    add("--split", default="train", help="of a data set")
    add("--batch_seconds", type=_amount, default=BATCH_SECONDS, metavar="S", help="audio in a batch, with padding")
    add("--num_workers", type=positive, default=4, metavar="N", help="threads that read ahead")
    add("--save_seconds", type=seconds, default=60.0, metavar="S", help="time between shards, at least")
    add("--overwrite", action="store_true", help="replace what another job has written into DIR")
    add("--trust_remote_code", action="store_true", help="run the encoder's own code, where it comes with some")
    options = vars(parser.parse_args([with_underscores(argument) for argument in argv]))
    if options["pooling"] == "utterance" and "frame_rate" in options:
        raise InputError("--frame_rate is for --pooling frames; an utterance's vector has none")
    return Extraction(**options)


def _amount(text: str) -> float:
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("is 0, but must be more")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code: 0 (also with failures, which are listed), 1 (every recording failed), 2 (wrong
    input or no space: one message on stderr), or that of a signal (SIGINT 130, SIGTERM 143, SIGHUP 129).

    Args:
        argv: the arguments after the program's name; default those of this process.
    """
    print_anything()
    try:
        with interruptible():
            job = parse_extraction(list(sys.argv[1:] if argv is None else argv))
            speak()
            outcome = extract(job)
    except InputError as error:
        show(f"error: {error}", error=True)
        return 2
    except KeyboardInterrupt as error:
        show("interrupted; the same command goes on", error=True)
        return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)
    show(outcome.text)
    if outcome.failed:
        show(f"failed, with their reasons: {Path(job.output) / FAILED}", error=True)
    return 0 if outcome.extracted else 1


__all__ = ["main", "parse_extraction"]
