"""Runs the benchmarks that need nothing but this checkout, one after another, and prints their figures on one page.

    python benchmarks/all.py [--only step,job] [--quick] [--kept] [--docs] [--into build/benchmarks]

`make benchmark` is this. Each is a process of its own. Its figures are kept as INTO/NAME.json, with machine, versions
and settings, and as the Markdown of INTO/NAME.md. `--kept` runs nothing: what was kept before is printed. `--docs`
writes kept figures into the pages of docs/ that hold them, between `<!-- figures: NAME -->` and `<!-- end -->`.
`--quick` takes settings with which everything ends in minutes and nothing is said about speed. A benchmark that needs
more than the checkout (a GPU, recordings, other toolkits) runs where it is asked for by `--only`, or by itself with
`--keep INTO/NAME.json`; `--list` says what each needs.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import measuring
from measuring import ROOT
from measuring import as_markdown
from measuring import heading
from measuring import line_of
from measuring import shown


@dataclass(frozen=True)
class Entry:
    """A benchmark of the suite.

    Args:
        question: what it answers.
        command: program of this folder, with options.
        quick: options that make it short.
        needs: what it needs besides the checkout.
        minutes: that it takes on two cores, about.
    """

    question: str
    command: str
    quick: str = ""
    needs: str = ""
    minutes: float = 1


SUITE = {
    "step": Entry("what the Trainer adds to a step", "step_time.py", "--rounds 1 --steps 6", minutes=4),
    "probe": Entry("what the heads of frozen features cost", "probe.py", "--rounds 1 --rows 40 --epochs 2",
                   minutes=4),
    "job": Entry("what stored states save a whole training", "job.py", "--rows 60 --epochs 2 --size small --batches 1",
                 minutes=4),
    "encode": Entry("how quickly words are encoded", "encode.py --lengths turns",
                    "--rows 50 --rounds 1 --size small", minutes=5),
    "encode_sample": Entry("how quickly words of one length are encoded", "encode.py --lengths sample",
                           "--rows 50 --rounds 1 --size small", minutes=3),
    "read": Entry("what reading from disk costs", "read.py", "--rows 100 --rounds 1", minutes=1),
    "start": Entry("where the time goes that isn't training", "start.py", "--rounds 1 --of emodb", minutes=4),
    "grow": Entry("what a corpus costs as it grows", "grow.py --of order,pooled",
                  "--pooled 200,400 --steps 10", minutes=6),
    "grow_frames": Entry("what a corpus of frames costs as it grows", "grow.py --of frames",
                         needs="20 GB of disk", minutes=15),
    "matrix": Entry("what --jobs gains", "matrix.py", "--rounds 1 --epochs 2 --seeds 1", minutes=6),
    "stack": Entry("what --stack gains on a processor", "stack.py --cpu --epochs 5 --rows 500",
                   "--epochs 1 --rows 100 --seeds 1", minutes=3),
    "precision": Entry("what bf16, torch_compile and optimisers gain on a processor",
                       "precision.py --cpu --cases head", "--small --rounds 1 --steps 6 --of bf16", minutes=4),
    "processes": Entry("what a second process gains one training", "processes.py",
                       "--rounds 1 --steps 6 --cases audio_only", minutes=4),
    "tuning": Entry("what the Trainer adds to a tuned step", "tuning_time.py", "--rounds 1 --steps 2 --size small",
                    minutes=12),
    "memory": Entry("how much memory fine-tuning takes", "finetune_memory.py", "--rows 8 16 --size small", minutes=12),
    "answer": Entry("how long an answer takes", "answer.py", "--answers 5 --cold 1", minutes=4),
    "live": Entry("whether live keeps up", "live.py", "--seconds 5", minutes=3),
    "report": Entry("how long a report takes", "report_speed.py --experiments 20 --seeds 1",
                    "--experiments 1 --rows 200", minutes=2),
    "floors": Entry("how long floors take", "floor_time.py", "--rows 200 --width 16", minutes=4),
    "peers": Entry("how long other toolkits take for the same", "peers.py --install", needs="a package index",
                   minutes=12),
    "extraction": Entry("how long extraction takes", "extraction.py --emodb DATA --encoder openai/whisper-base "
                        "--output OUT", needs="recordings and Whisper"),
    "emotion2vec": Entry("emotion2vec against its authors' code", "emotion2vec_speed.py --audio FOLDER",
                         needs="recordings and funasr"),
    "finetune_gpu": Entry("what the Trainer adds to tuning on a GPU", "finetune_gpu.py", needs="a GPU"),
    "stack_gpu": Entry("what --stack gains on a GPU", "stack.py", needs="a GPU"),
    "gpu_matrix": Entry("what --jobs and --stack gain on a GPU", "gpu_matrix.py", needs="a GPU"),
    "precision_gpu": Entry("what bf16, torch_compile and optimisers gain on a GPU", "precision.py", needs="a GPU"),
}  # fmt: skip


def run(name: str, entry: Entry, quick: bool, into: Path) -> bool:
    """Runs one, which prints as it goes; whether it ended well."""
    program, *options = shlex.split(entry.command)
    options += shlex.split(entry.quick) if quick else []
    command = [sys.executable, str(ROOT / "benchmarks" / program), *options, "--keep", str(into / f"{name}.json")]
    return subprocess.run(command, cwd=ROOT).returncode == 0


def run_all(names: Sequence[str], quick: bool, into: Path) -> list[str]:
    """Runs them one after another; the names of those that failed."""
    failed = []
    for number, name in enumerate(names, start=1):
        entry = SUITE[name]
        about = "short settings" if quick and entry.quick else f"about {entry.minutes:g} min"
        print(f"\n[{number}/{len(names)}] {name}, {entry.question}: {about}", flush=True)
        if not run(name, entry, quick, into):
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return failed


def page(found: measuring.Row) -> str:
    """The figures of one as a terminal shows them."""
    lines, keys = [heading(found)], None
    for row in found["rows"]:
        if row.keys() != keys:
            lines.append(line_of(row, [*row]))
            keys = row.keys()
        lines.append(line_of(row, [shown(value) for value in row.values()]))
    return "\n".join([*lines, *found["notes"]])


def with_figures(text: str, kept: dict[str, str]) -> str:
    """A page of the documentation with the Markdown of kept figures in place of what it held."""

    def block(match: re.Match) -> str:
        return f"{match[1]}\n{kept[match[2]]}\n{match[3]}" if match[2] in kept else match[0]

    return re.sub(r"(<!-- figures: (\w+) -->)\n.*?(<!-- end -->)", block, text, flags=re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"of {', '.join(SUITE)}")
    parser.add_argument("--quick", action="store_true", help="short settings, which say nothing about speed")
    parser.add_argument("--kept", action="store_true", help="run nothing; take the figures of before")
    parser.add_argument("--docs", action="store_true", help="write kept figures into docs/")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "benchmarks")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [name for name, entry in SUITE.items() if not entry.needs]
    if unknown := set(names) - SUITE.keys():
        parser.error(f"there is no {sorted(unknown)[0]}: choose of {', '.join(SUITE)}")
    if options.list:
        for name, entry in SUITE.items():
            needs = f"; needs {entry.needs}" if entry.needs else ""
            print(f"{name:12} {entry.question}: python benchmarks/{entry.command}{needs}")
        return 0
    options.into.mkdir(parents=True, exist_ok=True)
    failed = [] if options.kept else run_all(names, options.quick, options.into)
    if options.kept and not options.only:
        names = sorted(path.stem for path in options.into.glob("*.json"))
    there = {name: options.into / f"{name}.json" for name in names}
    kept = {name: json.loads(path.read_text()) for name, path in there.items() if path.exists()}
    tables = {name: as_markdown(figures) for name, figures in kept.items()}
    for name, table in tables.items():
        (options.into / f"{name}.md").write_text(table + "\n", encoding="utf-8")
    if options.kept:
        print("\n\n".join(map(page, kept.values())))
    for path in sorted((ROOT / "docs").glob("*.md")) if options.docs else ():
        path.write_text(with_figures(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
