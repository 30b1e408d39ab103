"""The layout: what stands where, who imports whom, and how long things are. Read from the files; nothing is imported.

The one sentence: what stands flat in the root travels to the Hub with a model, or is a door, or is the trainer and its
packer, or one of a few ground files; everything else has a room.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

DOORS = {"__init__", "__main__", "run_emomm", "app", "extract_features", "convert_emotion2vec"}
TRAVELS = {
    "answers", "checksums", "compressed_audio", "configuration_emomm", "configuration_emotion2vec", "data_collator",
    "encoder_layers", "fusions", "held_encoders", "losses", "modalities", "modeling_emomm", "modeling_emotion2vec",
    "own_files", "pipeline_emomm", "processing_emomm", "saliency", "sample_scale", "speech_encoders",
    "speech_features", "speech_layers", "text_layers", "transcribing", "travelling", "utterances", "voice_activity",
    "waveforms",
}  # fmt: skip
GROUND = {
    "choices", "cores", "errors", "files", "hub_access", "importing", "interruption", "job_folder", "lazy_modules",
    "markup", "processes", "registry", "text_columns",
}  # fmt: skip
TRAINER = {"curriculum_trainer", "optimizer_groups", "exporting", "tuning"}

# Room -> which it may import besides itself and the ground; `travels` are the files that go to the Hub. A room stands
# above all that it imports, so that none of these leads back.
MAY_IMPORT = {
    "travels": set(),
    "settings": set(),
    "features": {"travels"},
    "curriculum": set(),
    "resuming": set(),
    "emotion2vec": {"travels"},
    "demo": {"travels"},
    "corpora": {"features", "travels"},
    "evaluation": {"settings"},
    "floors": {"evaluation"},
    "optimizer_groups": {"curriculum", "travels"},
    "curriculum_trainer": {"curriculum", "resuming", "evaluation", "optimizer_groups", "travels"},
    "tuning": {"travels"},
    "exporting": {"features", "travels", "tuning"},
    "recordings": {"features", "corpora", "travels"},
    "extraction": {"corpora", "recordings", "travels"},
    "audit": {"evaluation", "corpora", "features"},
    "reporting": {"evaluation", "floors", "corpora", "audit"},
    "tracking": {"settings", "features", "evaluation", "reporting"},
    "inference": {"corpora", "evaluation", "features", "recordings", "travels"},
    "stacking": {
        "features", "curriculum", "resuming", "evaluation", "curriculum_trainer", "optimizer_groups", "travels",
    },
    "experiments": {
        "settings", "features", "curriculum", "resuming", "corpora", "evaluation", "floors", "curriculum_trainer",
        "stacking", "exporting", "reporting", "tracking", "recordings", "travels", "tuning", "audit",
    },
    "engines": {"settings", "corpora", "experiments"},
    "search": {
        "settings", "corpora", "curriculum_trainer", "evaluation", "experiments", "engines", "reporting",
    },
    "sharing": {
        "settings", "features", "corpora", "evaluation", "floors", "exporting", "reporting", "recordings",
        "experiments", "travels",
    },
    "cli": {
        "settings", "features", "corpora", "evaluation", "reporting", "experiments", "inference", "recordings",
        "extraction", "demo", "emotion2vec", "sharing", "travels", "audit", "engines", "search",
    },
}  # fmt: skip
BESIDE = {"recipes", "sample_data", "docs", "benchmarks", "scripts", "tests", "build", "dist"}
LINES, LINES_OF_FUNCTION = 450, 60


def package_files() -> list[Path]:
    """The files of the package, from its root."""
    rooms = [path.parent for path in ROOT.glob("*/__init__.py")]
    found = [*ROOT.glob("*.py"), *(path for room in rooms for path in room.rglob("*.py"))]
    return sorted(path.relative_to(ROOT) for path in found)


FILES = package_files()
ROOMS = {path.parent.parts for path in FILES if path.name == "__init__.py" and len(path.parts) > 1}
MODULES = {path.with_suffix("").parts for path in FILES} | ROOMS


def place_of(parts: tuple[str, ...]) -> str:
    """`settings/values.py` or `settings.values` -> the room, or what a flat file is."""
    if len(parts) > 1 or parts in ROOMS:
        return parts[0]
    for place, names in (("doors", DOORS), ("travels", TRAVELS), ("ground", GROUND)):
        if parts[0] in names:
            return place
    return parts[0]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, module from the root) of each import of ours, also within functions; not those for types alone."""
    tree = tree_of(path)
    for_types = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and isinstance(branch.test, ast.Name) and branch.test.id == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    here = path.parts[:-1]
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node in for_types:
            continue
        named = tuple(node.module.split(".")) if node.module else ()
        if node.level:
            base = (*here[: len(here) - node.level + 1], *named)
        elif named[:1] == ("emomm",):
            base = named[1:]
        else:
            continue
        for alias in node.names:
            module = (*base, alias.name)
            if module in MODULES:
                yield node.lineno, module
            elif base:
                yield node.lineno, base


