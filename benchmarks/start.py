"""Where the time of a command goes that isn't training: to the first step, and to the end.

    python benchmarks/start.py [--json] [--rounds 3] [--of quickstart,emodb] [--report]

Cases: `quickstart`, with the states of its words stored (a first round, which is not counted, fills the store);
`emodb`, the voice of emodb, four classes, five folds of 30 epochs each. Each is a process of its own, in turn with one
that does `import torch, transformers` and nothing else. Figures are medians over the rounds: seconds, and processor
seconds of all threads and of processes that it started, which other work on the machine changes less.

Parts are told apart where they are entered and left, each without those within it: `imports` is all up to the
planning of the job; what is imported later counts where it is. `floors` are logistic regressions, `training` is the
Trainer's without the evaluations in it, `tests` are validation and test rows of the best epoch, `writing` is models,
predictions and records, `statistics` what all runs say together.
"""

import argparse
import importlib.abc
import importlib.machinery
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CASES = {
    "quickstart": ["quickstart", "--seeds", "42"],
    "emodb": ["emodb", "--experiment", "voice", "--num_epochs", "30", "--seeds", "42"],
}
PARTS = {
    "reading": [("emomm.experiments.planning", "load_data")],
    "checks": [("emomm.experiments.job", "_planned")],
    "floors": [("emomm.experiments.job_floors", "job_floors")],
    "training": [
        ("emomm.experiments.training", "Experiment.train"),
        ("emomm.experiments.training", "Experiment.begin"),
    ],
    "evaluation": [("emomm.curriculum_trainer", "CurriculumTrainer.evaluate")],
    "tests": [
        ("emomm.experiments.training", "Experiment._result"),
        ("emomm.experiments.training", "Experiment._test"),
    ],
    "writing": [("emomm.experiments.training", "Experiment._write"), ("emomm.files", "write_json")],
    "statistics": [("emomm.evaluation.results", "add_statistics"), ("emomm.floors.results", "floors_entry")],
    "report": [("emomm.reporting.report", "write_report")],
}
"""Functions of each part, by module and name."""
FIRST_STEP = ("emomm.curriculum_trainer", "CurriculumTrainer.training_step")
BARE = "import torch, transformers"


class Clock:
    """Seconds of each part of this process, each without those of the parts within it."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {"imports": [0.0, 0.0]}
        self.first_step: list[float] | None = None
        self._open, self._last = ["imports"], [0.0, 0.0]

    @staticmethod
    def now() -> list[float]:
        """Seconds since this process began, and processor seconds."""
        return [time.clock_gettime(time.CLOCK_BOOTTIME) - _began(), time.process_time()]

    def turn(self, part: str | None) -> None:
        """A part is entered; None: the last one that was is left."""
        now = self.now()
        spent = self.spent.setdefault(self._open[-1], [0.0, 0.0])
        for i in range(2):
            spent[i] += now[i] - self._last[i]
        self._last = now
        if part is None:
            self._open.pop()
        else:
            self._open.append(part)

    def around(self, part: str, function: Callable) -> Callable:
        """The function, whose time is that of a part."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._open == ["imports"]:
                self.turn(None)
                self._open = ["rest"]
            self.turn(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.turn(None)

        return timed

    def stepping(self, function: Callable) -> Callable:
        """The function, whose first call is noted."""

        def noted(*args: Any, **kwargs: Any) -> Any:
            if self.first_step is None:
                self.first_step = self.now()
            return function(*args, **kwargs)

        return noted


def _began() -> float:
    """When this process began, in seconds since the machine did."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return int(ticks) / os.sysconf("SC_CLK_TCK")


class Wrapping(importlib.abc.MetaPathFinder):
    """Changes functions of modules as these are imported, before others take them from there."""

    def __init__(self, changes: dict[str, list[tuple[str, Callable[[Callable], Callable]]]]):
        self.changes = changes

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """That of the module, with functions changed once it has run."""
        if name not in self.changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            for place, change in self.changes[name]:
                owner, _, function = place.rpartition(".")
                holder = getattr(module, owner) if owner else module
                setattr(holder, function, change(getattr(holder, function)))

        spec.loader.exec_module = run_and_change
        return spec


def watch(arguments: list[str]) -> None:
    """Runs `emomm run` in this process, and prints where its time went."""
    sys.path.insert(0, str(ROOT))
    import run_emomm  # noqa: F401 makes this checkout the package `emomm`

    clock = Clock()
    changes: dict[str, list] = {}
    for part, places in PARTS.items():
        for module, place in places:
            changes.setdefault(module, []).append((place, lambda function, part=part: clock.around(part, function)))
    changes.setdefault(FIRST_STEP[0], []).append((FIRST_STEP[1], clock.stepping))
    sys.meta_path.insert(0, Wrapping(changes))
    from emomm.cli.main import main as emomm

    if emomm(["run", *arguments]):
        raise SystemExit(1)
    clock.turn("rest")
    print(json.dumps({"first step": clock.first_step, "parts": clock.spent}))


def in_own_process(command: list[str]) -> tuple[list[float], str]:
    """Seconds and processor seconds of a command, and the last line that it printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [took, spent], (done.stdout.splitlines() or [""])[-1]


def measured(case: str, rounds: int, report: bool, options: list[str]) -> dict[str, Any]:
    """Medians over the rounds of one case: [seconds, processor seconds] by what they are of."""
    taken: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            out = ["--output_dir", f"{folder}/{number}", "--store_dir", f"{folder}/store", *options]
            command = [__file__, "--watch", *CASES[case], *out, *([] if report else ["--no_report"])]
            whole, said = in_own_process(command)
            bare, _ = in_own_process(["-c", BARE])
            if number == 0:
                continue
            told = json.loads(said)
            figures = {BARE: bare, "first step": told["first step"], "whole": whole, **told["parts"]}
            for name, figure in figures.items():
                taken.setdefault(name, []).append(figure)
    return {name: [statistics.median(each) for each in zip(*of, strict=True)] for name, of in taken.items()}


def main() -> None:
    from measuring import Benchmark  # not in the processes that are measured
    from measuring import parser

    known = parser(__doc__, rounds=3)
    known.add_argument("--of", default=",".join(CASES), help=f"cases, of {', '.join(CASES)}")
    known.add_argument("--report", action="store_true", help="with the report")
    known.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of `emomm run`, the rest of the line")
    options = known.parse_args()
    names = options.of.split(",")
    if unknown := set(names) - CASES.keys():
        known.error(f"there is no {sorted(unknown)[0]}")
    with Benchmark(__file__, options) as figures:
        for name in names:
            for what, (seconds, spent) in measured(name, options.rounds, options.report, options.options).items():
                figures.add(f"{name}: {what}", seconds=seconds, **{"CPU seconds": spent})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        watch(sys.argv[2:])
    else:
        main()
