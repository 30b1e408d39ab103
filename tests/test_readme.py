"""What the README and the pages of docs/ print is run as it is printed; what needs more than a test has says so.

A block that is marked `<!-- needs ... -->` is not run. Its commands are read all the same: by the parsers of their
programs, and recipes with every setting.
"""

import argparse
import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from accelerate.commands.launch import launch_command_parser

from emomm import fusions
from emomm import modalities
from emomm.cli.main import main
from emomm.settings.recipe import load_recipe

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# A README is read whole, or not at all.
LONGEST_README = 9000
SHORT = "--num_epochs 2 --curriculum_epochs 1 --store_dir store --no_report --floors false"
# What the fixture and the tests below run, as it is printed.
IS_RUN = re.compile(r"emomm (run quickstart|report runs/quickstart|predict \S+ emodb_emobank) .*|emomm recipes")


@dataclass(frozen=True)
class Block:
    """A block of code: its page, language, code, and what it needs that a test has not."""

    page: str
    language: str
    code: str
    needs: str | None

    @property
    def commands(self) -> list[str]:
        """Of a terminal; where there is output besides, those after `$ `."""
        lines = self.code.replace("\\\n", "").splitlines()
        if self.language == "":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line for line in lines if line.strip() and not line.startswith("#")] if self.language == "bash" else []


def read_blocks() -> list[Block]:
    """Those of all pages; what two of them show alike is there twice."""
    pattern = re.compile(r"(?:<!-- (needs [^\n]*) -->\n)?^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [
        Block(path.name, language, code, needs or None)
        for path in PAGES
        for needs, language, code in pattern.findall(path.read_text(encoding="utf-8"))
    ]


BLOCKS = read_blocks()
COMMANDS = list(dict.fromkeys(command for block in BLOCKS for command in block.commands))


def code_of(language: str, part: str) -> str:
    """The block that holds `part`, which is the same on every page that shows it."""
    (code,) = {block.code for block in BLOCKS if block.language == language and part in block.code}
    return code


def command_with(part: str) -> list[str]:
    (command,) = [command for command in COMMANDS if part in command]
    return shlex.split(command, comments=True)


def own_files() -> dict[str, str]:
    """Python files that a page has its readers write: those that begin with their name."""
    named = [re.match(r"# (\w+\.py)\n", block.code) for block in BLOCKS if block.language == "python"]
    return {found[1]: found.string for found in named if found}


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> Iterator[Path]:
    """A working directory in which every quickstart command of the pages has been run, in short."""
    known = dict(fusions._REGISTRY)
    folder = tmp_path_factory.mktemp("readme")
    for name, code in own_files().items():
        (folder / name).write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(shlex.split(f"run quickstart --experiment both {SHORT}")) == 0
        for command in COMMANDS:
            if command.startswith("emomm run quickstart ") and "--seeds" not in command:
                assert main([*shlex.split(command, comments=True)[1:], *shlex.split(SHORT)]) == 0, command
    yield folder
    fusions._REGISTRY.clear()
    fusions._REGISTRY.update(known)


@pytest.fixture
def reader(tmp_path, monkeypatch) -> Path:
    """A working directory with what a reader has by now: the recipes, one of their own, a file of their own."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "my_recipe.json").write_text(code_of("json", "inverse_difficulty"))
    (tmp_path / "emodb.json").write_text(code_of("json", '"train_dataset": "EmoDB"'))
    (tmp_path / "emobox.json").write_text(code_of("json", '"EmoBox/data/emodb"'))
    for name, code in own_files().items():
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= LONGEST_README


def test_pages_show_what_is_run_or_say_what_it_needs():
    unmarked = [block for block in BLOCKS if block.needs is None]
    commands = [(block.page, command) for block in unmarked if block.language for command in block.commands]
    assert [command for _, command in commands if IS_RUN.fullmatch(command)]
    assert [(page, command) for page, command in commands if not IS_RUN.fullmatch(f"{command} ")] == []
    ours = {*own_files().values(), code_of("python", "AutoModel"), code_of("python", "import pipeline")}
    assert [block for block in unmarked if block.language == "python" and block.code not in ours] == []
    assert {block.language for block in BLOCKS} <= {"", "bash", "python", "json"}


class Read(Exception):
    """A command has been read, and would begin to work."""


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command, reader, monkeypatch):
    """Each program's own parser takes each command; a recipe is read with all that is said to it."""
    for part in command.split(" | "):
        words = shlex.split(part, comments=True)
        if words[0] == "accelerate":
            launched = launch_command_parser().parse_args(words[2:])
            words = [launched.training_script, *launched.training_script_args]
        understand(words, monkeypatch)


