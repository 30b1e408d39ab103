"""Modules of other packages that others import and a command hardly ever uses: they are imported once they are used.

transformers' Trainer imports torch's compiler with a computer algebra system, torch's tensors spread over processes,
scipy's optimisers, datasets with pandas, and peft, for a few names: that takes longer than torch and transformers do.
Within a command, a stand-in gives these names in place of the module:

- a class, of which nothing is an instance before the module is imported;
- a function that imports it when it is called;
- for the compiler, which nothing has used yet: a border between graphs, which does nothing; a mark on a function,
  which is made once the compiler is there.

Whatever else is asked of a stand-in, a submodule too, imports the module itself, and all modules of its package are
themselves from then on. The names that were given go on to the real ones. Nothing but the time is different.
"""

import functools
import importlib
import os
import sys
from collections.abc import Callable
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.machinery import PathFinder
from types import FunctionType
from types import ModuleType
from typing import Any

CLASS, VALUE, FUNCTION, BORDER, MARK, NOTE = "class", "value", "function", "border", "mark", "note"
_TENSORS = "torch.distributed.tensor"
NAMES: dict[str, dict[str, str]] = {
    "peft": {"PeftModel": CLASS, "PeftMixedModel": CLASS},
    "datasets": {"Dataset": CLASS, "IterableDataset": CLASS},
    "scipy.optimize": {"linear_sum_assignment": FUNCTION},
    "torch._dynamo": {"graph_break": BORDER, "disable": MARK, "allow_in_graph": NOTE, "assume_constant_result": NOTE},
    "torch._dynamo.eval_frame": {"OptimizedModule": CLASS},
    "torch._dynamo._trace_wrapped_higher_order_op": {"TransformGetItemToIndex": CLASS},
    _TENSORS: {"DTensor": CLASS, "Partial": VALUE, "Replicate": VALUE, "Shard": VALUE, "distribute_tensor": FUNCTION},
    f"{_TENSORS}.placement_types": {"Shard": VALUE, "_StridedShard": VALUE},
    f"{_TENSORS}._utils": {"compute_local_shape_and_global_offset": FUNCTION},
    "torch.distributed.checkpoint": {},
    "torch.distributed.checkpoint.hf_storage": {"HuggingFaceStorageReader": CLASS, "HuggingFaceStorageWriter": CLASS},
    "torch.distributed._composable": {},
    "torch.distributed._composable.fsdp": {"fully_shard": FUNCTION},
    "torch.distributed.fsdp": {
        "CPUOffloadPolicy": CLASS,
        "FullyShardedDataParallel": CLASS,
        "MixedPrecisionPolicy": CLASS,
    },
    "torch.distributed.fsdp.fully_sharded_data_parallel": {"FullyShardedDataParallel": CLASS},
}
"""What the stand-in of each module gives; what is in one is in it by its name here alone."""

_SCANNING, _SCAN = "transformers.utils.import_utils", "create_import_structure_from_path"

_noted: list[tuple[str, str, Callable]] = []  # functions that a module is to be told of, once it is imported


def _package(module: str) -> str:
    return module.partition(".")[0]


def _there(module: str, name: str) -> Any:
    """What a module that has been imported calls so; None before."""
    found = sys.modules.get(module)
    return None if found is None or isinstance(found, _StandIn) else getattr(found, name, None)


def _real(module: str, name: str) -> Any:
    """What a module calls so, which is imported for it."""
    for finder in sys.meta_path:
        if isinstance(finder, _Finder):
            finder.leave(_package(module))
    return getattr(importlib.import_module(module), name)


