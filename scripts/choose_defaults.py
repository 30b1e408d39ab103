"""Chooses the defaults of learning rate, widths, dropout and batch size on validation scores. Test rows count nothing.

    python scripts/choose_defaults.py [--seeds 1] [--folds 2] [--processes 2] [--json]

From one setting in the middle, each of the four is varied by itself, without curriculum, difficulty weights and
speaker batches, on emodb, emodb_emobank and both kinds of synthetic, for voice, words, cross attention and concat.
Printed is the mean validation UAR of the chosen epochs by setting and corpus, of the models that have something to
learn from there. The default is the value with the highest mean; of several within .005, one that has neighbours on
both sides, and of these the one that costs less.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from grid import PLAIN  # noqa: E402
from grid import Cell  # noqa: E402
from grid import run_grid  # noqa: E402
from grid import settings_of  # noqa: E402
from learning_rates import AT_CHANCE  # noqa: E402

CORPORA = ("emodb", "emodb_emobank", "synthetic", "interaction")
MODELS = ("voice", "words", "cross attention", "concat")
MIDDLE = {"learning_rate": 3e-3, "widths": (256, 256), "dropout": 0.3, "batch_size": 64}
VALUES = {
    "learning_rate": (1e-3, 3e-3, 9e-3),
    "widths": ((64, 64), (256, 256), (512, 1024)),
    "dropout": (0.1, 0.3, 0.5),
    "batch_size": (32, 64),
}


def settings() -> list[dict]:
    """The one in the middle, and those that differ from it in one value."""
    found = [MIDDLE]
    for name, values in VALUES.items():
        found += [{**MIDDLE, name: value} for value in values if value != MIDDLE[name]]
    return found


def cells(seeds: int, folds: int) -> list[Cell]:
    """All cells, the first seed first."""
    combined = itertools.product(range(1, seeds + 1), settings(), CORPORA, MODELS)
    found = []
    for seed, setting, corpus, model in combined:
        if (corpus, model) in AT_CHANCE:
            continue
        rest = {name: value for name, value in setting.items() if name != "widths"}
        fusion, hidden = setting["widths"]
        given = settings_of(corpus, model, **{**PLAIN, **rest, "fusion_hidden_dim": fusion, "hidden_dim": hidden})
        key = {"corpus": corpus, "model": model, **rest, "widths": f"{fusion}/{hidden}"}
        found.append(Cell(key, given, seed, tuple(range(folds))))
    return found


def table(rows: list[dict]) -> list[dict]:
    """For each setting its mean validation UAR, over all and by corpus."""
    found = []
    for setting in settings():
        wanted = {**setting, "widths": "/".join(map(str, setting["widths"]))}
        own = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
        by_corpus = {
            corpus: round(float(np.mean([row["validation_uar"] for row in own if row["corpus"] == corpus])), 3)
            for corpus in CORPORA
        }
        seconds = round(float(np.mean([row["seconds"] for row in own])), 2)
        found.append(
            {**wanted, "mean": round(float(np.mean(list(by_corpus.values()))), 3), **by_corpus, "seconds": seconds}
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=2, help="of the five, for each cell")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kept", type=Path, default=Path("choose_defaults.jsonl"), help="file of results")
    parser.add_argument("--json", action="store_true", help="print one list")
    options = parser.parse_args()
    found = table(run_grid(cells(options.seeds, options.folds), options.processes, options.kept))
    if options.json:
        print(json.dumps(found, indent=1))
        return
    columns = list(found[0])
    print("  ".join(f"{name:>13}" for name in columns))
    for row in found:
        print("  ".join(f"{row[name]:>13}" for name in columns))


if __name__ == "__main__":
    main()