def understand(words: list[str], monkeypatch) -> None:
    program, rest = words[0], words[1:]
    if program == "python" and rest[0] == "-m":
        program, rest = rest[1], rest[2:]
    elif program == "python":
        program, rest = rest[0], rest[1:]
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert rest and set(rest) <= set(targets)
    elif program == "pip":
        extras = re.findall(r"\[(.*)\]", rest[-1])
        assert {extra for found in extras for extra in found.split(",")} <= set(extras_of_setup())
        assert all((ROOT / word).exists() for word in rest if word.endswith(".txt"))
    elif program == "pytest":
        assert all((ROOT / word).exists() for word in rest if not word.startswith("-"))
    elif program in ("emomm", "run_emomm.py"):
        understand_emomm(rest if program == "emomm" else ["run", *rest], monkeypatch)
    elif program in ("extract_features.py", "convert_emotion2vec.py", "app.py"):
        understand_script(program, rest, monkeypatch)
    else:
        assert program in ("ffmpeg", "git", "pre-commit", "source"), f"what {program} takes is not known here"


def extras_of_setup() -> list[str]:
    _, _, extras = (ROOT / "setup.cfg").read_text().partition("[options.extras_require]")
    return re.findall(r"^(\w+) =$", extras.partition("\n[")[0], re.MULTILINE)


def read_and_stop(monkeypatch, owner: object, name: str) -> None:
    """Whoever calls `owner.name` gets as far as its end, and no further."""
    real = getattr(owner, name)

    def stop(*given, **named):
        real(*given, **named)
        raise Read

    monkeypatch.setattr(owner, name, stop)


def understand_emomm(words: list[str], monkeypatch) -> None:
    if words[0] == "run":
        from emomm.cli import run as command_line

        monkeypatch.setattr(command_line, "check_places", lambda settings: None)  # a reader's own, which a test lacks
        read_and_stop(monkeypatch, command_line, "_check_push")  # the recipe is loaded by then
    else:
        read_and_stop(monkeypatch, argparse.ArgumentParser, "parse_args")
    with pytest.raises(Read):
        assert main(words) == 0


def understand_script(name: str, words: list[str], monkeypatch) -> None:
    if name == "extract_features.py":
        from emomm.cli.extract_features import parse_extraction

        assert parse_extraction(words).encoder
    elif name == "app.py":
        from emomm.demo.page import options_from

        assert options_from(words, Path("."), {})[0].model
    else:
        from emomm.cli.convert_emotion2vec import main as convert

        read_and_stop(monkeypatch, argparse.ArgumentParser, "parse_args")
        with pytest.raises(Read):
            convert(words)


def test_recipe_blocks_are_recipes(reader):
    recipe = load_recipe("my_recipe.json")
    assert [settings.curriculum_type for settings in recipe.experiments][1:3] == ["random", "inverse_difficulty"]
    assert not recipe.experiments[3].use_curriculum_learning
    assert recipe.experiments[0].training_arguments == {"gradient_accumulation_steps": 2}
    whole = [block for block in BLOCKS if block.language == "json" and '"experiments"' in block.code]
    tuned = [block for block in whole if block.page == "finetuning.md"]
    whole = [block for block in whole if block.page in ("README.md", "recipes.md")]
    for number, block in enumerate(whole):
        Path(f"{number}.json").write_text(block.code)
        assert [settings.name for settings in load_recipe(f"{number}.json").experiments][0] == "easy first"
    assert [block.page for block in whole] == ["README.md", "recipes.md"]
    (block,) = tuned
    Path("tuned.json").write_text(block.code)
    (settings,) = load_recipe("tuned.json").experiments
    assert (settings.voice_input, settings.speech_tuning, settings.text_tuning) == ("recording", "lora", "lora")


def test_parts_of_recipes_are_parts_of_recipes(tmp_path):
    from emomm.corpora.builtin import resolve_specs
    from emomm.corpora.spec import CorpusSpec

    parts = [block.code for block in BLOCKS if block.language == "json" and not block.code.startswith("{")]
    assert len(parts) == 3
    for part in parts:
        described = json.loads(f"{{{part}}}")
        if "corpora" not in described:  # fields of a corpus
            spec = CorpusSpec.from_dict("own", described)
            assert {key: getattr(spec, key) for key in described} == described
            continue
        (tmp_path / "own.json").write_text(json.dumps({**described, "experiments": [{"name": "one"}]}))
        settings = load_recipe(tmp_path / "own.json").experiments[0]
        specs = resolve_specs(settings.corpora, {})
        if "callcentre" in settings.corpora:
            spec = specs["callcentre"]
            assert spec.labels == ["neutral", "angry"] and spec.vad_scale == [1, 7]
        else:  # built-in corpora, changed
            assert len(specs["EmoDB"].labels) == 7 and specs["RAVDESS"].label_map["calm"] == "neutral"


def test_own_modality_is_described(reader):
    from emomm.experiments.own_fusion import load_modalities

    (reader / "gaze.json").write_text(code_of("json", '"modality_module"'))
    (settings,) = load_recipe("gaze.json").experiments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emomm.modalities._REGISTRY", dict(modalities._REGISTRY))
        *_, gaze = load_modalities(settings)
    assert (gaze.name, gaze.dim, gaze.column) == ("gaze", 5, "gaze_features")


def test_own_fusion_is_exported(quickstart):
    model = quickstart / "runs/max/both/seed-42/session-1/model"
    assert json.loads((model / "config.json").read_text())["fusion_type"] == "max"
    assert (model / "max_fusion.py").exists()