@cache
def arrows() -> list[tuple[str, str, str]]:
    """(from, to, where) between different rooms."""
    return [
        (place_of(path.with_suffix("").parts), place_of(module), f"{path}:{line} imports {'.'.join(module)}")
        for path in FILES
        for line, module in imported(path)
        if place_of(module) != place_of(path.with_suffix("").parts)
    ]


def test_root_holds_what_the_sentence_allows():
    flat = {path.stem for path in FILES if len(path.parts) == 1}
    assert not flat - DOORS - TRAVELS - GROUND - TRAINER
    folders = {path.name for path in ROOT.iterdir() if any(path.glob("*.py")) or any(path.glob("*/*.py"))}
    folders = {name for name in folders if not name.startswith(".")}
    assert not folders - BESIDE - MAY_IMPORT.keys()


def test_travels_is_what_is_written_beside_a_model():
    written = set()
    for name in ("travelling.py", "emotion2vec/conversion.py"):
        for node in tree_of(Path(name)).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CODE":
                written |= {file.removesuffix(".py") for file in ast.literal_eval(node.value)}
    there = {path.stem for path in FILES if len(path.parts) == 1}
    assert written == TRAVELS & there


def test_no_import_against_the_table():
    doors = {"doors": set(MAY_IMPORT)}
    table = {**MAY_IMPORT, **doors, "ground": set()}
    wrong = [where for place, target, where in arrows() if target not in {"ground", *table[place]}]
    assert not wrong, "\n".join(wrong)


def test_no_circle():
    """Whatever the table says: between rooms as they are, with the ground as one of them."""
    after: dict[str, set[str]] = {}
    for place, target, _ in arrows():
        after.setdefault(place, set()).add(target)
    while after:
        ends = [place for place in after if not after[place] & after.keys()]
        assert ends, f"a circle among {sorted(after)}"
        for place in ends:
            del after[place]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_fits(path):
    """A module has one job, and a function fits on a screen."""
    text = (ROOT / path).read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= LINES, f"{path} has {lines} lines"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            length = node.end_lineno - first + 1
            assert length <= LINES_OF_FUNCTION, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_one_place_knows_the_predictions_file():
    """The rows of a run come from evaluation/predictions.py: nobody else reads or writes parquet there."""
    rooms = {"evaluation", "floors", "experiments", "reporting", "tracking", "inference", "sharing"}
    reading = set()
    for path in (path for path in FILES if path.parts[0] in rooms):
        for node in ast.walk(tree_of(path)):
            named = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            reading |= {str(path) for name in named if name.startswith("pyarrow.parquet")}
    assert reading == {"evaluation/predictions.py"}


# Beside a Space's app.py the page stands without the package.
OUTSIDE = {"job_folder.py", "demo/page.py"}


def names_in_a_job() -> set[str]:
    """The names that job_folder.py gives to files."""
    strings = {node.value for node in ast.walk(tree_of(Path("job_folder.py"))) if isinstance(node, ast.Constant)}
    return {name for name in strings if isinstance(name, str) and re.fullmatch(r"\w+\.[a-z]+", name)}


def test_what_lies_where_in_a_job_is_said_once():
    """No other file spells the name of a job's file, nor that of a seed's folder."""
    names, wrong = names_in_a_job(), []
    assert names >= {"results.json", "settings.json", "run.json", "metrics.json", "predictions.parquet"}
    for path in FILES:
        for node in ast.walk(tree_of(path)) if str(path) not in OUTSIDE else ():
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.JoinedStr):
                first = node.right.values[0]
                if isinstance(first, ast.Constant) and str(first.value).startswith("seed-"):
                    wrong.append(f"{path}:{node.lineno} spells the folder of a seed")
            elif isinstance(node, ast.Constant) and node.value in names:
                wrong.append(f"{path}:{node.lineno} spells {node.value}")
    assert not wrong, "\n".join([*wrong, "see job_folder.py"])


def test_a_command_is_a_module():
    """`emomm NAME` is `command` of cli/NAME.py; cli/main.py names each, and imports it only when it is given."""
    from emomm.cli.main import COMMANDS

    for name in COMMANDS:
        functions = {
            node.name for node in tree_of(Path("cli") / f"{name}.py").body if isinstance(node, ast.FunctionDef)
        }
        assert "command" in functions, name
    assert not {module[1] for _, module in imported(Path("cli/main.py")) if module[0] == "cli"} & COMMANDS.keys()


def test_rooms_say_their_one_job():
    """An `__init__.py` is a line of text, so that importing a room imports nothing."""
    for room in sorted({path.parent for path in FILES if len(path.parts) > 1}):
        body = tree_of(room / "__init__.py").body
        assert len(body) == 1 and ast.get_docstring(tree_of(room / "__init__.py")), room


def test_setup_lists_all_rooms():
    rooms = {".".join(("emomm", *path.parent.parts)) for path in FILES if path.name == "__init__.py"}
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    listed = text.partition("\npackages =\n")[2].partition("\npackage_dir")[0].split()
    assert set(listed) == rooms


def test_tests_have_different_names():
    """pytest takes one test file of a name."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})
