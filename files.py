"""Files and folders that are written whole or not at all, however the process or the machine ends meanwhile.

What is being written is called `.NAME.PROCESS.temporary`, lies beside its place, reaches the disk, and is then
renamed. So a kill leaves what was there before, and something that is known by its name and taken away by whoever
writes there next. What is read was perhaps torn or changed by others: it is read as nothing, for the reader to say and
to mend.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import xxhash

from .errors import InputError

TEMPORARY = ".temporary"


def write_whole(path: Path, write: Callable[[str], object], synced: bool = True) -> None:
    """Lets `write` fill a temporary file, then renames it to `path`: readers see the old file, or all of the new.

    Args:
        synced: whether it holds where the machine goes down, too, and not the process alone.
    """
    _remove_stale(path)
    temporary = _temporary(path)
    try:
        write(str(temporary))
        if synced:
            _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8, whole or not at all."""
    write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2))


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill, beside `path`. Without an error it takes the place of `path`, and of what is there.

    Its parent is made.
    """
    with staging(path) as temporary:
        yield temporary
        replace_folder(temporary, path)


@contextlib.contextmanager
def staging(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, gone at the end with what is then still in it. Its parent is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(source: Path, path: Path) -> None:
    """Renames a folder that is complete to `path`, once all of it has reached the disk; what was there goes."""
    for file in source.rglob("*"):
        if file.is_file():
            _sync(file)
    if path.exists():
        old = _temporary(path.with_name(f"{path.name}.old"))
        os.rename(path, old)
        os.rename(source, path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(source, path)


def link_or_copy(source: Path, target: str | Path) -> None:
    """The same content as a file of another name, which is not there yet; at no cost where the file system can."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def remove_temporary(folder: Path) -> None:
    """Removes what killed processes were writing anywhere in a folder: for who alone writes there."""
    for path in [*folder.rglob(f"*{TEMPORARY}")]:
        _remove(path)


def read_json(path: Path, *keys: str) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or it is torn, or lacks one of `keys`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.keys() >= set(keys) else None


def content_hash(path: Path) -> str:
    """Of a file's bytes (XXH3, 128 bits): tells damage, at the speed of the disk."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def is_of_the_disk(error: BaseException) -> bool:
    """Whether a file could not be read or written, in whatever words the libraries say it.

    torch and tokenizers raise errors of no particular type where the disk is full.
    """
    if isinstance(error, OSError | InputError):
        return isinstance(error, OSError)
    text = str(error)
    said = ("No space left on device", "Disk quota exceeded", "File too large", "(os error ", "inline_container.cc")
    return type(error).__name__ == "SafetensorError" or any(each in text for each in said)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")


def _remove_stale(path: Path) -> None:
    """Removes what processes that are no more were writing as `path`."""
    prefix = f".{path.name}."
    with contextlib.suppress(OSError):
        for found in [*path.parent.iterdir()]:
            owner = found.name.removeprefix(prefix).removesuffix(TEMPORARY).removeprefix("old.")
            if found.name.startswith(prefix) and found.name.endswith(TEMPORARY) and owner.isdecimal():
                # One of this number is left by an earlier container: its processes count from 1 as this one's.
                if int(owner) == os.getpid() or not psutil.pid_exists(int(owner)):
                    _remove(found)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Waits until a file is on the disk. Raises OSError where it can't be: some say only now that they are full."""
    with open(path, "rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that can't say
                raise


__all__ = [
    "TEMPORARY", "content_hash", "is_of_the_disk", "link_or_copy", "read_json", "remove_temporary",
    "replace_folder", "staging", "whole_folder", "write_json", "write_text", "write_whole",
]  # fmt: skip