def test_own_curriculum_and_protocols_were_used(quickstart):
    jobs = (quickstart / "runs" / name for name in ("mine", "two_out"))
    mine, two_out = (json.loads((job / "results.json").read_text()) for job in jobs)
    (run,) = mine["experiments"][0]["runs"]
    assert run["fold"] == "five" and mine["experiments"][0]["protocol"]["name"] == "fixed_split"
    history = json.loads((quickstart / "runs/mine/voice/seed-42/five/history.json").read_text())
    assert history[0]["curriculum/pool_fraction"] == pytest.approx(0.9, abs=0.005)
    assert [run["fold"] for run in two_out["experiments"][0]["runs"]][::4] == ["speakers-1-and-2", "speakers-9-and-10"]


def test_inference_block(quickstart, monkeypatch, capsys):
    monkeypatch.chdir(quickstart)
    exec(compile(code_of("python", "AutoModel"), "README.md", "exec"), {})
    scores = eval(capsys.readouterr().out.strip().splitlines()[-1])
    assert set(scores) == {"neutral", "happy", "sad", "anger"}
    assert sum(scores.values()) == pytest.approx(1, abs=0.003)


def test_predict_command(quickstart, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.chdir(quickstart)
    assert main(command_with("session-1/model emodb_emobank --output predictions.parquet")[1:]) == 0
    table = pq.read_table("predictions.parquet")
    before = pq.read_table("runs/quickstart/both/seed-42/session-1/predictions.parquet")
    rows = dict(zip(table["utterance_id"].to_pylist(), table["probabilities"].to_pylist(), strict=True))
    assert len(rows) == 339
    stored = np.array(before["probabilities"].to_pylist())
    live = np.array([rows[name] for name in before["utterance_id"].to_pylist()])
    # The encoder runs live here, and its states came from the float16 store there.
    np.testing.assert_allclose(live, stored, atol=2e-3)


def test_report_command(quickstart, monkeypatch):
    monkeypatch.chdir(quickstart)
    assert main(command_with("emomm report")[1:]) == 0
    assert "both" in Path("runs/quickstart/report/report.html").read_text(encoding="utf-8")


def test_a_recording_in_one_call(quickstart, monkeypatch, capsys):
    """The pipeline's block and the command's, on the recordings they name; the encoder from a folder."""
    shared = ROOT.parent / "shared"
    recordings, whisper = shared / "data" / "emodb" / "flac", shared / "models" / "whisper-base"
    if not (recordings.is_dir() and whisper.is_dir()):
        pytest.skip("EmoDB's recordings and Whisper base are not beside this checkout")
    monkeypatch.chdir(quickstart)
    Path("emodb").symlink_to(recordings)
    Path("whisper-base").symlink_to(whisper)
    code = code_of("python", "import pipeline")
    assert code.count("trust_remote_code=True)") == 1
    code = code.replace("trust_remote_code=True)", "trust_remote_code=True, speech_encoder='whisper-base')")
    exec(compile(code, "README.md", "exec"), {})
    label, score = capsys.readouterr().out.strip().splitlines()[-1].split()
    labels = {"neutral", "happy", "sad", "anger"}
    assert label in labels and 0.25 < float(score) <= 1
    assert main(command_with("emodb/03a01Wa.flac")[1:]) == 0
    said = capsys.readouterr().out
    assert f"emodb/03a01Wa.flac: {label} ({100 * float(score):.1f}%)" in said
    assert all(f"emodb/{name}.flac: " in said for name in ("03a01Fa", "03a02Ta", "03a01Nc"))


def test_recipes_of_the_table_are_packaged():
    names = {path.stem for path in (ROOT / "recipes").glob("*.json")}
    table = (ROOT / "docs/recipes.md").read_text(encoding="utf-8").split("| recipe | what |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == names


def test_programs_that_pages_name_are_there():
    """`python benchmarks/x.py --option` in a sentence, with the options that it has."""
    named = {found for path in PAGES for found in re.findall(r"`python ((?:\w+/)+\w+\.py)([^`]*)`", path.read_text())}
    assert named
    for program, arguments in named:
        text = (ROOT / program).read_text(encoding="utf-8")
        if "from measuring import" in text or "import measuring" in text:  # options that all benchmarks have
            text += (ROOT / "benchmarks" / "measuring.py").read_text(encoding="utf-8")
        for option in re.findall(r"--([\w-]+)", arguments):
            assert f'"--{option}"' in text or f'"{option}"' in text, f"{program} has no --{option}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    """Files, and headings of them, as GitHub and mkdocs call them."""
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        place = path if not file else Path(os.path.normpath(path.parent / file))
        assert place.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings]
            assert heading in slugs, target


def test_map_has_every_room():
    """The README's tree names each package of the root, and nothing that isn't there."""
    (tree,) = [block.code for block in BLOCKS if block.page == "README.md" and "run_emomm.py   " in block.code]
    folders = set(re.findall(r"\b(\w+)/", tree)) - {"releases"}
    assert folders >= {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert all((ROOT / name).is_dir() for name in folders)
    assert all((ROOT / name).is_file() for name in re.findall(r"\b\w+\.py\b", tree))
