"""How many runs an hour a job gets through, one after another and side by side.

    python benchmarks/matrix.py [--json] [--rounds 3] [--epochs 30] [--seeds 3] [--of default,jobs,auto]

The voice of emodb, five folds for each seed: 15 runs. Ways: `default`, one after another with all threads; `single`,
one after another with one thread each; `jobs`, as many processes as there are cores with one thread each; `auto`,
`--jobs auto`. They take turns, each in a process of its own from the command to results.json, without a report; the
figures are medians over the rounds of runs an hour in all that time (`whole`), and from the first run's begin to the
last run's end (`runs`), as the log tells it.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import CORES
from measuring import ROOT
from measuring import Benchmark
from measuring import in_turn
from measuring import medians
from measuring import parser
from measuring import ratio

WAYS = {
    "default": [],
    "single": ["--threads_per_run", "1"],
    "jobs": ["--jobs", str(CORES), "--threads_per_run", "1"],
    "auto": ["--jobs", "auto"],
}


def seconds_of(way: str, folder: Path, epochs: int, seeds: int) -> tuple[float, float, int]:
    """Seconds of the whole command, and of its runs; how many runs there were."""
    out = folder / way
    command = [sys.executable, str(ROOT / "run_emomm.py"), str(ROOT / "recipes" / "emodb.json")]
    command += ["--experiment", "voice", "--num_epochs", str(epochs), "--output_dir", str(out), "--no_report"]
    command += ["--seeds", *map(str, range(1, seeds + 1)), *WAYS[way]]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    began = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    ends, said = [], []
    for line in process.stderr:
        said.append(line)
        found = re.search(r": validation UAR .*, ([\d.]+) s$", line.strip())
        if found:
            ends.append((time.monotonic(), float(found[1])))
    if process.wait():
        raise SystemExit(f"{' '.join(command)}:\n{''.join(said)[-3000:]}")
    whole = time.monotonic() - began
    first = min(end - took for end, took in ends)
    return whole, ends[-1][0] - first, len(ends)


def in_folder(way: str, epochs: int, seeds: int) -> tuple[float, float]:
    """Runs an hour of the whole command, and of its runs."""
    with tempfile.TemporaryDirectory() as folder:
        whole, of_runs, runs = seconds_of(way, Path(folder), epochs, seeds)
    return 3600 * runs / whole, 3600 * runs / of_runs


def main() -> None:
    known = parser(__doc__, rounds=3)
    known.add_argument("--epochs", type=int, default=30)
    known.add_argument("--seeds", type=int, default=3, help="each of five runs")
    known.add_argument("--of", default="default,jobs,auto", help=f"ways, of {', '.join(WAYS)}")
    options = known.parse_args()
    names = options.of.split(",")
    if unknown := set(names) - WAYS.keys():
        known.error(f"there is no {sorted(unknown)[0]}")
    with Benchmark(__file__, options) as figures:
        ways = {name: lambda name=name: in_folder(name, options.epochs, options.seeds) for name in names}
        found, first = in_turn(ways, options.rounds), names[0]
        for name in names:
            row = {}
            for place, what in enumerate(("whole", "runs")):
                rates = [{way: rate[place] for way, rate in each.items()} for each in found]
                row[f"runs an hour, {what}"] = medians(rates)[name]
                row[f"{what}, x {first}"] = ratio(rates, name, first)
            figures.add(name, **row)


if __name__ == "__main__":
    main()
