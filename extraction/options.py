"""What to extract: the options of `extract_features.py`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from ..cli.parsing import Parser
from ..cli.parsing import positive
from ..cli.parsing import seconds
from ..cli.parsing import with_underscores
from ..errors import InputError
from ..speech_encoders import BATCH_SECONDS
from ..speech_features import POOLINGS


@dataclass(frozen=True)
class Extraction:
    """What to extract.

    Args:
        input: see `inputs.read_input`.
        encoder: id on the Hub, or a folder.
        output: folder to write.
        layers, pooling, frame_rate: see `SpeechFeatures`; `frame_rate` None keeps the encoder's.
        revision: of the encoder, on the Hub.
        split: of a data set.
        batch_seconds: padded seconds of audio at a time, for each process.
        num_workers: threads that read ahead, for each process.
        save_seconds: a shard is written after so many seconds at the earliest.
        overwrite: replace what another job has written into `output`.
        trust_remote_code: run code that comes with the encoder.
    """

    input: str
    encoder: str
    output: str
    layers: Sequence[int] = (-1,)
    pooling: str = "frames"
    frame_rate: float | None = None
    revision: str | None = None
    split: str = "train"
    batch_seconds: float = BATCH_SECONDS
    num_workers: int = 4
    save_seconds: float = 60.0
    overwrite: bool = False
    trust_remote_code: bool = False


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
        "paths (columns start and end, in seconds, take parts of them), "
        "release folder of IEMOCAP, MSP-IMPROV or MSP-Podcast, save_to_disk folder, parquet with recordings, or a Hub "
        "id",
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


__all__ = ["Extraction", "parse_extraction"]
