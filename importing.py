"""What makes a command start sooner: importing what it needs, and at one go.

transformers' Trainer imports peft, which takes as long as torch, for two of its classes: it asks whether a model is
one of them. None can be before peft is imported; until then others stand for them, and whoever imports peft gets peft.
"""

import contextlib
import gc
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_PACKAGE = "peft"
_CLASSES = ("PeftModel", "PeftMixedModel")
_MANY = 100  # modules


class _NotYet(type):
    """A class of a package that may not be imported yet: its instances are those of the real one."""

    def __instancecheck__(cls, instance: Any) -> bool:
        real = getattr(sys.modules.get(_PACKAGE), cls.__name__, None)
        return real is not None and isinstance(instance, real)


class _StandIn(ModuleType):
    """The package while the Trainer is imported. Any other name of it is asked of peft itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_PACKAGE) is self:
            del sys.modules[_PACKAGE]
        return getattr(importlib.import_module(_PACKAGE), name)


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
    """Imports `transformers.trainer`, without peft where no one has imported that yet."""
    spec = None if _PACKAGE in sys.modules else importlib.util.find_spec(_PACKAGE)
    if spec is None:
        importlib.import_module("transformers.trainer")
        return
    stand_in = _StandIn(_PACKAGE)
    stand_in.__spec__ = spec
    for name in _CLASSES:
        setattr(stand_in, name, _NotYet(name, (), {}))
    sys.modules[_PACKAGE] = stand_in
    try:
        importlib.import_module("transformers.trainer")
    except ImportError:  # of a transformers that asks for more of it, such as its modules
        sys.modules.pop(_PACKAGE)
        importlib.import_module("transformers.trainer")
    finally:
        if sys.modules.get(_PACKAGE) is stand_in:
            del sys.modules[_PACKAGE]


__all__ = ["at_one_go", "import_trainer"]
