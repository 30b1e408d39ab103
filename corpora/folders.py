"""The files of a folder, as every reader of folders here sees them: without what is hidden or the system's own."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

ENDINGS = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .w64 .rf64 .caf .sph "
    ".m4a .m4b .aac .wma .amr .3gp .mka .webm".split()
)
"""Of files that are recordings; those that can't be read are listed as such, not passed over."""
VIDEOS = frozenset(".mp4 .m4v .mkv .mov .avi .mpg .mpeg .wmv .flv".split())
"""Of files whose sound is taken where a folder holds no recordings: beside some, they are mostly the same."""

# Of the systems and programs that leave them: macOS' archives, every disk's own (its owner's alone to read), Windows'
# and network drives' bins and previews. They hold copies of what was there, or nothing.
_NOT_OURS = frozenset({"__macosx", "lost+found", "$recycle.bin", "system volume information", "@eadir"})


def passed_over(name: str) -> bool:
    """Whether a file or folder of that name is hidden (`.ipynb_checkpoints`, `.Trash-0`, `._x.parquet`) or the
    system's own."""
    return name.startswith(".") or name.lower() in _NOT_OURS


def walked(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(a folder, the names of its files) for `folder` and all below it, by name; nothing where it isn't there. Links
    are followed, each folder once; what `passed_over` is passed over, whatever `folder` itself is called.

    Raises:
        InputError: a folder that can't be read.
    """

    def refuse(error: OSError) -> None:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        if not (missing and error.filename == os.fspath(folder)):
            raise InputError(
                f"cannot read the folder {error.filename}: {error.strerror}; make it readable, or move it away, as "
                "there may be data in it"
            ) from error

    seen = set()
    for parent, folders, names in os.walk(os.fspath(folder), followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not passed_over(name))
        yield parent, sorted(name for name in names if not passed_over(name))


__all__ = ["ENDINGS", "VIDEOS", "passed_over", "walked"]
