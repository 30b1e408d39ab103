"""Commands that can be killed: started in processes of their own, and what they leave compared; for `kills`.

Processes come from a server that has imported everything, so the time is spent within the command, not before it.
"""

import hashlib
import importlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from measuring import ROOT

sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

PRELOADED = [
    "conftest",  # finds the package
    "emomm.inference.predicting", "emomm.reporting.page", "emomm.reporting.report", "emomm.sharing.hub",
    "emomm.extraction.extract", "emomm.cli.predict", "jinja2", "matplotlib.backends.backend_svg",
    "sklearn.linear_model", "preloaded",
]  # fmt: skip
COMMANDS = ("run", "report", "push", "predict", "extraction")
PARTS = {
    "run": {
        "floors": ("emomm.experiments.job", "job_floors"),
        "training": ("emomm.experiments.running", "carry_out"),
        "statistics": ("emomm.experiments.job", "add_statistics"),
        "report": ("emomm.reporting.report", "write_report"),
    },
    "report": {"drawing": ("emomm.reporting.page", "build_page"), "writing": ("emomm.reporting.report", "render")},
    "push": {
        "final training": ("emomm.sharing.hub", "train_final_model"),
        "gathering": ("emomm.sharing.hub", "gather"),
        "uploading": ("emomm.sharing.hub", "upload"),
    },
    "predict": {
        "predicting": ("emomm.inference.predicting", "_predictions"),
        "writing": ("emomm.inference.corpus_rows", "write_predictions"),
    },
    "extraction": {
        "extracting": ("emomm.extraction.extract", "_extract"),
        "finishing": ("emomm.extraction.extract", "_finish"),
    },
}
"""What begins where a function of a module is called, by command; each lasts until the next begins."""
TOKEN, REPOSITORY = "hf_of_this_machine", "user/model"

# Keys of JSON files whose values tell of time.
_TIME = re.compile(r"train_seconds|seconds|.*_runtime|.*_per_second|train_loss|total_flos")
_PATIENCE = 1800.0  # seconds until a command that was told to end, or came through, counts as hanging
BEGINNING, END = "beginning", "end"


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
        left: what it had left and sent then, as `found` gives it.
        parts: the processor seconds of each part of it, then.
    """

    name: str
    arguments: list[str]
    output: Path
    before: Path | None = None
    shared: tuple[Path, ...] = ()
    remote: Callable[[], dict[str, str]] = dict
    whole: Path | None = None
    left: dict[str, str] = field(default_factory=dict)
    parts: dict[str, float] = field(default_factory=dict)

    def reset(self) -> None:
        """Makes everything as it was before the command was first started."""
        for folder in (self.output, *self.shared):
            shutil.rmtree(folder, ignore_errors=True)
        if self.before is not None:
            shutil.copytree(self.before, self.output)
        self.remote()

    def found(self) -> dict[str, str]:
        """What it has left and sent, {name: hash of what must be the same}, which forgets what it has sent."""
        shared = {f"{folder.name}: {name}": said for folder in self.shared for name, said in content(folder).items()}
        temporary = {f"{path} in the temporary folder": "" for path in os.listdir(os.environ["TMPDIR"])}
        return {**content(self.output), **shared, **temporary, **self.remote()}


# ---- processes ------------------------------------------------------------------------------------------------------


def execute(name: str, arguments: list[str], log: str) -> None:
    """In a process of its own: the command; what it says goes to the end of `log`, and its parts beside."""
    with open(log, "a", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        tell = _tell_parts(name, _parts_file(Path(log)))
        if name == "extraction":
            from emomm.cli.extract_features import main
        else:
            from emomm.cli.main import main
        code = main(arguments)
        tell(END)
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

    tell(BEGINNING)
    for part, (module, function) in PARTS.get(name, {}).items():
        place = importlib.import_module(module)
        setattr(place, function, telling(part, getattr(place, function)))
    return tell


def parts_told(log: Path) -> list[tuple[str, float]]:
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


def prepare_server(folder: Path) -> None:
    """Before the first command: sets what processes are to find; what they leave in a temporary folder is seen."""
    os.environ["TMPDIR"] = str(folder / "temporary")
    (folder / "temporary").mkdir()
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ["PYTHONPATH"] = f"{ROOT / 'tests'}"  # the server finds `conftest` there


def run_undisturbed(command: Command, folder: Path) -> None:
    """Runs the command to its end; notes what it leaves, and how long each part takes."""
    log = folder / f"{command.name}.log"
    command.reset()
    code = finish(command, start(command, log), log)
    if code != 0:
        raise SystemExit(f"{command.name} ended with {code} without being killed:\n{log.read_text()[-3000:]}")
    told, seconds = parts_told(log), Counter()
    for (part, began), (_, ended) in zip(told, told[1:], strict=False):
        seconds[part] += ended - began
    command.parts, command.left, command.whole = dict(seconds), command.found(), folder / f"{command.name}-whole"
    shutil.copytree(command.output, command.whole)
    said = ", ".join(f"{part} {took:.2f} s" for part, took in seconds.items())
    print(f"{command.name}, undisturbed: {said} of the processor", flush=True)


# ---- what is left ---------------------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, str]:
    """The files of a folder, {path: hash of what must be the same}; of an extraction's shards, of their rows."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (".lock", "lock")]
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
        data = json.dumps(timeless(json.loads(data))).encode()
    elif name == "report.html":  # its table of how long trainings took
        data = re.sub(rb"<caption>Time</caption>.*?</table>", b"", data, flags=re.DOTALL)
    elif name == "README.md":  # a model card's
        data = re.sub(rb"^\| time \|.*$", b"", data, flags=re.MULTILINE)
    return hashlib.sha256(data).hexdigest()


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if not _TIME.fullmatch(key)}
    return [timeless(each) for each in value] if isinstance(value, list) else value


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

    from emomm.corpora.synthetic import Generator
    from emomm.corpora.synthetic import generate

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
