"""Sequences of vectors that were costly to make: kept on disk by a key of 16 bytes, and memory-mapped.

A store is a folder of Arrow files, each written whole under a temporary name and then renamed to the hash of its
bytes: a torn or foreign file does not match its name, is never parsed, and is removed and its rows made again. One
process at a time makes rows, under a lock that the system frees when the process ends, however it ends.
"""

import contextlib
import errno
import logging
import mmap
import os
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash
from filelock import AcquireReturnProxy
from filelock import FileLock
from huggingface_hub import constants

from ..errors import InputError
from ..files import content_hash
from .seen_files import SeenFiles
from .sequences import Sequences
from .sequences import let_go

logger = logging.getLogger(__name__)

_FLUSH_BYTES = 64 * 2**20
_FLUSH_SECONDS = 30.0
_SEEN = "whole.json"

Made = Iterable[tuple[bytes, np.ndarray]]
"""Keys (16 bytes) and their vectors (length, dim), as they are made."""


def user_store(name: str) -> Path:
    """A folder beside the Hub's own cache (`HF_HOME`), shared by all jobs of a user."""
    return Path(constants.HF_HOME) / "emomm" / name


@dataclass(frozen=True)
class StoreWords:
    """How a store speaks of what it holds, and names it in its files.

    Args:
        holds: what fills the disk, as in "no space left for the states of the transcripts".
        again: what happens to the rows of a file that is torn, as in "its transcripts are encoded again".
        key: the column of keys in its files.
        values: the column of vectors.
        remedy: what to do where there is no place for it.
    """

    holds: str
    again: str
    key: str = "key"
    values: str = "values"
    remedy: str = "set store_dir"


