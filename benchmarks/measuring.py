"""What all benchmarks share: options, ways that take turns, the machine, and how figures are printed and kept.

A benchmark is a program of its own. It prints the machine, settings and rows of figures as they come; with `--json`
one object of all that; with `--keep FILE` it writes that object, too. How many cores other work kept busy meanwhile is
counted, and from some on it says "on a loaded machine": such figures are for their ratios alone.

Importing this makes the checkout the package `emomm`.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path
from typing import Any
from typing import TypeVar

import psutil

ROOT = Path(__file__).resolve().parent.parent
if "emomm" not in sys.modules:
    sys.path.insert(0, str(ROOT))
    import run_emomm  # noqa: F401 makes this checkout the package `emomm`

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy")
LOADED = 0.1
"""Of each core the share that other work keeps busy, from which on a machine counts as loaded."""

Found = TypeVar("Found")
Key = TypeVar("Key", bound=Hashable)
Row = dict[str, Any]


# ---- ways that take turns -------------------------------------------------------------------------------------------


def in_turn(ways: Mapping[Key, Callable[[], Found]], rounds: int, warm: int = 0) -> list[dict[Key, Found]]:
    """What each way gives in each round. Who begins changes from round to round.

    Args:
        warm: rounds before the first that counts.
    """
    found = []
    for number in range(warm + rounds):
        first = number % len(ways)
        order = [*ways][first:] + [*ways][:first]
        done = {name: ways[name]() for name in order}
        found.append({name: done[name] for name in ways})
    return found[warm:]


def medians(rounds: Sequence[Mapping[Key, float]]) -> dict[Key, float]:
    """Of each way, over the rounds."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def ratio(rounds: Sequence[Mapping[Key, float]], above: Key, below: Key) -> float:
    """The median over the rounds of one way by another."""
    return statistics.median(each[above] / each[below] for each in rounds)


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall time."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cpu_seconds_of(work: Callable[[], Any]) -> float:
    """Processor time of all threads, which other work on the machine doesn't stretch as it does wall time."""
    began = time.process_time()
    work()
    return time.process_time() - began


# ---- processes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """A process that has ended well.

    Args:
        seconds: from its start to its end.
        cpu_seconds: processor time of it and of those that it started and waited for.
        megabytes: the most memory that it and its children had at once, each with the most that it ever had.
        said: what it wrote to standard output and standard error.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float
    said: str


def run_process(command: Sequence[str], cwd: Path | None = None, **environment: str | None) -> Ended:
    """Runs a command to its end.

    Args:
        environment: variables that are other than here; None takes one away.

    Raises SystemExit with its last words where it fails.
    """
    variables = {key: value for key, value in os.environ.items() if key not in environment}
    variables |= {key: value for key, value in environment.items() if value is not None}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    most, ended = [0.0], threading.Event()
    watching = threading.Thread(target=_watch, args=(process.pid, most, ended), daemon=True)
    watching.start()
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    ended.set()
    watching.join()
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {process.returncode}:\n{said[-3000:]}")
    return Ended(seconds, used.ru_utime + used.ru_stime, most[0], said)


def _watch(pid: int, most: list[float], ended: threading.Event) -> None:
    """Keeps the most memory of a process and its children in `most`, in MB, until they have ended."""
    while not ended.is_set():
        try:
            process = psutil.Process(pid)
            there = [process, *process.children(recursive=True)]
        except psutil.Error:
            return
        most[0] = max(most[0], sum(map(peak_megabytes, there)))
        ended.wait(0.02)


def peak_megabytes(process: psutil.Process) -> float:
    """The most that a process ever had in memory, in MB; where the system doesn't count that, what it has now."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), 0.0)
    except FileNotFoundError:
        pass
    except OSError:
        return 0.0
    try:
        return process.memory_info().rss / 1e6
    except psutil.Error:
        return 0.0


# ---- the machine ----------------------------------------------------------------------------------------------------


def load() -> float | None:
    """Processes that computed in the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def busy_seconds() -> tuple[float, float]:
    """Processor seconds so far: of the whole machine, and of this process and those that it waited for."""
    every, own = psutil.cpu_times()._asdict(), os.times()
    idle = sum(every.get(name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))  # guests are users, too
    return sum(every.values()) - idle, own.user + own.system + own.children_user + own.children_system


def machine() -> Row:
    """What a figure depends on, beside the code."""
    found = {
        "processor": _processor(),
        "cores": CORES,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": load(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Of Python, of packages that are there, and of this checkout."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True)
    except OSError:  # no git here
        return found
    return {**found, **({"commit": told.stdout.strip()} if told.returncode == 0 else {})}


# ---- a benchmark ----------------------------------------------------------------------------------------------------


def parser(text: str, rounds: int | None = None) -> argparse.ArgumentParser:
    """Of the options that all benchmarks have; the module's text is its help.

    Args:
        rounds: how many there are by default; None where there are none.
    """
    options = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true", help="print one object of all figures, and nothing else")
    options.add_argument("--keep", type=Path, metavar="FILE", help="write that object into a file")
    if rounds is not None:
        options.add_argument("--rounds", type=int, default=rounds, help="that count, of ways in turn")
    return options


