"""A user's own file beside the package's, a fusion or a modality, and the code that comes with models. Travels to the
Hub, as such a file does."""

import ast
import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from filelock import Timeout

logger = logging.getLogger(__name__)

_SECONDS_UNTIL_SAID = 5.0


def load_own_file(path: str | Path, setting: str) -> str:
    """Runs a user's file as a module beside this one, so that `from .fusions import register_fusion` works in it here
    and on the Hub. Returns the module's name.

    Args:
        path: of the file.
        setting: that names it, for the message.

    Raises ValueError where the file's name can't be a module's, or is one of the files that travel with a model; and
    whatever the file raises.
    """
    path = Path(path)
    if not path.stem.isidentifier() or path.stem in {
        found.stem
        for found in Path(__file__).parent.iterdir()
        if found.suffix == ".py" or (found / "__init__.py").is_file()  # files, and rooms
    }:
        raise ValueError(f"{setting}={path.name!r} needs another name: letters, digits and _, and none of EmoMM's")
    name = f"{__package__}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return path.stem


@contextmanager
def code_of_models() -> Iterator[None]:
    """In its body, no other process that asks for the same copies or imports the code that comes with models.

    transformers copies it, file by file, into one folder for all processes of a user, and imports it from there: of
    two that load a model for the first time, one would now and then import what the other is writing.
    """
    from transformers import dynamic_module_utils  # here, as an ONNX model is used without

    folder = Path(dynamic_module_utils.HF_MODULES_CACHE)
    lock = FileLock(folder / ".emomm.lock", is_singleton=True)  # one within another is no deadlock
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=_SECONDS_UNTIL_SAID)
        except Timeout:
            logger.info("waiting for another process that loads the code of a model (%s)", lock.lock_file)
            lock.acquire()
    except (OSError, NotImplementedError):  # nothing can be written there, or locked: it is as without
        pass
    try:
        importlib.invalidate_caches()  # what another process has written meanwhile is seen
        yield
    finally:
        lock.release()


def own_file(name: str) -> Path | None:
    """The file that was run as the module `name`; None where none was."""
    module = sys.modules.get(f"{__package__}.{name}")
    return None if module is None else Path(module.__file__)


def as_it_travels(source: str) -> str:
    """The file with its imports of this package as a model's files have them: `from emomm.fusions import Fusion` as
    `from .fusions import Fusion`, and of `from emomm import Fusion` each name from the module that it is in."""
    lines = source.splitlines(keepends=True)
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    for node in sorted(found, key=lambda node: -node.lineno):  # from the end, so that the lines keep their numbers
        module = node.module or ""
        if node.level or module.split(".")[0] != "emomm":
            continue
        indent = " " * node.col_offset
        written = []
        for alias in node.names:
            home = module.partition(".")[2] or _home(alias.name)
            renamed = f" as {alias.asname}" if alias.asname else ""
            written.append(f"{indent}from .{home} import {alias.name}{renamed}\n")
        lines[node.lineno - 1 : node.end_lineno] = written
    return "".join(lines)


def _home(name: str) -> str:
    """The module that a name of `from emomm import name` is in."""
    return getattr(sys.modules[__package__], "_MODULE_OF", {}).get(name, "fusions")


__all__ = ["as_it_travels", "code_of_models", "load_own_file", "own_file"]
