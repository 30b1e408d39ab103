"""Whether every model learns at every learning rate: over corpora, widths, dropout, with a curriculum and without.

    python benchmarks/learning_rates.py [--seeds 1] [--folds 2] [--minutes 60] [--processes 2] [--json]

Five corpora (emodb, emodb's pooled vectors in place of its frames, emodb_emobank, and both kinds of synthetic), six
models (voice, words, the four fusions), learning rates 3e-4 to 9e-3, and a half fraction of {widths 64/64, 512/1024} x
{dropout .1, .5} x {plain, easy-first curriculum with speaker batches}: the half that holds the original system's own
setting (wide, .1, curriculum). Every learning rate is run with the same ones. All else is the defaults.

Printed: UAR by model and learning rate (mean over corpora, settings, folds, seeds), the worst of 3e-4 to 3e-3 and 9e-3
against the best of them, runs that stay at chance although logistic regression on the same rows doesn't, and runs that
never predict a class.
"""

import itertools
from pathlib import Path

import numpy as np
from grid import CORPORA
from grid import CURRICULUM
from grid import MODELS
from grid import NARROW
from grid import PLAIN
from grid import WIDE
from grid import Cell
from grid import run_grid
from grid import settings_of
from measuring import Benchmark
from measuring import parser

RATES = (3e-4, 1e-3, 3e-3, 9e-3)
# (width, dropout, order): each value twice, and each pair of values once.
HALF = (("wide", 0.1, "curriculum"), ("wide", 0.5, "plain"), ("narrow", 0.1, "plain"), ("narrow", 0.5, "curriculum"))
FUSIONS = [name for name in MODELS if name not in ("voice", "words")]
# Where these models have nothing to learn from: the words of emodb, and either alone of the interaction.
AT_CHANCE = {("emodb", "words"), ("emodb pooled", "words"), ("interaction", "voice"), ("interaction", "words")}


def cells(seeds: int, folds: int) -> list[Cell]:
    """All cells, the first seed first. Which folds are run changes with corpus and setting, not with the rate."""
    found = []
    for seed, (number, (corpus, model)), setting, rate in itertools.product(
        range(1, seeds + 1), enumerate(itertools.product(CORPORA, MODELS)), range(len(HALF)), RATES
    ):
        width, dropout, order = HALF[setting]
        more = {"wide": WIDE, "narrow": NARROW}[width] | {"plain": PLAIN, "curriculum": CURRICULUM}[order]
        settings = settings_of(corpus, model, learning_rate=rate, dropout=dropout, **more)
        key = {"corpus": corpus, "model": model, "learning_rate": rate}
        key |= {"width": width, "dropout": dropout, "order": order}
        of_cell = tuple(sorted((number + setting + i * (5 // folds)) % 5 for i in range(folds)))
        found.append(Cell(key, settings, seed, of_cell))
    return found


def at_chance(row: dict) -> bool:
    """Whether the validation UAR of the chosen epoch is not above chance by more than its standard error."""
    counts = np.array([count for count in row["validation_rows"] if count])
    chance = 1 / len(counts)
    error = np.sqrt((chance * (1 - chance) / counts).sum()) / len(counts)
    return row["validation_uar"] <= chance + error


def pooled_uar(rows: list[dict]) -> float:
    """The UAR of the confusion matrices of some rows, added up."""
    confusion = np.sum([row["confusion"] for row in rows], axis=0)
    return float(np.mean(np.diagonal(confusion) / confusion.sum(axis=1)))


def mean_uar(rows: list[dict]) -> float:
    """The mean over corpora and settings of the UAR pooled over folds and seeds."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["corpus"], row["width"], row["dropout"], row["order"]), []).append(row)
    return float(np.mean([pooled_uar(group) for group in groups.values()]))


def findings(rows: list[dict]) -> dict:
    """What the table shows."""
    of = {
        model: {rate: [row for row in rows if (row["model"], row["learning_rate"]) == (model, rate)] for rate in RATES}
        for model in MODELS
    }
    table = {model: {f"{rate:g}": round(mean_uar(by[rate]), 3) for rate in RATES} for model, by in of.items()}
    best = {model: max(by.values()) for model, by in table.items()}
    dead = [row for row in rows if (row["corpus"], row["model"]) not in AT_CHANCE and at_chance(row)]
    told = [row for row in rows if (row["corpus"], row["model"]) not in AT_CHANCE]
    never = [row for row in told if row["never_predicted"]]
    by_corpus = {
        model: {
            corpus: {
                f"{rate:g}": round(mean_uar([row for row in of[model][rate] if row["corpus"] == corpus]), 3)
                for rate in RATES
            }
            for corpus in CORPORA
        }
        for model in MODELS
    }
    return {
        "runs": len(rows),
        "uar": table,
        "worst_below_best": {
            model: {
                "3e-4 to 3e-3": round(best[model] - min(table[model][f"{rate:g}"] for rate in RATES[:3]), 3),
                "9e-3": round(best[model] - table[model]["0.009"], 3),
            }
            for model in MODELS
        },
        "runs_at_chance": [row["cell"] for row in dead],
        "class_never_predicted": {"runs": len(never), "of": len(told), "share": round(len(never) / len(told), 4)},
        "uar_by_corpus": by_corpus,
    }


def main() -> None:
    known = parser(__doc__)
    known.add_argument("--seeds", type=int, default=1)
    known.add_argument("--folds", type=int, default=2, help="of the five, for each cell")
    known.add_argument("--minutes", type=float, default=60, help="begin no further cell after this time")
    known.add_argument("--processes", type=int, default=2)
    known.add_argument(
        "--kept", type=Path, default=Path("learning_rates.jsonl"), help="results; a stopped grid goes on"
    )
    options = known.parse_args()
    with Benchmark(__file__, options) as figures:
        rows = run_grid(cells(options.seeds, options.folds), options.processes, options.kept, options.minutes)
        found = findings(rows)
        for model, by in found["uar"].items():
            below = {f"below the best, {rates}": points for rates, points in found["worst_below_best"][model].items()}
            figures.add(model, **by, **below)
        for model, by_corpus in found["uar_by_corpus"].items():
            for corpus, by in by_corpus.items():
                figures.add(f"{model}, {corpus}", **by)
        never = found["class_never_predicted"]
        figures.note(f"{found['runs']} runs; at chance though there is something to learn:")
        figures.note("; ".join(found["runs_at_chance"]) or "none")
        figures.note(f"a class never predicted: {never['runs']} of {never['of']} ({100 * never['share']:.1f} %)")


if __name__ == "__main__":
    main()
