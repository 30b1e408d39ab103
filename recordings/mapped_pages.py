"""Pages of memory-mapped files, given back: what was read of a large data set stays in the system's cache alone."""

import ctypes
import os
from collections.abc import Collection
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_DONTNEED = 4  # of madvise(2): read again from the file when it is looked at


def release_maps(files: Collection[str]) -> None:
    """Lets go of what this process has read of files that it has mapped; where the system can't tell, of nothing.

    Args:
        files: paths of files that nobody writes through a map.
    """
    paths = {os.path.realpath(file) for file in files}
    if not paths or not _MAPS.exists():
        return
    advise = ctypes.CDLL(None).madvise
    for line in _MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        place, rights, *_, path = line.split(maxsplit=5) if line.count(" ") > 5 else (line, "", "")
        if path in paths and "w" not in rights:
            first, last = (int(part, 16) for part in place.split("-"))
            advise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _DONTNEED)


__all__ = ["release_maps"]
