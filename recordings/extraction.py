"""Voice features of any number of recordings, by any number of processes: `extract_features.py`, and `extract`."""

import argparse
import json
import logging
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..command_line import Parser
from ..command_line import is_first_process
from ..command_line import positive
from ..command_line import speak
from ..command_line import with_underscores
from ..errors import InputError
from ..hub_access import reach_hub
from ..interruption import Interrupted
from ..interruption import interruptible
from ..processes import process_state
from ..speech_encoders import BATCH_SECONDS
from ..speech_encoders import SpeechEncoder
from ..speech_features import POOLINGS
from ..waveforms import SAMPLING_RATE
from ..waveforms import AudioError
from ..waveforms import Waveform
from .decoding import all_seconds
from .decoding import decoded
from .extraction_card import extraction_card
from .inputs import Recordings
from .inputs import read_input
from .shards import CARD
from .shards import FAILED
from .shards import ShardFolder
from .together import Together

logger = logging.getLogger(__name__)

_SHARD_BYTES = 64 * 2**20
# Shards come the rarer the longer a job runs: a kill loses this share of the work at most, and there are few of them.
_LOST = 0.05


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


@dataclass(frozen=True)
class Outcome:
    """How a job went.

    Args:
        rows: recordings of the input.
        extracted: rows in the output.
        failed: utterance_id, path and reason of those that are not.
        audio_seconds: of the recordings that this job extracted.
        seconds: that it took for them.
        waited: the longest that a process' encoder waited for audio, in seconds.
    """

    rows: int
    extracted: int
    failed: list[dict[str, str]]
    audio_seconds: float
    seconds: float
    waited: float

    @property
    def text(self) -> str:
        """In a line."""
        speed = f"{self.audio_seconds / self.seconds:.1f}" if self.seconds > 0 else "0"
        return (
            f"{self.extracted} of {self.rows} recordings are done, {len(self.failed)} failed; "
            f"{self.audio_seconds:.0f} s of audio in {self.seconds:.0f} s: {speed} s of audio per second"
            f" (the encoder waited {self.waited:.1f} s for audio)"
        )


@dataclass
class _Share:
    """What one process did."""

    failed: list[dict[str, str]] = field(default_factory=list)
    audio_seconds: float = 0.0
    waited: float = 0.0
    error: str | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code: 0 (also with failures, which are listed), 1 (every recording failed), 2 (wrong
    input or no space: one message on stderr) or that of a signal (SIGINT 130, SIGTERM 143, SIGHUP 129).

    Args:
        argv: the arguments after the program's name; default those of this process.
    """
    try:
        with interruptible():
            job = _job(list(sys.argv[1:] if argv is None else argv))
            speak()
            outcome = extract(job)
    except InputError as error:
        if is_first_process():
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        if is_first_process():
            print("interrupted; the same command goes on", file=sys.stderr)
        return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)
    if is_first_process():
        print(outcome.text)
        if outcome.failed:
            print(f"failed, with their reasons: {Path(job.output) / FAILED}", file=sys.stderr)
    return 0 if outcome.extracted else 1


def extract(job: Extraction) -> Outcome:
    """Extracts what `job` says and isn't there yet. All processes of a launch call it, and share the work.

    Raises:
        InputError: wrong input, an encoder that can't be loaded, an output folder of another job, no space left.
    """
    together = Together(process_state())
    recordings = together.each_does(lambda: read_input(job.input, job.split))
    encoder = together.each_does(lambda: _encoder(job))
    folder = ShardFolder(Path(job.output).expanduser(), together.process)
    try:
        done = together.first_does(lambda: folder.prepare(encoder.features, recordings, job.overwrite))
        together.each_does(lambda: None if together.is_first else folder.lock())
        started = time.monotonic()
        batches = _batches(job, together, encoder, recordings, done)
        share = _extract(job, together, encoder, recordings, folder, batches)
        shares = together.gather(share)
        outcome = together.first_does(lambda: _finish(shares, encoder, recordings, folder, started))
    finally:
        folder.unlock()
    return outcome


def _encoder(job: Extraction) -> SpeechEncoder:
    if not Path(job.encoder).expanduser().is_dir():
        reach_hub(job.encoder)
    try:
        return SpeechEncoder.from_pretrained(
            job.encoder,
            job.layers,
            job.pooling,
            job.frame_rate,
            job.revision,
            process_state().device,
            job.trust_remote_code,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def _batches(
    job: Extraction, together: Together, encoder: SpeechEncoder, recordings: Recordings, done: set[str]
) -> list[list[int]]:
    """The batches of rows that are this process': of neighbours in length, those of all processes dealt in turn."""
    todo = [row for row, name in enumerate(recordings.ids) if name not in done]
    if together.is_first:
        logger.info("%d recordings%s", len(recordings), f", {len(done)} done before" if done else "")
        for note in recordings.notes:
            logger.info("%s", note)
    mine = range(together.process, len(todo), together.processes)
    parts = together.gather(all_seconds(recordings, [todo[i] for i in mine], job.num_workers))
    samples = [0] * len(todo)
    for process, part in enumerate(parts):
        samples[process :: together.processes] = [round(seconds * SAMPLING_RATE) for seconds in part]
    batches = [[todo[i] for i in batch] for batch in encoder.batches(samples, job.batch_seconds)]
    return batches[together.process :: together.processes]