class MappedStore:
    """The rows of one folder.

    Args:
        folder: where its files lie; made when the first is written. What makes its rows differ from those of another
            (weights, settings, precision) is in its name.
        words: how it speaks of its rows.
        flush_bytes: of vectors that are written at a time, in a file; by default 64 MB.
        large: its files are hashed again only where their size or time has changed since they were found whole.
    """

    def __init__(self, folder: Path, words: StoreWords, flush_bytes: int | None = None, large: bool = False):
        self.folder, self.words, self.flush_bytes = folder, words, flush_bytes
        self._seen = SeenFiles(folder / _SEEN) if large else None
        self._parts: list[np.ndarray] = []
        self._index: dict[bytes, tuple[int, int, int]] = {}
        self._known: set[str] = set()

    def rows(self, keys: Sequence[bytes | None], make: Callable[[list[bytes]], Made]) -> Sequences:
        """The vectors of each key; of None none at all.

        Args:
            keys: 16 bytes each; the same key twice is one stretch.
            make: gives the vectors of the keys that are not there yet, in any order; they are written as they come,
                so that a kill loses little. Under the lock: no other process makes them meanwhile. A key that it
                leaves out has a length of 0.

        Raises:
            InputError: the disk is full, or the folder can't be written.
        """
        wanted = [key for key in keys if key is not None]
        fill({self: wanted}, lambda missing: ((self, key, values) for key, values in make(list(missing))))
        if self._seen is not None and self._known:
            self._seen.save()
        nothing = (0, 0, 0)
        rows = np.array([nothing if key is None else self._index.get(key, nothing) for key in keys], dtype=np.int64)
        rows = rows.reshape(-1, 3)
        return Sequences(tuple(self._parts), rows[:, 0].astype(np.int32), rows[:, 1], rows[:, 2])

    def lacks(self, keys: Iterable[bytes]) -> bool:
        """Whether some of the keys are not there yet."""
        self._scan()
        return not set(keys) <= self._index.keys()

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys that are not there, each once, under the lock: what is torn is removed."""
        self._scan(clean=True)  # another process may have made them meanwhile
        return [key for key in dict.fromkeys(keys) if key not in self._index]

    def lock(self) -> AcquireReturnProxy:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return FileLock(self.folder / "lock").acquire()
        except OSError as error:
            raise self._no_place(error) from error

    def _no_place(self, error: OSError, size: str = "") -> InputError:
        where = f"{self.folder.parent} for {self.words.holds}{size}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return InputError(f"no space left in {where}: free some, or {self.words.remedy}")
        return InputError(f"can't write into {where} ({error}): {self.words.remedy}")

    # ---- reading ----------------------------------------------------------------------------------------------------

    def _scan(self, clean: bool = False) -> None:
        """Maps files not seen yet; with `clean` (under the lock) removes those that are torn, foreign or temporary."""
        for path in sorted(self.folder.glob("*.arrow*")):
            if path.name in self._known:
                continue
            part = None if path.suffix == ".temporary" else read_part(path, self._seen)
            if part is not None:
                self._add(path.name, *part)
            elif clean:
                if path.suffix != ".temporary":
                    logger.warning("%s is torn or not ours: removed, %s", path.name, self.words.again)
                path.unlink()

    def _add(self, name: str, keys: list[bytes], lengths: np.ndarray, values: np.ndarray) -> None:
        starts = np.cumsum(lengths) - lengths
        number = len(self._parts)
        self._index.update(
            (key, (number, start, length))
            for key, start, length in zip(keys, starts.tolist(), lengths.tolist(), strict=True)
        )
        self._parts.append(values)
        self._known.add(name)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def write(self, done: list[tuple[bytes, np.ndarray]]) -> None:
        """A file of these rows, whole or not at all."""
        content = _file_of(done, self.words)
        name = _file_name(content)
        temporary = self.folder / f"{name}.temporary"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            size = f" ({content.size / 2**20:.1f} MB for {len(done)} of them)"
            raise self._no_place(error, size) from error
        self._scan()


def fill(
    wanted: Mapping[MappedStore, Sequence[bytes]],
    make: Callable[[dict[bytes, list[MappedStore]]], Iterable[tuple[MappedStore, bytes, np.ndarray]]],
) -> None:
    """Makes what some stores lack, together.

    Args:
        wanted: the keys that each is to hold. No two of the same folder.
        make: gives vectors, and the store of each, of the keys that are missing: it is told by which stores. Under
            the locks of all of them.

    Raises InputError as `MappedStore.rows` does.
    """
    lacking = [store for store, keys in wanted.items() if store.lacks(keys)]
    with contextlib.ExitStack() as locks:
        for store in sorted(lacking, key=lambda store: store.folder):  # two processes wait for none in turn
            locks.enter_context(store.lock())
        missing: dict[bytes, list[MappedStore]] = {}
        for store in lacking:
            for key in store.missing(wanted[store]):
                missing.setdefault(key, []).append(store)
        if missing:
            _keep(make(missing))


def _keep(made: Iterable[tuple[MappedStore, bytes, np.ndarray]]) -> None:
    """Writes the rows as they come, some at a time."""
    waiting: dict[MappedStore, list[tuple[bytes, np.ndarray]]] = {}
    sizes: dict[MappedStore, int] = {}
    flushed = time.monotonic()
    for store, key, values in made:
        waiting.setdefault(store, []).append((key, values))
        sizes[store] = sizes.get(store, 0) + values.nbytes
        late = time.monotonic() - flushed > _FLUSH_SECONDS
        most = _FLUSH_BYTES if store.flush_bytes is None else store.flush_bytes
        for each in list(waiting) if late else [store] if sizes[store] > most else []:
            each.write(waiting.pop(each))
            sizes[each] = 0
        flushed = time.monotonic() if late else flushed
    for store, done in waiting.items():
        store.write(done)


def _file_of(done: list[tuple[bytes, np.ndarray]], words: StoreWords) -> pa.Buffer:
    lengths = np.array([len(values) for _, values in done], dtype=np.int64)
    values = np.concatenate([values for _, values in done])
    keys = b"".join(key for key, _ in done)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), type=pa.int64())
    columns = {
        words.key: pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(done), [None, pa.py_buffer(keys)]),
        words.values: pa.LargeListArray.from_arrays(offsets, flat),
    }
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _file_name(content: pa.Buffer) -> str:
    return f"{xxhash.xxh3_128(content).hexdigest()}.arrow"


def read_part(path: Path, seen: SeenFiles | None = None) -> tuple[list[bytes], np.ndarray, np.ndarray] | None:
    """Keys, lengths and memory-mapped vectors of a file, or None where it isn't whole or isn't ours.

    Args:
        seen: files that were found whole before, and are not hashed again.

    The hash comes first: one wrong bit in Arrow's metadata can end the process that parses it. It reads the file and
    not its map, of which every page that is looked at would count as memory of this process.
    """
    try:
        if path.stem != (content_hash(path) if seen is None else seen.hash_of(path)):
            return None
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # a folder, or not to be read; nothing in it
        return None
    content = pa.py_buffer(mapped)
    table = pa.ipc.open_file(content).read_all()
    keys, values = table.column(0), table.column(1).chunk(0)
    lengths = np.diff(values.offsets.to_numpy()).astype(np.int64)
    flat = values.values.values.to_numpy(zero_copy_only=True)
    # Taken from the map itself, which can then be told that its pages are not needed (`Sequences.release`).
    start = flat.ctypes.data - content.address
    vectors = np.frombuffer(mapped, flat.dtype, len(flat), start).reshape(-1, values.values.type.list_size)
    listed = keys.to_pylist()
    let_go(mapped)
    return listed, lengths, vectors


__all__ = ["Made", "MappedStore", "StoreWords", "fill", "read_part", "user_store"]
