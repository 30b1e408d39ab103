"""Voice features of any number of recordings, by any number of processes: what `extract_features.py` does."""

import json
import logging
import time
from contextlib import closing
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..corpora.extraction_state import FAILED
from ..errors import InputError
from ..hub_access import reach_hub
from ..interruption import Interrupted
from ..interruption import heed
from ..interruption import held
from ..processes import Group
from ..processes import process_state
from ..recordings.decoding import all_seconds
from ..recordings.decoding import decoded
from ..recordings.recordings import Recordings
from ..recordings.recordings import read_input
from ..speech_encoders import SpeechEncoder
from ..waveforms import SAMPLING_RATE
from ..waveforms import AudioError
from ..waveforms import Waveform
from .data_card import extraction_card
from .options import Extraction
from .shards import CARD
from .shards import ShardFolder

logger = logging.getLogger(__name__)

_SHARD_BYTES = 64 * 2**20
# Shards come the rarer the longer a job runs: a kill loses this share of the work at most, and there are few of them.
_LOST = 0.05


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


def extract(job: Extraction) -> Outcome:
    """Extracts what `job` says and isn't there yet. All processes of a launch call it, and share the work.

    Raises:
        InputError: wrong input, an encoder that can't be loaded, an output folder of another job, no space left.
    """
    group = Group(process_state())
    recordings = group.each_does(lambda: read_input(job.input, job.split))
    encoder = group.each_does(lambda: _encoder(job))
    folder = ShardFolder(Path(job.output).expanduser(), group.process)
    try:
        done = group.first_does(lambda: folder.prepare(encoder.features, recordings, job.overwrite))
        group.each_does(lambda: None if group.is_first else folder.lock())
        started = time.monotonic()
        batches = _batches(job, group, encoder, recordings, done)
        share = _extract(job, group, encoder, recordings, folder, batches)
        shares = group.gather(share)
        outcome = group.first_does(lambda: _finish(shares, encoder, recordings, folder, started))
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


@dataclass(frozen=True)
class _Batch:
    """Rows that go through the encoder together, and those of them that aren't done yet.

    Which rows these are depends on the list of recordings alone and not on what is done: the padding of a batch
    changes the last bits of what the encoder gives.
    """

    rows: list[int]
    todo: list[int]


def _batches(
    job: Extraction, group: Group, encoder: SpeechEncoder, recordings: Recordings, done: set[str]
) -> list[_Batch]:
    """The batches that are this process': of neighbours in length, those of all processes dealt in turn."""
    ids, count = recordings.ids, len(recordings)
    if group.is_first:
        logger.info("%d recordings%s", count, f", {len(done)} done before" if done else "")
        for note in recordings.notes:
            logger.info("%s", note)
    if done.issuperset(ids):
        return []
    mine = range(group.process, count, group.processes)
    parts = group.gather(all_seconds(recordings, mine, job.num_workers))
    samples = [0] * count
    for process, part in enumerate(parts):
        samples[process :: group.processes] = [round(seconds * SAMPLING_RATE) for seconds in part]
    batches = [
        _Batch(rows, [row for row in rows if ids[row] not in done])
        for rows in encoder.batches(samples, job.batch_seconds)
    ]
    return [batch for batch in batches if batch.todo][group.process :: group.processes]


def _extract(
    job: Extraction,
    group: Group,
    encoder: SpeechEncoder,
    recordings: Recordings,
    folder: ShardFolder,
    batches: list[_Batch],
) -> _Share:
    """Batch by batch into shards. What stops this process is told in the result: the others end their own work.

    Raises:
        Interrupted: by a signal, once what is done is written.
    """
    share, shard = _Share(), _Shard(folder, recordings)
    started = saved = waiting = time.monotonic()
    total = sum(len(batch.todo) for batch in batches)
    quiet = None if group.is_first else True
    try:
        reading = decoded(recordings, [batch.todo for batch in batches], job.num_workers)
        bar = tqdm(total=total, desc="extracting", unit="recording", disable=quiet, smoothing=0)
        with closing(reading), bar:
            for batch, (_, waveforms) in zip(batches, reading, strict=True):
                share.waited += time.monotonic() - waiting
                features = _features_of(batch, encoder, recordings, waveforms, job)
                with held():  # a row is added as a whole
                    _add(batch.todo, waveforms, features, recordings, share, shard)
                    now = waiting = time.monotonic()
                    due = now - saved >= max(job.save_seconds, _LOST * (now - started) if job.save_seconds else 0)
                    if due or shard.bytes >= _SHARD_BYTES:
                        shard.write()
                        saved = time.monotonic()
                bar.update(len(batch.todo))
                bar.set_postfix_str(f"{share.audio_seconds / (now - started):.1f} s of audio per second")
        with held():
            shard.write()
    except InputError as error:
        share.error = str(error)
    except Interrupted:
        with held():
            shard.write()
        raise
    return share


def _add(
    rows: list[int],
    waveforms: list[Waveform | AudioError],
    features: list[np.ndarray | str],
    recordings: Recordings,
    share: _Share,
    shard: "_Shard",
) -> None:
    """What has been found out of rows: their features, or why there are none."""
    for row, waveform, found in zip(rows, waveforms, features, strict=True):
        if isinstance(found, str):
            name = recordings.columns["utterance_id"][row].as_py()
            share.failed.append({"utterance_id": name, "path": recordings.shown(row), "reason": found})
        else:
            shard.add(row, waveform, found)
            share.audio_seconds += waveform.seconds


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
        """Forgets the rows, if there are any, and writes them: whatever happens meanwhile, none is written twice."""
        if self.rows:
            columns = self.recordings.columns.take(self.rows)
            features, seconds, notes = self.features, self.seconds, self.notes
            self.rows, self.features, self.seconds, self.notes = [], [], [], []
            self.folder.write_shard(columns, features, seconds, notes)


def _features_of(
    batch: _Batch,
    encoder: SpeechEncoder,
    recordings: Recordings,
    waveforms: list[Waveform | AudioError],
    job: Extraction,
) -> list[np.ndarray | str]:
    """The features of the rows to be done, beside those that are: their bits are then as if all were done at once."""
    beside = [row for row in batch.rows if row not in batch.todo]
    if not beside or all(isinstance(waveform, AudioError) for waveform in waveforms):
        return _features(encoder, waveforms, job.batch_seconds)
    read = dict(zip(batch.todo, waveforms, strict=True))
    for rows, others in decoded(recordings, [beside], job.num_workers):
        read.update(zip(rows, others, strict=True))
    found = _features(encoder, [read[row] for row in batch.rows], job.batch_seconds)
    return [features for row, features in zip(batch.rows, found, strict=True) if row in batch.todo]


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
        heed()
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


__all__ = ["Outcome", "extract"]
