"""Tables of functions by name, to which a user's own Python file adds: curricula and protocols."""

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Entry:
    """What stands under a name.

    Args:
        function: what was registered.
        needs: what it is to be given, or allowed, besides what every function of its table is.
        file: where it is from; None for EmoMM's own.
    """

    function: Callable[..., Any]
    needs: tuple[str, ...]
    file: str | None


class Registry:
    """Functions by name. Names of a user's file are known beside that file alone, so that two files can have the same.

    Args:
        kind: what they are, in a word.
        homes: the modules whose functions nobody can replace.
        can_need: what a function may ask for.
    """

    def __init__(self, kind: str, homes: str | tuple[str, ...], can_need: Sequence[str] = ()):
        self.kind, self.can_need = kind, tuple(can_need)
        self.homes = (homes,) if isinstance(homes, str) else homes
        self._entries: dict[str | None, dict[str, Entry]] = {None: {}}  # by file; None: of the running program
        _REGISTRIES.append(self)

    def register(self, name: str, needs: Sequence[str] = ()) -> Callable[[Callable], Callable]:
        """A decorator that puts a function under `name`.

        Raises TypeError for what can't be called, ValueError for an unknown need, or a name that is EmoMM's own.
        """
        if isinstance(needs, str) or not set(needs) <= set(self.can_need):
            raise ValueError(f"needs={needs!r} of the {self.kind} {name!r}: a list of any of {list(self.can_need)}")

        def register(function: Callable) -> Callable:
            if not callable(function):
                raise TypeError(f"the {self.kind} {name!r} must be a function, got {function!r}")
            taken = self._entries[None].get(name)
            if taken is not None and taken.file is None:
                raise ValueError(f"the {self.kind} {name!r} is EmoMM's own: choose another name")
            module = getattr(function, "__module__", "") or ""
            file = None if module in self.homes else getattr(sys.modules.get(module), "__file__", None) or module
            of_file = self._entries.setdefault(file if module.startswith(_OWN) else None, {})
            of_file[name] = Entry(function, tuple(needs), file)
            return function

        return register

    def get(self, name: str, file: str | None = None) -> Entry:
        """What is registered under `name`, by EmoMM, the running program, or a user's `file`.

        Raises ValueError that lists the known names.
        """
        known = {**self._entries[None], **self._entries.get(file, {})}
        if name not in known:
            raise ValueError(f"unknown {self.kind} {name!r}: choose one of {', '.join(known)}")
        return known[name]

    def names(self, file: str | None = None) -> tuple[str, ...]:
        """The names, in the order in which they were registered: those of a file, or those known without one."""
        return tuple(self._entries.get(file, ()))

    def forget(self, file: str) -> None:
        """Takes out what is from a file."""
        self._entries.pop(file, None)


_OWN = f"{__package__}.own_"
_REGISTRIES: list[Registry] = []
_HASHES: dict[str, str] = {}  # of each file that was run, by its path


def load_own(path: str | Path, again: bool = True) -> None:
    """Runs a user's file, which registers what is in it; once for the same content. It is a module of this package, so
    that `from emomm import ...` and `from .curriculum... import ...` both work in it.

    Args:
        path: of the file.
        again: run it again where it has changed. Not while a job runs, which was planned with what was there before.

    Raises whatever the file raises.
    """
    path = str(path)
    if path in _HASHES and not again:
        return
    content = Path(path).read_bytes()
    if _HASHES.get(path) == hashlib.sha256(content).hexdigest():
        return
    for registry in _REGISTRIES:
        registry.forget(path)
    name = f"{_OWN}{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, path))
    sys.modules[name] = module
    # The very content that counts for a run's identity: Python's own cache goes by the second and the size.
    exec(compile(content, path, "exec"), module.__dict__)
    _HASHES[path] = hashlib.sha256(content).hexdigest()


def read_only(values: np.ndarray) -> np.ndarray:
    """The same values, as an array that a user's function can't write to."""
    view = values.view()
    view.flags.writeable = False
    return view


def in_a_line(error: Exception, file: str | None) -> str:
    """An error in a line: of code in a user's `file` with line and type, else its message."""
    message = " ".join(str(error).split())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines, message = [error.lineno], error.msg
    return f"{file}, line {lines[-1]}: {type(error).__name__}: {message}" if lines else message


__all__ = ["Entry", "Registry", "in_a_line", "load_own", "read_only"]