def _extract(
    job: Extraction,
    together: Together,
    encoder: SpeechEncoder,
    recordings: Recordings,
    folder: ShardFolder,
    batches: list[list[int]],
) -> _Share:
    """Batch by batch into shards. What stops this process is told in the result: the others end their own work."""
    share, ids = _Share(), recordings.ids
    shard = _Shard(folder, recordings)
    started = saved = waiting = time.monotonic()
    total = sum(map(len, batches))
    quiet = None if together.is_first else True
    try:
        with tqdm(total=total, desc="extracting", unit="recording", disable=quiet, smoothing=0) as bar:
            for rows, waveforms in decoded(recordings, batches, job.num_workers):
                share.waited += time.monotonic() - waiting
                features = _features(encoder, waveforms, job.batch_seconds)
                for row, waveform, found in zip(rows, waveforms, features, strict=True):
                    if isinstance(found, str):
                        share.failed.append({"utterance_id": ids[row], "path": recordings.shown(row), "reason": found})
                    else:
                        shard.add(row, waveform, found)
                        share.audio_seconds += waveform.seconds
                now = waiting = time.monotonic()
                bar.update(len(rows))
                bar.set_postfix_str(f"{share.audio_seconds / (now - started):.1f} s of audio per second")
                due = now - saved >= max(job.save_seconds, _LOST * (now - started) if job.save_seconds else 0)
                if due or shard.bytes >= _SHARD_BYTES:
                    shard.write()
                    saved = time.monotonic()
        shard.write()
    except InputError as error:
        share.error = str(error)
    return share


class _Shard:
    """Rows that are extracted and not yet on disk."""

    def __init__(self, folder: ShardFolder, recordings: Recordings):
        self.folder, self.recordings = folder, recordings
        self.rows: list[int] = []
        self.features: list[np.ndarray] = []
        self.seconds: list[float] = []
        self.notes: list[str | None] = []

    @property
    def bytes(self) -> int:
        """Of the features."""
        return sum(each.nbytes for each in self.features)

    def add(self, row: int, waveform: Waveform, features: np.ndarray) -> None:
        """One more row."""
        self.rows.append(row)
        self.features.append(features)
        self.seconds.append(waveform.seconds)
        self.notes.append("; ".join(waveform.notes) or None)

    def write(self) -> None:
        """Writes the rows, if there are any, and forgets them."""
        if self.rows:
            columns = self.recordings.columns.take(self.rows)
            self.folder.write_shard(columns, self.features, self.seconds, self.notes)
            self.rows, self.features, self.seconds, self.notes = [], [], [], []


def _features(
    encoder: SpeechEncoder, waveforms: list[Waveform | AudioError], batch_seconds: float
) -> list[np.ndarray | str]:
    """The features of each recording, float16; or why there are none."""
    results: list[np.ndarray | str] = [str(each) if isinstance(each, AudioError) else "" for each in waveforms]
    readable = []
    for place, waveform in enumerate(waveforms):
        if isinstance(waveform, Waveform):
            if encoder.frames_of(len(waveform.samples)) < 1:
                results[place] = f"too short for {encoder.features.encoder}: {waveform.seconds:.3f} s"
            else:
                readable.append(place)
    encoded = _encoded(encoder, [waveforms[place].samples for place in readable], batch_seconds)
    for place, found in zip(readable, encoded, strict=True):
        results[place] = found if isinstance(found, str) else _halved(found)
    return results


def _encoded(encoder: SpeechEncoder, waveforms: list[np.ndarray], batch_seconds: float) -> list[np.ndarray | str]:
    """What the encoder gives; where a batch fails, one by one, so that the reason stays with whose it is."""
    if not waveforms:
        return []
    try:
        return list(encoder(waveforms, batch_seconds))
    except (RuntimeError, ValueError) as error:  # out of memory above all
        if len(waveforms) == 1:
            return [f"the encoder failed: {str(error).splitlines()[0]}"]
    return [_encoded(encoder, [waveform], batch_seconds)[0] for waveform in waveforms]


def _halved(features: np.ndarray) -> np.ndarray | str:
    with np.errstate(over="ignore"):
        stored = features.astype(np.float16)
    if np.isfinite(stored).all():
        return stored
    largest = np.abs(features).max()
    return f"its features are not finite in float16 (the largest is {largest:.3g}); take other layers"


def _finish(
    shares: list[_Share], encoder: SpeechEncoder, recordings: Recordings, folder: ShardFolder, started: float
) -> Outcome:
    """By the first process, when all are through: the list of failures, the card, and how it went.

    Raises:
        InputError: what stopped a process; rows that aren't there.
    """
    seconds = time.monotonic() - started
    failed = sorted((each for share in shares for each in share.failed), key=lambda each: each["utterance_id"])
    errors = [share.error for share in shares if share.error is not None]
    if errors:
        raise InputError(errors[0])
    done = folder.column("utterance_id")
    if sorted(done + [each["utterance_id"] for each in failed]) != sorted(recordings.ids):
        raise InputError(
            f"{folder.folder}: {len(done)} rows and {len(failed)} failures for {len(recordings)} recordings. "
            "Do all machines write into the same folder? The same command again does the rest"
        )
    folder.write_text(FAILED, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in failed))
    if done:
        said = folder.column("audio_notes")
        audio_seconds = sum(folder.column("seconds"))
        folder.write_text(CARD, extraction_card(encoder.features, recordings, said, audio_seconds, failed))
    audio_seconds = sum(share.audio_seconds for share in shares)
    waited = max(share.waited for share in shares)
    return Outcome(len(recordings), len(done), failed, audio_seconds, seconds, waited)


def _job(argv: list[str]) -> Extraction:
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
        help="folder of audio (beside a metadata.csv or manifest.csv, if there is one), .csv or .jsonl with paths "
        "(columns start and end, in seconds, take parts of them), "
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


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be a number of at least 0")
    return value


__all__ = ["Extraction", "Outcome", "extract", "main"]
