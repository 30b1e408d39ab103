"""Whether a command that is killed again and again ends with the bits of one that never was.

    python benchmarks/kills.py [--kills 60] [--of run,report,push,predict,extraction] [--signals KILL,TERM] [--seed 0]
    python benchmarks/kills.py --output OUT [--kills 20] -- run my.json --output_dir OUT

First each command runs undisturbed. Then it is started, killed at a random moment, started again, and so on, until it
ends by itself, or there were kills enough and it is let end: its output must then hold the same files with the same
content, no file besides, and no start may have been refused. Then it begins anew, until there were as many kills as
asked for; the commands take turns. Without a command of your own, small ones are made: a job on synthetic voices and
words with floors and its report; the report alone; a push, with the final model's training, to a Hub on this machine;
a prediction; an extraction of voice features.

Half of the kills come at any moment of a command, the others within one of its parts (`PARTS`; each as often), so that
short ones get theirs too. Moments are of processor time, which others on the machine don't stretch.

A signal that a process can answer (TERM, HUP, INT) must also be said, and the exit code be that of the signal. What
tells of time (seconds that a training took, and what follows from that) may differ, and nothing else. Shards of an
extraction are cut where it was killed: their rows are compared, in the order of their names.

Don't change the checkout meanwhile: results name its commit.

Processes come from a server that has imported everything, so the time is spent within the command, not before it.
"""

import argparse
import difflib
import hashlib
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
import run_emomm  # noqa: E402, F401 makes this checkout the package `emomm`

PRELOADED = [
    "emomm.predicting", "emomm.reporting.page", "emomm.reporting.writing", "emomm.sharing.hub",
    "emomm.recordings.extraction", "emomm.recordings.commands", "jinja2", "matplotlib.backends.backend_svg",
    "sklearn.linear_model",
]  # fmt: skip
COMMANDS = ("run", "report", "push", "predict", "extraction")
PARTS = {
    "run": {
        "floors": ("emomm.job", "job_floors"),
        "training": ("emomm.job", "_one"),
        "statistics": ("emomm.job", "add_statistics"),
        "report": ("emomm.reporting.writing", "write_report"),
    },
    "report": {"drawing": ("emomm.reporting.page", "build_page"), "writing": ("emomm.reporting.writing", "render")},
    "push": {
        "final training": ("emomm.sharing.hub", "train_final_model"),
        "gathering": ("emomm.sharing.hub", "gather"),
        "uploading": ("emomm.sharing.hub", "upload"),
    },
    "predict": {"predicting": ("emomm.predicting", "_predictions"), "writing": ("emomm.predicting", "_write")},
    "extraction": {
        "extracting": ("emomm.recordings.extraction", "_extract"),
        "finishing": ("emomm.recordings.extraction", "_finish"),
    },
}
"""What begins where a function of a module is called, by command; each lasts until the next begins."""
TOKEN, REPOSITORY = "hf_of_this_machine", "user/model"

# Keys of JSON files whose values tell of time.
_TIME = re.compile(r"train_seconds|seconds|.*_runtime|.*_per_second|train_loss|total_flos")
_PATIENCE = 1800.0  # seconds until a command that was told to end, or came through, counts as hanging
_AT_MOST = 6  # kills until a command is let end: what it leaves is looked at then
_LOOK = 0.005  # seconds between looks at how far a process is
_BEGINNING, _END = "beginning", "end"


@dataclass
class Command:
    """A command that is killed.

    Args:
        name: of it.
        arguments: after `emomm`, or those of extract_features.py for `extraction`.
        output: the folder that it writes into.
        before: what is in that folder when the command is first started; None for nothing.
        shared: folders that other runs of the same command fill too, such as a store: removed before each.
        remote: gives what it has sent elsewhere, and forgets it.
        whole: a copy of its output as it should be, once it has run undisturbed.
        parts: the processor seconds of each part of it, then.
        sent: what it had sent elsewhere then.
    """

    name: str
    arguments: list[str]
    output: Path
    before: Path | None = None
    shared: tuple[Path, ...] = ()
    remote: Callable[[], dict[str, str]] = dict
    whole: Path | None = None
    parts: dict[str, float] = field(default_factory=dict)
    sent: dict[str, str] = field(default_factory=dict)

    def reset(self) -> None:
        """Makes everything as it was before the command was first started."""
        for folder in (self.output, *self.shared):
            shutil.rmtree(folder, ignore_errors=True)
        if self.before is not None:
            shutil.copytree(self.before, self.output)
        self.remote()


# ---- processes ------------------------------------------------------------------------------------------------------