@dataclass
class Benchmark:
    """The figures of a benchmark while it runs: `with Benchmark(__file__, options) as figures: figures.add(...)`.

    Args:
        file: the program.
        options: its settings, with those of `parser`.
        packages: whose versions are told.
    """

    file: str
    options: argparse.Namespace
    packages: Sequence[str] = PACKAGES
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    found: Row = field(default_factory=dict)

    def __enter__(self) -> "Benchmark":
        settings = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in vars(self.options).items()
            if key not in ("json", "keep") and value is not None
        }
        self.found = {
            "benchmark": Path(self.file).stem,
            "command": _command(self.file, sys.argv[1:]),
            "machine": machine(),
            "versions": versions(self.packages),
            "settings": settings,
            "rows": self.rows,
            "notes": self.notes,
        }
        self._began, self._busy = time.perf_counter(), busy_seconds()
        self._tell(heading(self.found))
        return self

    def add(self, case: str, **figures: Any) -> None:
        """A row: its name, and figures by what they are, with their unit, such as `{"step (ms)": 6.2}`."""
        row = {"case": case, **{key: value for key, value in figures.items() if value is not None}}
        if not self.rows or self.rows[-1].keys() != row.keys():
            self._tell(("\n" if self.rows else "") + line_of(row, [*row]))
        self.rows.append(row)
        self._tell(line_of(row, [shown(value) for value in row.values()]))

    def note(self, text: str) -> None:
        """What a reader of the figures has to know besides."""
        self.notes.append(text)
        self._tell(text)

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        if kind is not None:
            return
        seconds = time.perf_counter() - self._began
        every, own = (after - before for after, before in zip(busy_seconds(), self._busy, strict=True))
        self.found["machine"]["others"] = round(max(0.0, every - own) / seconds, 2)
        self.found["seconds"] = round(seconds, 1)
        if self.options.keep is not None:
            self.options.keep.parent.mkdir(parents=True, exist_ok=True)
            self.options.keep.write_text(json.dumps(self.found, indent=1) + "\n")
        if self.options.json:
            print(json.dumps(self.found))
        else:
            print(f"took {self.found['seconds']:.0f} s, {of_others(self.found)}")

    def _tell(self, text: str) -> None:
        if not self.options.json:
            print(text, flush=True)


def _command(file: str, arguments: Sequence[str]) -> str:
    """As it is typed, without what only says where figures go."""
    kept, skip = [], False
    for word in arguments:
        if not skip and word not in ("--json", "--keep") and not word.startswith("--keep="):
            kept.append(word)
        skip = word == "--keep"
    return shlex.join(["python", f"benchmarks/{Path(file).name}", *kept])


# ---- printing -------------------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """A figure with three or four digits that say something."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    size = abs(value)
    if size == 0 or size >= 1000:
        return f"{value:.0f}"
    digits = 3 if size < 1 else 2 if size < 10 else 1
    return f"{value:.{digits}f}" if size >= 0.01 else f"{value:.1e}"


def line_of(row: Row, cells: Sequence[str]) -> str:
    """A line of the table on a terminal: the case, then figures under what they are."""
    widths = [max(24, len(str(row["case"]))), *(max(len(key), 8) for key in [*row][1:])]
    first, *others = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
    return "  ".join([first, *(cell.strip().rjust(width) for cell, width in zip(others, widths[1:], strict=True))])


def is_loaded(found: Row) -> bool:
    """Whether other work had the machine while the figures were made."""
    return found["machine"].get("others", 0.0) > LOADED * found["machine"]["cores"]


def of_others(found: Row) -> str:
    """What else the machine did: while the figures are made, in the minute before them."""
    told = found["machine"]
    return f"other work on {told['others']:.2f} cores" if "others" in told else f"load {told['load_before']} before"


def of_machine(found: Row) -> str:
    """The machine in a line."""
    told = found["machine"]
    parts = [f"{told['cores']} cores of {told['processor']}, {told['memory_gb']} GB"]
    parts += [told["gpu"]] if "gpu" in told else []
    parts += [f"{told['threads']} threads"] if "threads" in told else []
    loaded = "on a loaded machine: " if is_loaded(found) else ""
    return f"{loaded}{', '.join(parts)}, {of_others(found)}"


def heading(found: Row) -> str:
    """What stands above the figures on a terminal."""
    settings = ", ".join(f"{key} {_setting(value)}" for key, value in found["settings"].items())
    packages = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    lines = [f"$ {found['command']}", of_machine(found), packages, *([settings] if settings else [])]
    return "\n".join(lines)


def _setting(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def as_markdown(found: Row) -> str:
    """The figures as tables, and below them by which command and on what machine."""
    blocks: list[list[Row]] = []
    for row in found["rows"]:
        if not blocks or blocks[-1][-1].keys() != row.keys():
            blocks.append([])
        blocks[-1].append(row)
    parts = []
    for rows in blocks:
        keys = [*rows[0]]
        lines = ["| " + " | ".join(["", *keys[1:]]) + " |", "|---|" + "---:|" * (len(keys) - 1)]
        lines += ["| " + " | ".join(shown(value) for value in row.values()) + " |" for row in rows]
        parts.append("\n".join(lines))
    packages = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    told = f"`{found['command']}`, {of_machine(found)}; {packages}; {found['seconds']:.0f} s."
    return "\n\n".join([*parts, *found["notes"], told])
