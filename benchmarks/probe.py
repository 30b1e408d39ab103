"""How much processor time the linear probe of emotion2vec's authors takes: the recipe, and a loop as theirs is.

    python benchmarks/probe.py [--json] [--rounds 3] [--rows 540] [--epochs 100] [--frames 1] [--against FOLDER ...]

A made-up corpus in the layout of the authors' features (`train.npy`, `.lengths`, `.emo`): five sessions of two
speakers, 768 wide, `--frames` vectors a recording on average. `recipe` is `emomm run emotion2vec_linear` with one
seed: five folds, from the command to results.json, without a report. `loop` is what the published probe does for the
same folds: a torch DataLoader over the rows, padded batches, RMSprop and CyclicLR, and the validation and test rows
scored after each epoch; nothing is kept. `--against` is another checkout of EmoMM, whose recipe is run by the same
Python. All take turns, each in a process of its own; the figures are medians of the seconds of processor that a
process and its children took, and of its wall time.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import Benchmark
from measuring import parser

ROOT = Path(__file__).resolve().parent.parent
LABELS = ["neu", "hap", "sad", "ang"]
DIM, SESSIONS, BATCH = 768, 5, 128


def fabricate(folder: Path, rows: int, frames: int) -> Path:
    """The corpus in a folder of its own; its classes can be told apart."""
    rng = np.random.default_rng(0)
    lengths = np.ones(rows, int) if frames == 1 else rng.integers(frames // 2, frames * 3 // 2 + 1, rows)
    labels = np.arange(rows) % len(LABELS)
    centres = rng.standard_normal((len(LABELS), DIM)) * 0.2
    vectors = centres[np.repeat(labels, lengths)] + rng.standard_normal((lengths.sum(), DIM))
    folder.mkdir()
    np.save(folder / "train.npy", vectors.astype(np.float32))
    (folder / "train.lengths").write_text("".join(f"{length}\n" for length in lengths))
    names = [f"Ses0{row * SESSIONS // rows + 1}F_impro01_{'FM'[row // 4 % 2]}{row:03d}" for row in range(rows)]
    lines = [f"{name}\t{LABELS[label]}\n" for name, label in zip(names, labels, strict=True)]
    (folder / "train.emo").write_text("".join(lines))
    return folder


def seconds_of(command: list[str]) -> tuple[float, float]:
    """Of processor, and by the clock."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.monotonic() - began


def recipe_of(checkout: Path, corpus: Path, output: Path, epochs: int) -> list[str]:
    """The command of the recipe in a checkout."""
    command = [sys.executable, str(checkout / "run_emomm.py"), str(checkout / "recipes" / "emotion2vec_linear.json")]
    command += ["--corpus", f"IEMO={corpus}", "--output_dir", str(output), "--num_epochs", str(epochs), "--no_report"]
    return [*command, "--seeds", "42"]


def loop(corpus: Path, epochs: int) -> None:
    """The folds of the probe, trained by hand."""
    import torch

    lengths = np.array((corpus / "train.lengths").read_text().split(), int)
    ends = np.cumsum(lengths)
    vectors = np.load(corpus / "train.npy", mmap_mode="r")
    names, labels = zip(*(line.split() for line in (corpus / "train.emo").read_text().splitlines()), strict=True)
    session = np.array([int(name[4]) for name in names])
    label = np.array([LABELS.index(name) for name in labels])
    rows = [
        (torch.from_numpy(vectors[end - n : end].copy()), int(of))
        for n, end, of in zip(lengths, ends, label, strict=True)
    ]

    def padded(batch):
        features = torch.nn.utils.rnn.pad_sequence([row for row, _ in batch], batch_first=True)
        counts = torch.tensor([len(row) for row, _ in batch])
        mask = torch.arange(features.shape[1]) < counts[:, None]
        return features, mask, torch.tensor([of for _, of in batch])

    def loader(chosen, shuffle=False):
        return torch.utils.data.DataLoader([rows[i] for i in chosen], BATCH, shuffle, collate_fn=padded)

    for held_out in range(1, SESSIONS + 1):
        torch.manual_seed(42)
        others = np.random.default_rng(42).permutation(np.flatnonzero(session != held_out))
        cut = len(others) // 5
        training, *parts = (
            loader(others[cut:], True),
            loader(others[:cut]),
            loader(np.flatnonzero(session == held_out)),
        )
        _train(training, parts, epochs)


def _train(training, parts, epochs: int) -> None:
    import torch

    first, last = torch.nn.Linear(DIM, 256), torch.nn.Linear(256, len(LABELS))
    optimizer = torch.optim.RMSprop([*first.parameters(), *last.parameters()], lr=5e-4, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, base_lr=5e-4, max_lr=1e-3, step_size_up=10)

    def logits_of(features, mask):
        hidden = first(features).relu() * mask.unsqueeze(-1)
        return last(hidden.sum(dim=1) / mask.sum(dim=1, keepdim=True))

    for _ in range(epochs):
        for features, mask, label in training:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits_of(features, mask), label).backward()
            optimizer.step()
        scheduler.step()
        with torch.no_grad():
            for part in parts:
                sum((logits_of(features, mask).argmax(1) == label).sum().item() for features, mask, label in part)


def main() -> None:
    known = parser(__doc__, rounds=3)
    for name, default in (("rows", 540), ("epochs", 100), ("frames", 1)):
        known.add_argument(f"--{name}", type=int, default=default)
    known.add_argument("--against", type=Path, nargs="*", default=[], help="folders of other checkouts")
    known.add_argument("--loop_of", type=Path, help=argparse.SUPPRESS)
    options = known.parse_args()
    if options.loop_of is not None:
        return loop(options.loop_of, options.epochs)
    with Benchmark(__file__, options) as figures:
        taken: dict[str, list[tuple[float, float]]] = {}
        with tempfile.TemporaryDirectory() as folder:
            corpus = fabricate(Path(folder) / "corpus", options.rows, options.frames)
            by_hand = [sys.executable, str(Path(__file__).resolve()), "--loop_of", str(corpus)]
            for number in range(options.rounds):
                commands = {"loop": [*by_hand, "--epochs", str(options.epochs)]}
                for name, checkout in {"recipe": ROOT, **{str(path): path for path in options.against}}.items():
                    output = Path(folder) / f"{number}-{len(commands)}"
                    commands[name] = recipe_of(checkout.resolve(), corpus, output, options.epochs)
                for name, command in commands.items():
                    taken.setdefault(name, []).append(seconds_of(command))
        for name, of_rounds in taken.items():
            processor, wall = (statistics.median(each) for each in zip(*of_rounds, strict=True))
            ratios = [mine / theirs for (mine, _), (theirs, _) in zip(taken["recipe"], of_rounds, strict=True)]
            told = {"CPU seconds": processor, "seconds": wall, "recipe / this (CPU)": statistics.median(ratios)}
            figures.add(name, **told)


if __name__ == "__main__":
    main()
