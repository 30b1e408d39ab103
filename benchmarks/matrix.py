"""How many runs an hour a job gets through, one after another and side by side.

    python benchmarks/matrix.py [--json] [--rounds 3] [--epochs 30] [--seeds 3] [--of default,jobs,auto]

The voice of emodb, five folds for each seed: 15 runs. Ways: `default`, one after another with all threads; `single`,
one after another with one thread each; `jobs`, as many processes as there are cores with one thread each; `auto`,
`--jobs auto`. They take turns, each in a process of its own from the command to results.json, without a report; the
figures are medians over the rounds of runs an hour in all that time (`whole`), and from the first run's begin to the
last run's end (`runs`), as the log tells it.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3, help="each of five runs")
    parser.add_argument("--of", default="default,jobs,auto", help=f"ways, of {', '.join(WAYS)}")
    options = parser.parse_args()
    names = options.of.split(",")
    if unknown := set(names) - WAYS.keys():
        parser.error(f"there is no {sorted(unknown)[0]}")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                whole, of_runs, runs = seconds_of(name, Path(folder), options.epochs, options.seeds)
            taken[name].append((3600 * runs / whole, 3600 * runs / of_runs))
    found = {
        name: dict(zip(("whole", "runs"), (statistics.median(each) for each in zip(*rates, strict=True)), strict=True))
        for name, rates in taken.items()
    }
    first = names[0]
    for name in names[1:]:
        for what in ("whole", "runs"):
            ratios = [a[what == "runs"] / b[what == "runs"] for a, b in zip(taken[name], taken[first], strict=True)]
            found[name][f"{what}, against {first}"] = round(statistics.median(ratios), 3)
    if options.json:
        print(json.dumps({"cores": CORES, "rounds": options.rounds, "ways": found}))
        return
    for name, said in found.items():
        ratios = "".join(f"  {ratio:.2f} x" for what, ratio in said.items() if ", against" in what)
        print(f"{name:8} {said['whole']:8.0f} runs an hour ({said['runs']:.0f} while they train){ratios}")


if __name__ == "__main__":
    main()
