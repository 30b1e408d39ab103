"""Recordings off the disk, in threads ahead of who takes them: how long they are, and their waveforms."""

import io
import math
import os
from collections import deque
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from ..compressed_audio import CompressedAudio
from ..compressed_audio import compressed_kind
from ..compressed_audio import compressed_seconds
from ..waveforms import LONGEST
from ..waveforms import AudioError
from ..waveforms import Waveform
from ..waveforms import read_waveform
from ..waveforms import recorded_seconds
from .recordings import Recordings

_UNREADABLE = (soundfile.SoundFileError, OSError, TypeError, ValueError, RuntimeError)


def recording_seconds(recordings: Recordings, row: int) -> float:
    """How long a recording says that it is, from its header alone; 0 where that can't be told."""
    try:
        source = recordings.source(row)
        if isinstance(source, Mapping) and "array" in source:
            seconds = len(source["array"]) / source.get("sampling_rate")
        else:
            seconds = recorded_seconds(source if isinstance(source, Path) else source["bytes"])
        start, end = recordings.segment(row) or (0.0, math.nan)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # said with its reason when it is read
        return 0.0
    seconds = (seconds if math.isnan(end) else min(end, seconds)) - start
    return min(seconds, LONGEST) if seconds > 0 else 0.0  # also where it is NaN


def all_seconds(recordings: Recordings, rows: Sequence[int], workers: int) -> list[float]:
    """The lengths of the recordings `rows`, in seconds."""
    pool = ThreadPoolExecutor(workers)
    try:
        lengths = pool.map(lambda row: recording_seconds(recordings, row), rows)
        return list(tqdm(lengths, total=len(rows), desc="lengths", unit="recording", disable=None, leave=False))
    finally:
        pool.shutdown(cancel_futures=True)


def read_recording(recordings: Recordings, row: int) -> Waveform:
    """The waveform of a recording, or of its part where a start or end is given.

    Raises:
        AudioError: as `read_waveform`, and where the part lies outside the recording.
    """
    source, segment = recordings.source(row), recordings.segment(row)
    try:
        if segment is None:
            return read_waveform(source)
        if isinstance(source, Mapping) and "array" in source:
            raise AudioError("start and end are for recordings in files; cut the array")
        return _read_segment(source, *segment)
    except AudioError as error:
        if not isinstance(source, Path):
            raise
        # Where the recording lies is said beside the reason, without the way to it.
        reason, shown = str(error), recordings.shown(row) or "it"
        for way in (str(source), repr(str(source))[1:-1]):
            reason = reason.replace(way, shown)
        raise AudioError(reason) from error


def decoded(
    recordings: Recordings, batches: Sequence[Sequence[int]], workers: int
) -> Iterator[tuple[Sequence[int], list[Waveform | AudioError]]]:
    """Each batch of rows with its waveforms, or the reasons why there are none; the next ones are read meanwhile."""
    pool = ThreadPoolExecutor(workers)
    ahead: deque[tuple[Sequence[int], list[Any]]] = deque()
    try:
        for batch in batches:
            ahead.append((batch, [pool.submit(_attempt, recordings, row) for row in batch]))
            if len(ahead) > workers:
                rows, futures = ahead.popleft()
                yield rows, [future.result() for future in futures]
        while ahead:
            rows, futures = ahead.popleft()
            yield rows, [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _attempt(recordings: Recordings, row: int) -> Waveform | AudioError:
    try:
        return read_recording(recordings, row)
    except AudioError as error:
        return error


def _file(source: Path | Mapping[str, Any]) -> Any:
    """What soundfile opens; nothing that could wait for ever, as a pipe."""
    if isinstance(source, Path):
        if not os.path.isfile(source):  # Path.is_file raises for names that are too long
            raise AudioError(f"{source}: there is no such file")
        return source
    if "bytes" not in source:
        raise AudioError("there is no recording in this row")
    return io.BytesIO(source["bytes"])


def _read_segment(source: Path | Mapping[str, Any], start: float, end: float) -> Waveform:
    try:
        with soundfile.SoundFile(_file(source)) as opened:
            rate, frames = opened.samplerate, opened.frames
            first, last = _part(start, end, frames / rate)
            opened.seek(round(first * rate))
            samples = opened.read(round(last * rate) - round(first * rate), dtype="float32", always_2d=True)
    except _UNREADABLE as error:
        if isinstance(error, AudioError):
            raise
        content = source if isinstance(source, Path) else bytes(source["bytes"])
        kind = compressed_kind(content)
        if kind is None:
            raise AudioError(f"it is no audio that can be read ({str(error).strip()})") from error
        samples, rate = _decompressed(content, kind, start, end)
    return read_waveform(samples, source_rate=rate)


def _part(start: float, end: float, seconds: float) -> tuple[float, float]:
    """The first and last second of a part of a recording that has so many."""
    last = seconds if math.isnan(end) else min(end, seconds)
    if not 0 <= start < last:
        until = "its end" if math.isnan(end) else f"{end:g} s"
        raise AudioError(f"there is nothing from {start:g} s to {until}: it has {seconds:g} s")
    if last - start > LONGEST:
        raise AudioError(f"{last - start:.0f} s are too long: at most {LONGEST:g} s are taken; cut it")
    return start, last


def _decompressed(content: Path | bytes, kind: str, start: float, end: float) -> tuple[np.ndarray, int]:
    first, last = _part(start, end, compressed_seconds(content))
    with CompressedAudio(content, kind, "it", first, last - first) as opened:
        return np.concatenate([np.zeros((0, opened.channels), np.float32), *opened]), opened.rate


__all__ = ["all_seconds", "decoded", "read_recording", "recording_seconds"]
