"""What stands for modules until they are used, with a package made here; of commands: test_importing.py."""

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from types import SimpleNamespace

import pytest

from emomm import lazy_modules

MADE = {
    "__init__": """
from . import inner
told, marked = [], []
class Thing:
    made_by = "the real one"
    def __init__(self, size): self.size = size
def work(x): return 2 * x
def border(): marked.append("border")
def mark(function, why=None):
    marked.append((function, why))
    return lambda *args: ("marked", function(*args))
def note(function):
    told.append(function)
    return function
""",
    "inner": "class Inner: pass\nother = 7",
    "free": "import made_later; seen = made_later.told",
}
NAMES = {
    "made_later": {
        "Thing": lazy_modules.CLASS,
        "work": lazy_modules.FUNCTION,
        "border": lazy_modules.BORDER,
        "mark": lazy_modules.MARK,
        "note": lazy_modules.NOTE,
    },
    "made_later.inner": {"Inner": lazy_modules.VALUE},
    "made_later.missing": {},
}


@pytest.fixture
def later(tmp_path, monkeypatch) -> Iterator[ModuleType]:
    """The stand-in of a package that lies on the disk; its modules are forgotten afterwards."""
    (tmp_path / "made_later").mkdir()
    for name, text in MADE.items():
        (tmp_path / "made_later" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(lazy_modules, "NAMES", NAMES)
    monkeypatch.setattr(lazy_modules, "_noted", [])
    finders = [finder for finder in sys.meta_path if not isinstance(finder, lazy_modules._Finder)]
    monkeypatch.setattr(sys, "meta_path", finders)
    lazy_modules.import_when_used()
    yield importlib.import_module("made_later")
    for name in [name for name in sys.modules if name.partition(".")[0] == "made_later"]:
        del sys.modules[name]


def is_imported() -> bool:
    return "told" in vars(sys.modules["made_later"])


def test_nothing_is_an_instance_of_a_class_before_it_is_imported(later):
    thing = later.Thing
    assert not isinstance(object(), thing) and not issubclass(dict, (str, thing)) and issubclass(thing, thing)
    assert thing | None and not is_imported()
    made = thing(3)
    assert is_imported() and made.size == 3 and type(made) is sys.modules["made_later"].Thing is not thing
    assert isinstance(made, thing) and isinstance(made, (int, thing)) and issubclass(type(made), thing)
    assert not isinstance(object(), thing)


def test_a_class_is_asked_for_what_the_real_one_has(later):
    thing = later.Thing
    with pytest.raises(AttributeError):
        _ = thing.__no_such_thing__
    assert not is_imported()
    assert thing.made_by == "the real one" and is_imported()


def test_a_class_made_of_it_is_made_of_the_real_one(later):
    class Mine(later.Thing):
        def __init__(self):
            super().__init__(5)

    assert Mine.__bases__ == (sys.modules["made_later"].Thing,) and Mine().size == 5


def test_a_function_imports_what_it_is_of(later):
    work = later.work
    assert not is_imported()
    assert work(4) == 8 and is_imported() and sys.modules["made_later"].work is not work


def test_other_names_are_asked_of_the_module_itself(later):
    with pytest.raises(AttributeError):
        _ = later.__path_of_nothing__
    assert not is_imported()
    assert later.told == [] and is_imported()
    assert importlib.import_module("made_later") is sys.modules["made_later"] is not later
    with pytest.raises(AttributeError):
        _ = later.no_such_name


def test_submodules(later):
    """One that is listed has a stand-in; another one is imported, once, after the package itself."""
    inner = later.inner
    assert importlib.import_module("made_later.inner") is inner and not is_imported()
    value = inner.Inner()
    assert not is_imported()
    free = importlib.import_module("made_later.free")
    made = sys.modules["made_later"]
    assert is_imported() and free.seen is made.told and made.free is free
    assert made.inner is sys.modules["made_later.inner"] is not inner and made.inner.other == inner.other == 7
    assert isinstance(value, made.inner.Inner) and isinstance(value, inner.Inner)
    assert type(inner.Inner()) is made.inner.Inner


def test_a_submodule_that_its_package_imports_is_imported_once(later, monkeypatch):
    monkeypatch.setattr(lazy_modules, "NAMES", {"made_later": NAMES["made_later"]})
    inner = importlib.import_module("made_later.inner")
    assert inner is sys.modules["made_later"].inner is sys.modules["made_later.inner"]
    assert inner.__spec__.loader is inner.__loader__ and inner.__spec__.origin == inner.__file__


def test_what_is_not_there_is_not_found(later):
    for name in ("made_later.missing", "made_later.nor_this"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_what_is_no_function_is_marked_at_once(later):
    calls = []
    plain = later.mark(calls.append, why="not asked")  # no function: the real one takes it
    assert is_imported() and plain(1) == ("marked", None) and calls == [1]


def test_marks_are_made_once_the_module_is_there(later):
    def double(x):
        return 2 * x

    marked, decorated = later.mark(double, why="slow"), later.mark(None, why="also")(double)
    assert later.note(double) is double and later.border() is None
    assert marked(2) == decorated(2) == 4 and marked.__wrapped__ is double and not is_imported()
    lazy_modules.import_at_once()
    made = sys.modules["made_later"]
    assert is_imported() and made.told == [double] and made.marked == []
    assert marked(2) == ("marked", 4) == marked(2) and decorated(3) == ("marked", 6)
    assert made.marked == [(double, "slow"), (double, "also")]
    later.border()
    assert made.marked[-1] == "border"


def test_what_is_imported_is_left_as_it_is(later, monkeypatch):
    lazy_modules.import_at_once()
    assert not any(isinstance(finder, lazy_modules._Finder) for finder in sys.meta_path)
    real = importlib.import_module("made_later")
    lazy_modules.import_when_used()
    lazy_modules.import_when_used()
    assert sum(isinstance(finder, lazy_modules._Finder) for finder in sys.meta_path) == 1
    assert importlib.import_module("made_later") is real and "told" in vars(real)


def test_one_of_several_processes_imports_what_is_torchs(monkeypatch):
    monkeypatch.setattr(lazy_modules, "NAMES", {"torch.made": {}, "made_later": {}})
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setenv("WORLD_SIZE", "2")
    lazy_modules.import_when_used()
    assert sys.meta_path[0].packages == {"made_later"}


def test_the_models_of_transformers_are_read_once(monkeypatch):
    """The function that reads them remembers too little for all folders; another transformers may have none."""
    from transformers.utils import import_utils

    scan, asked = lazy_modules._SCAN, []
    assert getattr(import_utils, scan).cache_parameters()["maxsize"] in (128, None)
    spec = SimpleNamespace(loader=SimpleNamespace(exec_module=asked.append))
    lazy_modules._remembering(spec).loader.exec_module(module := SimpleNamespace())
    assert asked == [module] and not hasattr(module, scan)
    module = SimpleNamespace(**{scan: import_utils.lru_cache(lambda path: [path])})
    spec.loader.exec_module(module)
    found = [getattr(module, scan)(path) for path in range(200)]
    assert all(getattr(module, scan)(path) is found[path] for path in range(200))
    assert lazy_modules._remembering(None) is None
