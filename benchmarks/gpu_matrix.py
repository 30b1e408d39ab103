"""15 runs on one card: one after another, several processes side by side (`--jobs`), and as one model (`--stack`).

    python benchmarks/gpu_matrix.py [--json] [--cpu] [--rounds 1] [--jobs 8] [--of one,jobs,stack] [--cases voice,both]

Leave one session out, five sessions, three seeds, on 1 000 made rows of one 768-wide voice vector and about 12 words,
with the defaults of a recipe: `voice`, the voice alone; `both`, cross attention over stored states of the words. The
text encoder has the size of all-MiniLM-L6-v2 (6 layers, 384 wide) and random weights, made on the spot: nothing is
downloaded; `--text_model` takes another. Ways: `one`, one after another; `jobs`, `--jobs N`; `auto`, `--jobs auto`;
`stack`, `--stack`. Each is `emomm run` in a process of its own, from the command to results.json, without floors and
report; the store of states is filled before. The ways take turns, and who begins changes; figures are medians over the
rounds: `whole`, seconds of the command; `runs`, seconds from the begin of the first run's training to the end of the
last run, as the log tells it; `training`, the runs' seconds of training alone in results.json, all added up (those
side by side at the same time); and the mean UAR on the test rows.

Without a GPU it says so and ends, unless `--cpu` is given.
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
from typing import Any

from measuring import ROOT
from measuring import Benchmark
from stack import MODALITIES
from stack import device_of
from stack import recipe_of
from stack import runs_parser
from stack import text_encoder

WAYS = ("one", "jobs", "auto", "stack")
_ENDED = re.compile(r": validation UAR .*, ([\d.]+) s$")
_STACKED = re.compile(r": \d+ runs are trained as one model$")


def timed(recipe: Path, out: Path, arguments: list[str]) -> dict[str, float]:
    """Seconds of a command and of its runs, and what its results say."""
    command = [sys.executable, str(ROOT / "run_emomm.py"), str(recipe), "--no_report", "--output_dir", str(out)]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=dict(os.environ)
    )
    begins, ends, said = [], [], []
    for line in process.stderr:
        said.append(line)
        if found := _ENDED.search(line.strip()):
            ends.append(time.monotonic())
            begins.append(ends[-1] - float(found[1]))
        elif _STACKED.search(line.strip()):
            begins.append(time.monotonic())
    if process.wait():
        raise SystemExit(f"{' '.join([*command, *arguments])}:\n{''.join(said)[-3000:]}")
    whole = time.monotonic() - began
    (entry,) = json.loads((out / "results.json").read_text())["experiments"]
    return {
        "whole": whole,
        "runs": ends[-1] - min(begins),
        "training": sum(run["train_seconds"] for run in entry["runs"]),
        "uar": statistics.mean(scores["uar"] for run in entry["runs"] for scores in run["test"].values()),
    } | jobs_of(said)


def jobs_of(lines: list[str]) -> dict[str, float]:
    """How many processes `auto` chose, where it was asked."""
    for line in lines:
        if "--jobs auto:" in line:
            found = re.search(r"(\d+) side by side", line)
            return {"jobs": float(found[1]) if found else 1.0}
    return {}


def compared(case: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Medians over rounds of all ways, and how many times as long as each the first takes."""
    encoder = options.text_model or text_encoder(folder / "encoder", width=384, layers=6, intermediate=1536)
    recipe = recipe_of(folder, case, False, options, encoder)
    arguments = {
        "one": [],
        "jobs": ["--jobs", str(options.jobs)],
        "auto": ["--jobs", "auto"],
        "stack": ["--stack", "true"],
    }
    names, rounds = options.of.split(","), []
    if MODALITIES[case] != "audio":  # words are encoded before
        timed(recipe, folder / "warm", ["--seeds", "1", "--num_epochs", "1"])
    for number in range(options.rounds):
        order = names if number % 2 == 0 else names[::-1]
        rounds.append({})
        for way in order:
            rounds[-1][way] = timed(recipe, folder / f"{way}-{number}", arguments[way])
            say(case, {way: rounds[-1][way]}, f"round {number + 1}")
    found: dict[str, Any] = {
        way: {key: round(statistics.median(each[way][key] for each in rounds), 3) for key in rounds[0][way]}
        for way in names
    }
    for way in names[1:]:
        for what in ("whole", "runs"):
            ratio = statistics.median(each[names[0]][what] / each[way][what] for each in rounds)
            found[way][f"{what}, {names[0]} / {way}"] = round(ratio, 2)
    return found


def say(case: str, found: dict[str, Any], beside: str = "") -> None:
    """Says the figures of a round while the others run."""
    for way, each in found.items():
        ratios = "".join(f"   {value:5.2f} x" for key, value in each.items() if ", " in key)
        chosen = f" ({each['jobs']:.0f} processes)" if "jobs" in each else ""
        print(
            f"{case:6} {way + chosen:20} whole {each['whole']:7.2f} s   runs {each['runs']:7.2f} s   training "
            f"{each['training']:7.2f} s   UAR {each['uar']:.3f}{ratios}   {beside}",
            file=sys.stderr,
            flush=True,
        )


def main() -> None:
    known = runs_parser(__doc__)
    known.add_argument("--jobs", type=int, default=8)
    known.add_argument("--of", default="one,jobs,stack", help=f"ways, of {', '.join(WAYS)}")
    known.add_argument("--cases", default=",".join(MODALITIES), help=f"of {', '.join(MODALITIES)}")
    known.add_argument("--text_model", help="in place of the one with random weights")
    options = known.parse_args()
    if unknown := (set(options.of.split(",")) - set(WAYS)) | (set(options.cases.split(",")) - MODALITIES.keys()):
        known.error(f"there is no {sorted(unknown)[0]}")
    if device_of(options) is None:
        return
    with Benchmark(__file__, options) as figures:
        for case in options.cases.split(","):
            with tempfile.TemporaryDirectory() as folder:
                found = compared(case, Path(folder), options)
            for way, row in found.items():
                figures.add(f"{case}, {way}", **row)


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # several cards would be one large batch
    main()
