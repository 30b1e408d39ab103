"""What makes a command start sooner: importing what it needs, and at one go."""

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator

from .lazy_modules import import_at_once

_MANY = 100  # modules


@contextlib.contextmanager
def at_one_go() -> Iterator[None]:
    """Within, nothing is collected: what is imported stays, and to look through it again and again takes a sixth of
    the time. Afterwards collections pass over it."""
    collected, there = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) - there > _MANY:
            gc.freeze()
        if collected:
            gc.enable()


def import_trainer() -> None:
    """Imports `transformers.trainer`, and what it takes a few names of once it is used (`lazy_modules`)."""
    try:
        importlib.import_module("transformers.trainer")
    except Exception:  # noqa: BLE001 of versions that take something else for what it is: all is imported as ever
        import_at_once()
        importlib.import_module("transformers.trainer")


__all__ = ["at_one_go", "import_trainer"]