def execute(name: str, arguments: list[str], log: str) -> None:
    """In a process of its own: the command; what it says goes to the end of `log`, and its parts beside."""
    with open(log, "a", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        tell = _tell_parts(name, _parts_file(Path(log)))
        if name == "extraction":
            from emomm.recordings.extraction import main
        else:
            from emomm.cli import main
        code = main(arguments)
        tell(_END)
        sys.exit(code)


def _parts_file(log: Path) -> Path:
    return log.with_suffix(".parts")


def _tell_parts(name: str, file: Path) -> Callable[[str], None]:
    """Lets this process write a line as a part of the command begins: which, and the processor time until then.

    Returns what writes one.
    """
    parts = open(file, "a", buffering=1)

    def tell(part: str) -> None:
        parts.write(f"{time.process_time():.3f} {part}\n")

    def telling(part: str, function: Callable) -> Callable:
        def told(*args: Any, **kwargs: Any) -> Any:
            tell(part)
            return function(*args, **kwargs)

        return told

    tell(_BEGINNING)
    for part, (module, function) in PARTS.get(name, {}).items():
        place = importlib.import_module(module)
        setattr(place, function, telling(part, getattr(place, function)))
    return tell


def _parts_told(log: Path) -> list[tuple[str, float]]:
    """The parts that the process has begun so far, and at which processor time."""
    lines = _parts_file(log).read_text().splitlines() if _parts_file(log).exists() else []
    split = [line.split(" ", 1) for line in lines]
    return [(part, float(seconds)) for seconds, part in (each for each in split if len(each) == 2)]


def start(command: Command, log: Path) -> multiprocessing.process.BaseProcess:
    """Starts the command."""
    for file in (log, _parts_file(log)):
        file.write_text("")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=execute, args=(command.name, command.arguments, str(log)))
    process.start()
    return process


