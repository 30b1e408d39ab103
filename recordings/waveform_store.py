"""The samples of recordings, 16 kHz mono: decoded and resampled once, kept by their content, memory-mapped.

A recording is found by a hash of its content (the bytes of its file, or its samples) and of the part that is meant, so
that one that lies elsewhere, or is in two corpora, is decoded once; how the files of the store are written and read,
features/mapped_store.py says.
"""

import logging
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from tqdm import tqdm

from ..cores import core_count
from ..features.mapped_store import MappedStore
from ..features.mapped_store import StoreWords
from ..features.mapped_store import user_store
from ..features.seen_files import SeenFiles
from ..features.sequences import Sequences
from ..features.windows import FULL_SCALE
from ..files import content_hash
from ..waveforms import AudioError
from ..waveforms import Waveform
from .decoding import decoded
from .recordings import Recordings

logger = logging.getLogger(__name__)

DTYPES = ("int16", "float32")
_FORMAT = 1
_SOURCES = "sources.json"
_FLUSH_BYTES = 32 * 2**20
_MOST_WORKERS = 16
_RELEASED = 256  # recordings read, after which a data set's pages are let go of
_WORDS = StoreWords(
    holds="the samples of the recordings", again="its recordings are decoded again", key="recording", values="samples"
)


@dataclass(frozen=True, eq=False)
class StoredWaveforms:
    """Recordings, decoded.

    Args:
        samples: of dim 1, int16 or float32, memory-mapped; length 0 where there is no recording, or none that can be
            read.
        keys: (n, 16) uint8, a hash of each recording's content; zeros where there is none.
        failed: row -> why its recording can't be read. Rows that have no recording are not among them.
    """

    samples: Sequences
    keys: np.ndarray
    failed: dict[int, str]


class WaveformStore:
    """Decoded recordings on the disk.

    Args:
        directory: where the stores lie; by default in the Hub's cache folder.
        dtype: `int16`, half the size, or `float32`.
    """

    def __init__(self, directory: str | Path | None = None, dtype: str = "int16"):
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; it can be {', '.join(DTYPES)}")
        self.dtype = dtype
        place = user_store("waveforms") if directory is None else Path(directory)
        self.folder = place / f"waveforms-{_FORMAT}-{dtype}"
        self._store = MappedStore(self.folder, _WORDS, _FLUSH_BYTES, large=True)

    def waveforms(
        self, recordings: Recordings, rows: Sequence[int] | None = None, workers: int | None = None
    ) -> StoredWaveforms:
        """The samples of some recordings (by default all); decodes those that are not there yet, in threads.

        Raises:
            InputError: the disk is full, or the store can't be written.
        """
        rows = range(len(recordings)) if rows is None else rows
        workers = workers or min(core_count(), _MOST_WORKERS)
        seen = SeenFiles(self.folder / _SOURCES)
        keys, failed = _keys(recordings, rows, workers, seen)
        owner = {key: row for key, row in zip(reversed(keys), reversed(rows), strict=True) if key is not None}
        reasons: dict[bytes, str] = {}

        def decode(missing: list[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
            return self._decoded(recordings, {key: owner[key] for key in missing}, workers, reasons)

        samples = self._store.rows(keys, decode)
        if self.folder.exists():
            seen.save()
        for place, key in enumerate(keys):
            if key in reasons:
                failed[place] = reasons[key]
        return StoredWaveforms(samples, _as_array(keys), failed)

    def _decoded(
        self, recordings: Recordings, rows: dict[bytes, int], workers: int, reasons: dict[bytes, str]
    ) -> Iterator[tuple[bytes, np.ndarray]]:
        """Each recording as it is stored; why there is none goes into `reasons`."""
        batches = [[row] for row in rows.values()]
        bar = tqdm(total=len(rows), desc="decoding recordings", unit="recording", disable=None)
        with closing(decoded(recordings, batches, workers)) as reading, bar:
            for number, (key, (_, (found,))) in enumerate(zip(rows, reading, strict=True)):
                if number % _RELEASED == 0:
                    recordings.release()
                if isinstance(found, Waveform):
                    yield key, stored_samples(found.samples, self.dtype)
                else:
                    reasons[key] = str(found)
                bar.update()
        logger.info("%d recordings decoded into %s", len(rows) - len(reasons), self.folder)


def stored_samples(samples: np.ndarray, dtype: str = "int16") -> np.ndarray:
    """(n,) float32 of full scale 1 to (n, 1) as they are kept; what int16 can't hold is clipped."""
    if dtype == "float32":
        return samples.astype(np.float32, copy=False)[:, None]
    return np.rint(samples * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)[:, None]


def _keys(
    recordings: Recordings, rows: Sequence[int], workers: int, seen: SeenFiles
) -> tuple[list[bytes | None], dict[int, str]]:
    """The hash of each recording's content, None where there is none; and why some can't be read, by place."""
    keys: list[bytes | None] = []
    failed: dict[int, str] = {}
    pool = ThreadPoolExecutor(workers)
    try:
        attempt = _attempt(recordings, seen)
        some = (rows[first : first + _RELEASED] for first in range(0, len(rows), _RELEASED))
        found = chain.from_iterable(pool.map(attempt, each) for each in some)  # what waits takes memory
        # The bar is for large corpora, and disks that are far away.
        for place, key in enumerate(tqdm(found, total=len(rows), desc="recordings", disable=None, leave=False)):
            if isinstance(key, AudioError):
                failed[place] = str(key)
            if place % _RELEASED == 0:
                recordings.release()
            keys.append(None if isinstance(key, AudioError) else key)
    finally:
        pool.shutdown(cancel_futures=True)
    return keys, failed


def _attempt(recordings: Recordings, seen: SeenFiles) -> Callable[[int], bytes | None | AudioError]:
    def key_of(row: int) -> bytes | None | AudioError:
        if recordings.lacks(row):
            return None
        try:
            return content_key(recordings.source(row), recordings.segment(row), seen)
        except AudioError as error:
            return error
        except OSError as error:
            return AudioError(error.strerror or str(error))

    return key_of


def content_key(
    source: Path | Mapping[str, Any], segment: tuple[float, float] | None, seen: SeenFiles | None = None
) -> bytes:
    """16 bytes that stand for a recording, or its part from one second to another.

    Args:
        seen: files that were hashed before.

    Raises:
        AudioError: there is no such file. OSError: it can't be read.
    """
    digest = xxhash.xxh3_128()
    if isinstance(source, Path):
        if not os.path.isfile(source):  # a pipe would be waited for; Path.is_file raises for names that are too long
            raise AudioError("there is no such file")
        digest.update(bytes.fromhex(_hash_of(source, seen)))
    elif "bytes" in source:
        digest.update(xxhash.xxh3_128(source["bytes"]).digest())
    else:
        samples = np.ascontiguousarray(source["array"])
        digest.update(f"{samples.dtype.str} {samples.shape} {source.get('sampling_rate')}".encode())
        digest.update(samples)
    digest.update(repr(segment).encode())
    return digest.digest()


def _hash_of(file: Path, seen: SeenFiles | None) -> str:
    return content_hash(file) if seen is None else seen.hash_of(file)


def _as_array(keys: list[bytes | None]) -> np.ndarray:
    return np.frombuffer(b"".join(key or bytes(16) for key in keys), np.uint8).reshape(-1, 16)


__all__ = ["DTYPES", "StoredWaveforms", "WaveformStore", "content_key", "stored_samples"]
