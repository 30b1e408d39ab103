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
"""

import difflib
import json
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from itertools import islice
from pathlib import Path

import measuring
import psutil
from killed_commands import BEGINNING
from killed_commands import COMMANDS
from killed_commands import END
from killed_commands import Command
from killed_commands import finish
from killed_commands import made_commands
from killed_commands import parts_told
from killed_commands import prepare_server
from killed_commands import run_undisturbed
from killed_commands import start
from killed_commands import timeless
from measuring import Benchmark

_AT_MOST = 6  # kills until a command is let end: what it leaves is looked at then
_LOOK = 0.005  # seconds between looks at how far a process is


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


def say(text: str) -> None:
    """What goes on, beside the figures."""
    print(text, file=sys.stderr, flush=True)


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
        if left > 0:
            part = rng.choice([*parts]) if rng.random() < 0.5 else None
            after = rng.uniform(0, sum(parts.values()) if part is None else parts[part])
            _wait(process, log, part or BEGINNING, after)
        if killed := left > 0 and process.exitcode is None:
            os.kill(process.pid, getattr(signal, f"SIG{name}"))
        code, number = finish(command, process, log), getattr(signal, f"SIG{name}")
        said = log.read_text()
        if code == 0:
            return
        if not killed:
            tally.faults += 1
            say(f"{command.name}: the exit code is {code} without a kill, and it said:\n{said[-2000:]}")
            return
        left -= 1
        begun = [part for part, _ in parts_told(log) if part != END]
        tally.kills[name, begun[-1] if begun else BEGINNING] += 1
        # A signal may come before the command begins to look for it, or once it has ended.
        expected = {-number} if name == "KILL" else {128 + number, -number}
        silent = code == 128 + number and "interrupted" not in said
        if code not in expected or silent or re.search(r"^(error: |Traceback)", said, re.MULTILINE):
            tally.faults += 1
            say(f"{command.name}: after {name} the exit code is {code}, and it said:\n{said[-2000:]}")
            if code in (1, 2):
                return  # it would be refused for ever


def _wait(process: multiprocessing.process.BaseProcess, log: Path, part: str, after: float) -> None:
    """Waits until a part has taken so many seconds of the processor, or the process has ended."""
    watched, until = psutil.Process(process.pid), None
    while process.exitcode is None:
        began = [seconds for name, seconds in parts_told(log) if name == part] if until is None else []
        until = began[0] + after if began else until
        try:
            times = watched.cpu_times()
        except psutil.Error:  # it has ended
            return
        left = 0.0 if until is None else until - times.user - times.system
        if until is not None and left <= 0:
            return
        time.sleep(max(_LOOK, left / 2))  # it gets there later than that: looking costs time of the processor too


def _differences(command: Command, when: str) -> int:
    """How many files differ from what the command should leave and send, which is said."""
    whole, left = command.left, command.found()
    differ = sorted(name for name in {*whole, *left} if whole.get(name) != left.get(name))
    for name in differ:
        how = "is left" if name not in whole else "is gone" if name not in left else "differs"
        say(f"{command.name}, {when}: {name} {how}")
        if (command.whole / name).is_file() and (command.output / name).is_file():
            texts = [_lines(folder / name) for folder in (command.whole, command.output)]
            say("".join(islice(difflib.unified_diff(*texts, "as it should be", "as it is", n=0), 12)))
    return len(differ)


def _lines(path: Path) -> list[str]:
    """A text as lines, for people; of a JSON file without what tells of time."""
    if path.suffix == ".json":
        text = json.dumps(timeless(json.loads(path.read_bytes())), indent=1)
        return text.splitlines(keepends=True)
    return path.read_text(errors="replace").splitlines(keepends=True) if path.suffix in (".md", ".csv") else []


def main() -> int:
    parser = measuring.parser(__doc__)
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
    with Benchmark(__file__, options) as figures, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare_server(folder)
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
                    say(f"{name}: {tally}")
        for name, tally in tallies.items():
            figures.add(name, kills=tally.kills.total(), passes=tally.passes, faults=tally.faults)
    return 1 if any(tally.faults for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