def finish(command: Command, process: multiprocessing.process.BaseProcess, log: Path) -> int:
    """Waits for the command; its exit code, negative for that of a signal that it could not answer."""
    process.join(_PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise SystemExit(f"{command.name} did not end within {_PATIENCE:g} s:\n{log.read_text()[-3000:]}")
    return process.exitcode


# ---- what is left ---------------------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, str]:
    """The files of a folder, {path: hash of what must be the same}; of an extraction's shards, of their rows."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    found, shards = {}, []
    for path in files:
        if re.fullmatch(r"train-\d+-\d{5}\.parquet", path.name):
            shards.append(path)
        elif path.stem != "time" and ".locks" not in path.parts:  # a report's table of the same name
            found[str(path.relative_to(folder))] = _hash(path.name, path.read_bytes())
    if shards:
        found["rows of all shards"] = _rows(shards)
    return found


def _rows(shards: list[Path]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.concat_tables(pq.read_table(path) for path in shards).sort_by("utterance_id")
    return hashlib.sha256(json.dumps(rows.to_pylist(), default=str).encode()).hexdigest()


def _hash(name: str, data: bytes) -> str:
    """Of what a file holds, without what tells of time."""
    if name.endswith(".json"):
        data = json.dumps(_timeless(json.loads(data))).encode()
    elif name == "report.html":  # its table of how long trainings took
        data = re.sub(rb"<caption>Time</caption>.*?</table>", b"", data, flags=re.DOTALL)
    elif name == "README.md":  # a model card's
        data = re.sub(rb"^\| time \|.*$", b"", data, flags=re.MULTILINE)
    return hashlib.sha256(data).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if not _TIME.fullmatch(key)}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


# ---- the commands that are made -------------------------------------------------------------------------------------


def made_commands(folder: Path, names: list[str]) -> list[Command]:
    """The small commands of these names, in the order in which each has what it needs of the ones before."""
    from small_jobs import SMALL
    from tiny_encoders import tiny_encoder

    finished = folder / "finished"
    commands = {"push": _push(folder, finished)} if "push" in names else {}  # first: processes are told of its Hub
    encoder = tiny_encoder(folder / "encoder")
    recipe = folder / "job.json"
    generator = {**SMALL["corpora"]["synthetic"]["generator"], "rows": 48}
    changes = {
        "corpora": {"synthetic": {"generator": generator}},
        "text_model_name": str(encoder),
        "output_dir": str(folder / "job"),
        "store_dir": str(folder / "store"),
        "save_seconds": 0.0,
        "num_epochs": 4,
        "curriculum_epochs": 2,
        "dropout": 0.2,
        "experiments": [{"name": "voice", "modality": "audio"}, {"name": "both"}],
    }
    recipe.write_text(json.dumps({**SMALL, **changes}))
    run = Command("run", ["run", str(recipe)], folder / "job", shared=(folder / "store",))
    commands["run"] = run
    if set(names) - {"run", "extraction"}:
        run_undisturbed(run, folder)
        shutil.copytree(run.output, finished)
    commands["report"] = Command("report", ["report", str(folder / "job")], folder / "job", finished)
    model = finished / "both" / "seed-1" / "session-1" / "model"
    predicted = folder / "predicted"
    rows = folder / "rows"
    if "predict" in names:
        _write_rows(generator, rows)
    arguments = ["predict", str(model), str(rows), "--output", str(predicted / "p.parquet"), "--batch_size", "1"]
    commands["predict"] = Command("predict", arguments, predicted)
    if "extraction" in names:
        commands["extraction"] = _extraction(folder)
    return [commands[name] for name in COMMANDS if name in names]


def _push(folder: Path, finished: Path) -> Command:
    """To a Hub on this machine, which runs as long as this process does."""
    from local_hub import LocalHub

    hub = LocalHub(TOKEN).__enter__()
    os.environ |= {
        "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(folder / "hf"),
    }  # fmt: skip

    def pushed() -> dict[str, str]:
        repository = hub.repositories.pop(REPOSITORY, None)
        files = {} if repository is None else repository.files
        return {f"the Hub's {name}": _hash(name.split("/")[-1], data) for name, data in sorted(files.items())}

    arguments = ["push", str(folder / "job"), "--experiment", "both", "--hub_model_id", REPOSITORY]
    return Command("push", arguments, folder / "job", finished, remote=pushed)


def _write_rows(generator: dict[str, Any], folder: Path) -> None:
    import pyarrow.parquet as pq

    from emomm.synthetic import Generator
    from emomm.synthetic import generate

    folder.mkdir()
    pq.write_table(generate(Generator.from_dict("rows", {**generator, "rows": 150})), folder / "train.parquet")


def _extraction(folder: Path) -> Command:
    import numpy as np
    import soundfile
    from tiny_speech_encoders import tiny_speech_encoder

    rng, audio = np.random.default_rng(0), folder / "audio"
    audio.mkdir()
    lines = ["path,utterance_id,speaker,label"]
    for i in range(30):
        soundfile.write(audio / f"{i:02}.wav", rng.normal(0, 0.1, rng.integers(3000, 16000)), 16000)
        lines.append(f"audio/{i:02}.wav,utt-{i:02},{i % 4},{'calm' if i % 2 else 'angry'}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    encoder = tiny_speech_encoder(folder / "speech")
    arguments = ["--input", str(folder / "list.csv"), "--encoder", str(encoder), "--output", str(folder / "features")]
    arguments += ["--batch_seconds", "2", "--save_seconds", "0"]
    return Command("extraction", arguments, folder / "features")


# ---- killing --------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came of killing a command.

    Args:
        kills: by signal and by the part that it came in.
        passes: how often the command was brought to its end.
        faults: how often something was wrong.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    passes: int = 0
    faults: int = 0

    def __str__(self) -> str:
        by = [Counter(), Counter()]
        for key, count in self.kills.items():
            for place, name in enumerate(key):
                by[place][name] += count
        signals, parts = (", ".join(f"{name} {count}" for name, count in sorted(each.items())) for each in by)
        said = f" ({signals}; in {parts})" if self.kills else ""
        return f"{self.kills.total()} kills{said} in {self.passes} passes, {self.faults} faults"


def run_undisturbed(command: Command, folder: Path) -> None:
    """Runs the command to its end; notes what it leaves, and how long each part takes."""
    log = folder / f"{command.name}.log"
    command.reset()
    code = finish(command, start(command, log), log)
    if code != 0:
        raise SystemExit(f"{command.name} ended with {code} without being killed:\n{log.read_text()[-3000:]}")
    told, seconds = _parts_told(log), Counter()
    for (part, began), (_, ended) in zip(told, told[1:], strict=False):
        seconds[part] += ended - began
    command.parts, command.sent, command.whole = dict(seconds), command.remote(), folder / f"{command.name}-whole"
    shutil.copytree(command.output, command.whole)
    said = ", ".join(f"{part} {took:.2f} s" for part, took in seconds.items())
    print(f"{command.name}, undisturbed: {said} of the processor", flush=True)


def kill_again_and_again(
    command: Command, kills: int, signals: list[str], rng: random.Random, folder: Path
) -> Iterator[Tally]:
    """Kills the command at least `kills` times, beginning anew when it is through; the tally after each pass.

    What goes wrong is said.
    """
    tally = Tally()
    while tally.kills.total() < kills:
        if command.whole is None:
            run_undisturbed(command, folder)
        before = tally.kills.total()
        command.reset()
        _one_pass(command, signals, rng, folder / f"{command.name}.log", tally)
        tally.passes += 1
        tally.faults += _differences(command, f"pass {tally.passes}, after {tally.kills.total() - before} kills")
        yield tally


def _one_pass(command: Command, signals: list[str], rng: random.Random, log: Path, tally: Tally) -> None:
    """Starts and kills the command until it ends by itself, or is let end."""
    left, parts = rng.randint(1, _AT_MOST), command.parts
    while True:
        process, name = start(command, log), rng.choice(signals)
        if left:
            part = rng.choice([*parts]) if rng.random() < 0.5 else None
            after = rng.uniform(0, sum(parts.values()) if part is None else parts[part])
            _wait(process, log, part or _BEGINNING, after)
        if left and process.exitcode is None:
            os.kill(process.pid, getattr(signal, f"SIG{name}"))
        code, number = finish(command, process, log), getattr(signal, f"SIG{name}")
        said = log.read_text()
        if code == 0:
            return
        left -= 1
        begun = [part for part, _ in _parts_told(log) if part != _END]
        tally.kills[name, begun[-1] if begun else _BEGINNING] += 1
        # A signal may come before the command begins to look for it, or once it has ended.
        expected = {-number} if name == "KILL" else {128 + number, -number}
        silent = code == 128 + number and "interrupted" not in said
        if code not in expected or silent or re.search(r"^(error: |Traceback)", said, re.MULTILINE):
            tally.faults += 1
            print(f"{command.name}: after {name} the exit code is {code}, and it said:\n{said[-2000:]}", flush=True)
            if code in (1, 2):
                return  # it would be refused for ever


def _wait(process: multiprocessing.process.BaseProcess, log: Path, part: str, after: float) -> None:
    """Waits until a part has taken so many seconds of the processor, or the process has ended."""
    watched, until = psutil.Process(process.pid), None
    while process.exitcode is None:
        began = [seconds for name, seconds in _parts_told(log) if name == part] if until is None else []
        until = began[0] + after if began else until
        try:
            times = watched.cpu_times()
        except psutil.Error:  # it has ended
            return
        if until is not None and times.user + times.system >= until:
            return
        time.sleep(_LOOK)


def _differences(command: Command, when: str) -> int:
    """How many files differ from what the command should leave and send, which is said."""
    whole, left = {**content(command.whole), **command.sent}, {**content(command.output), **command.remote()}
    differ = sorted(name for name in {*whole, *left} if whole.get(name) != left.get(name))
    for name in differ:
        how = "is left" if name not in whole else "is gone" if name not in left else "differs"
        print(f"{command.name}, {when}: {name} {how}", flush=True)
        if (command.whole / name).is_file() and (command.output / name).is_file():
            texts = [_lines(folder / name) for folder in (command.whole, command.output)]
            print("".join(islice(difflib.unified_diff(*texts, "as it should be", "as it is", n=0), 12)), flush=True)
    return len(differ)


def _lines(path: Path) -> list[str]:
    """A text as lines, for people; of a JSON file without what tells of time."""
    if path.suffix == ".json":
        text = json.dumps(_timeless(json.loads(path.read_bytes())), indent=1)
        return text.splitlines(keepends=True)
    return path.read_text(errors="replace").splitlines(keepends=True) if path.suffix in (".md", ".csv") else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60, metavar="N", help="in all, shared out evenly (default 60)")
    parser.add_argument("--of", default=",".join(COMMANDS), metavar="A,B", help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--signals", default="KILL,TERM", metavar="A,B", help="drawn from these (default KILL,TERM)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of when and by what it is killed")
    parser.add_argument("--output", type=Path, metavar="OUT", help="what your own command writes; must not be there")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="after --: your own, without `emomm`")
    options = parser.parse_args()
    names, signals = options.of.split(","), options.signals.split(",")
    if unknown := [*(set(names) - set(COMMANDS)), *(s for s in signals if not hasattr(signal, f"SIG{s}"))]:
        parser.error(f"there is no {unknown[0]}")
    if bool(options.command) != bool(options.output):
        parser.error("a command of your own needs --output, and --output a command")
    if options.output and options.output.exists():
        parser.error(f"{options.output} is there already, and would be removed")
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ["PYTHONPATH"] = f"{ROOT / 'tests'}"  # the server finds the package through conftest there
    PRELOADED[:] = ["conftest", *PRELOADED, "preloaded"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.command:
            commands = [Command(options.command[0], options.command, options.output)]
        else:
            commands = made_commands(folder, names)
        rng = random.Random(options.seed)
        each = -(-options.kills // len(commands))
        under_way = {command.name: kill_again_and_again(command, each, signals, rng, folder) for command in commands}
        tallies = {name: Tally() for name in under_way}
        while under_way:  # in turn
            for name in [*under_way]:
                tally = next(under_way[name], None)
                if tally is None:
                    del under_way[name]
                else:
                    tallies[name] = tally
                    print(f"{name}: {tally}", flush=True)
    wrong = sum(tally.faults for tally in tallies.values())
    print(f"{sum(tally.kills.total() for tally in tallies.values())} kills, {wrong} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