class _LaterClass(type):
    """A class of a module that may not be imported yet: its instances are those of the real one."""

    def __new__(meta, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> type:
        if not bases:
            return super().__new__(meta, name, bases, members)
        found = tuple(_real(*base._place) if isinstance(base, _LaterClass) else base for base in bases)
        return type(found[0])(name, found, members)

    def __instancecheck__(cls, instance: Any) -> bool:
        real = _there(*cls._place)
        return real is not None and isinstance(instance, real)

    def __subclasscheck__(cls, other: type) -> bool:
        real = _there(*cls._place)
        return other is cls or (real is not None and issubclass(other, real))

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        real = _there(*cls._place) if cls._is_value else _real(*cls._place)
        return _LaterValue(cls._place, args, kwargs) if real is None else real(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(*cls._place), name)


class _LaterValue:
    """An instance of such a class, which is made when it is asked for anything."""

    def __init__(self, place: tuple[str, str], args: tuple, kwargs: dict[str, Any]):
        self._make = functools.cache(lambda: _real(*place)(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._make(), name)

    @property
    def __class__(self) -> type:
        return type(self._make())


def _later(module: str, name: str, kind: str) -> Any:
    """What stands for a name of a module until that is imported, and goes on to the real one then."""

    def function(*args: Any, **kwargs: Any) -> Any:
        return _real(module, name)(*args, **kwargs)

    def border(*args: Any, **kwargs: Any) -> Any:
        real = _there(module, name)
        return None if real is None else real(*args, **kwargs)

    def note(noted: Callable) -> Callable:
        if (real := _there(module, name)) is not None:
            return real(noted)
        if not isinstance(noted, FunctionType):
            return _real(module, name)(noted)
        _noted.append((module, name, noted))
        return noted

    def mark(marked: Callable | None = None, *args: Any, **kwargs: Any) -> Callable:
        if marked is None:
            return lambda function: mark(function, *args, **kwargs)
        if _there(module, name) is not None or not isinstance(marked, FunctionType):
            return _real(module, name)(marked, *args, **kwargs)
        found: list[Callable] = []

        @functools.wraps(marked)
        def unmarked(*given: Any, **named: Any) -> Any:
            if not found:
                real = _there(module, name)
                if real is None:
                    return marked(*given, **named)
                found.append(real(marked, *args, **kwargs))
            return found[0](*given, **named)

        return unmarked

    if kind in (CLASS, VALUE):
        return _LaterClass(name, (), {"__module__": module, "_place": (module, name), "_is_value": kind == VALUE})
    made = {FUNCTION: function, BORDER: border, NOTE: note, MARK: mark}[kind]
    made.__name__ = made.__qualname__ = name
    return made


class _StandIn(ModuleType):
    """A module that is not imported yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self and f"{self.__name__}.{name}" in NAMES:
            return importlib.import_module(f"{self.__name__}.{name}")
        return _real(self.__name__, name)


class _StandInLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        for name, kind in NAMES[module.__name__].items():
            setattr(module, name, _later(module.__name__, name, kind))


class _ThereLoader(Loader):
    """Gives a module that has been imported while it was looked for."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = sys.modules[spec.name]
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


def _remembering(spec: ModuleSpec | None) -> ModuleSpec | None:
    """Of transformers' module that reads all files of its models, to find out what is where: it does so twice, since
    it remembers 128 folders of five hundred. Here it remembers all."""
    if spec is not None and hasattr(spec.loader, "exec_module"):
        run = spec.loader.exec_module

        def run_and_remember(module: ModuleType) -> None:
            run(module)
            scan = getattr(module, _SCAN, None)
            if hasattr(scan, "cache_parameters") and hasattr(scan, "__wrapped__"):
                setattr(module, _SCAN, functools.lru_cache(maxsize=None)(scan.__wrapped__))

        spec.loader.exec_module = run_and_remember
    return spec


class _Finder(MetaPathFinder):
    """Finds stand-ins, in packages that have not been asked for what they don't give.

    Args:
        packages: whose modules are imported when they are used.
    """

    def __init__(self, packages: set[str]):
        self.packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of a stand-in; None of what is imported now."""
        if name == _SCANNING:
            return _remembering(PathFinder.find_spec(name, path))
        if _package(name) not in self.packages:
            return None
        if name not in NAMES:
            if isinstance(sys.modules.get(name.rpartition(".")[0]), _StandIn):
                self.leave(_package(name))
                importlib.import_module(name.rpartition(".")[0])
                return ModuleSpec(name, _ThereLoader()) if name in sys.modules else None
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        found = ModuleSpec(name, _StandInLoader(), origin=spec.origin)
        found.submodule_search_locations = spec.submodule_search_locations
        return found

    def leave(self, package: str) -> None:
        """From now on the modules of a package are imported as they are asked for."""
        if package not in self.packages:
            return
        self.packages.discard(package)
        for name in [name for name in NAMES if _package(name) == package]:
            if isinstance(stand_in := sys.modules.get(name), _StandIn):
                del sys.modules[name]
                parent, _, attribute = name.rpartition(".")
                if vars(sys.modules.get(parent, stand_in)).get(attribute) is stand_in:
                    delattr(sys.modules[parent], attribute)
        for noted in [noted for noted in _noted if _package(noted[0]) == package]:
            _noted.remove(noted)
            module, name, function = noted
            getattr(importlib.import_module(module), name)(function)


def import_when_used() -> None:
    """From now on, the modules of NAMES are imported when they are used; not those of packages of which one is there,
    nor torch's in one of several processes, which use them."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    packages = {_package(name) for name in NAMES} - {_package(name) for name in NAMES if name in sys.modules}
    if os.environ.get("WORLD_SIZE", "1") != "1":
        packages.discard("torch")
    sys.meta_path.insert(0, _Finder(packages))


def import_at_once() -> None:
    """From now on they are imported as they are asked for. What others hold of stand-ins goes on to the real ones."""
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _Finder)]:
        for package in sorted(finder.packages):
            finder.leave(package)
        sys.meta_path.remove(finder)


__all__ = ["NAMES", "import_at_once", "import_when_used"]
