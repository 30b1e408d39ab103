"""Hashes of files that were read before: what has not changed of a large corpus is not read again at each start."""

import logging
import os
import time
from pathlib import Path

from ..files import content_hash
from ..files import read_json
from ..files import write_json

logger = logging.getLogger(__name__)

# A file that was written so lately may be written again within the resolution of its time, and be as long.
_SETTLED = 2e9  # nanoseconds


class SeenFiles:
    """Hashes by path, for as long as size, times and inode of the file stay what they were. The time of the inode's
    last change is among them, which no program sets: a file that a copier which keeps times put there is another.

    Args:
        journal: the JSON file that keeps them. Where it can't be read or written, files are hashed again; of two
            processes that write it at once, one may lose what it found.
    """

    def __init__(self, journal: Path):
        self.journal = journal
        self._known: dict[str, list[int | str]] = (read_json(journal, "files") or {"files": {}})["files"]
        self._new: dict[str, list[int | str]] = {}

    def get(self, path: Path) -> str | None:
        """The hash of a file that hasn't changed since it was put here."""
        path = os.path.abspath(path)
        found = self._new.get(path, self._known.get(path))
        return found[-1] if found is not None and found[:-1] == file_state(path) else None

    def hash_of(self, path: Path) -> str:
        """The XXH3 hash of a file, which is read where it isn't known. Raises OSError."""
        found = self.get(path)
        if found is None:
            state = file_state(path)
            found = content_hash(path)
            self.put(path, found, state)
        return found

    def put(self, path: Path, digest: str, read: list[int] | None = None) -> None:
        """The hash of what a file holds, which was read just now.

        Args:
            read: the state of the file before it was read; of one that has changed since nothing is kept.
        """
        state = file_state(path)
        if read in (None, state) and time.time_ns() - state[1] > _SETTLED:
            self._new[os.path.abspath(path)] = [*state, digest]

    def save(self) -> None:
        """Writes what is new, beside what others have written since."""
        if not self._new:
            return
        there = (read_json(self.journal, "files") or {"files": {}})["files"]
        self._known = {**there, **self._known, **self._new}
        self._new = {}
        try:
            write_json(self.journal, {"files": self._known})
        except OSError as error:
            logger.warning("%s can't be written (%s): its files are read again at the next start", self.journal, error)


def file_state(path: str | Path) -> list[int]:
    """What of a file is other once it has been written or replaced. Raises OSError."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


__all__ = ["SeenFiles", "file_state"]
