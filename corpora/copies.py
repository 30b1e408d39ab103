"""Copies of corpora on disk, in a form that is mapped and not read: made once, kept by what they were made of.

A copy is a folder of its own, named by a key, which is filled under a temporary name and then renamed: a killed
process leaves nothing half. Its `about.json` holds a hash of each of its files; where one no longer matches, the copy
is taken away and made again. One process at a time makes copies of a place, under a lock that the system frees when
the process ends; another waits, and finds what it needs. What nobody has used for 30 days goes when one is added.
"""

import contextlib
import errno
import logging
import mmap
import os
import shutil
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
from filelock import FileLock

from ..features.mapped_store import user_store
from ..features.seen_files import SeenFiles
from ..files import TEMPORARY
from ..files import content_hash
from ..files import read_json
from ..files import whole_folder
from ..files import write_json

logger = logging.getLogger(__name__)

_ABOUT = "about.json"
_SEEN = "files.json"
_KEPT_SECONDS = 30 * 24 * 3600.0
_STALE_SECONDS = 24 * 3600.0
_SETTLED = 10.0  # seconds: a file that is no younger is known by its size and time

_said: set[Path] = set()


class Copies:
    """The copies in one place.

    Args:
        folder: where; by default beside the Hub's own cache.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = user_store("corpora") if folder is None else Path(folder) / "corpora"
        self._seen = SeenFiles(self.folder / _SEEN)
        self.mapped: dict[int, str] = {}  # address of what was mapped -> the key of the copy

    def digest(self, file: Path) -> str:
        """A hash of what a file holds; one that hasn't changed since the last time is not read. Raises OSError."""
        return self._seen.hash_of(file)

    def find(self, key: str) -> Path | None:
        """The folder of a copy that is whole; None where there is none."""
        folder = self.folder / key
        about = read_json(folder / _ABOUT, "files")
        if about is None:
            return None
        try:
            whole = all(self.digest(folder / name) == digest for name, digest in about["files"].items())
        except OSError:
            whole = False
        if not whole:
            logger.warning("%s is torn or not ours: removed, the corpus is copied again", folder)
            shutil.rmtree(folder, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder / _ABOUT)  # when it was last used
        return folder

    def make(self, key: str, fill: Callable[[Path], None], size: int = 0) -> Path | None:
        """Lets `fill` write the files of a copy into a folder, and gives the folder they then lie in; None, with a
        line said, where the disk doesn't take them.

        Args:
            size: of the files, in bytes, as far as it is known before.
        """
        folder = self.folder / key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with whole_folder(folder) as temporary:
                fill(temporary)
                files = [file for file in temporary.iterdir() if file.is_file()]
                write_json(temporary / _ABOUT, {"files": {file.name: content_hash(file) for file in files}})
                settled = time.time() - _SETTLED  # nobody else writes them
                for file in files:
                    os.utime(file, (settled, settled))
        except OSError as error:
            self._say(error, size)
            return None
        return self.find(key)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among the processes that make copies here, where the place can be written at all."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "lock").acquire()
        except OSError:
            yield
            return
        with lock:
            self._clean()
            yield

    def save(self) -> None:
        """Keeps the hashes of files that were found."""
        if self.folder.exists():
            self._seen.save()

    def _clean(self) -> None:
        """Removes copies that nobody has used for long, and what killed processes were making."""
        now = time.time()
        for path in [*self.folder.iterdir()]:
            with contextlib.suppress(OSError):
                if path.name.endswith(TEMPORARY) and path.is_dir():
                    old = now - path.stat().st_mtime > _STALE_SECONDS
                else:
                    old = path.is_dir() and now - _used(path) > _KEPT_SECONDS
                if old:
                    shutil.rmtree(path, ignore_errors=True)

    def _say(self, error: OSError, size: int) -> None:
        if self.folder in _said:
            return
        _said.add(self.folder)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "no space left" if full else f"can't write ({error})"
        need = f" ({size / 2**20:.0f} MB)" if size else ""
        logger.warning(
            "%s in %s for a mapped copy of the corpus%s: it is read into memory at each start; %sset store_dir",
            what,
            self.folder,
            need,
            "free some, or " if full else "",
        )


def write_arrow(file: Path, table: pa.Table) -> None:
    """Writes a table as one that `read_arrow` maps."""
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def read_arrow(file: Path) -> pa.Table:
    """The table in a file, mapped."""
    with open(file, "rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.ipc.open_file(pa.py_buffer(mapped)).read_all()


def _used(folder: Path) -> float:
    about = folder / _ABOUT
    return (about if about.exists() else folder).stat().st_mtime


__all__ = ["Copies", "read_arrow", "write_arrow"]
