"""How often the intervals cover and how often the paired tests reject under no difference, with speaker effects.

    python benchmarks/error_rates.py [--simulations 2000]

Simulated speakers differ in how well they are recognised, for each class and each experiment, and in which classes they
are taken for. Scenarios: `even` 40 rows a speaker, ten of each class; `uneven` speakers of very unequal length
(log-normal, factor e^.7) and class mix; `sure` the same, UAR near .9; `tied` the same as uneven, and long speakers are
recognised better. The intervals are to cover the score over all speakers of that kind; the two experiments of a test
differ on every speaker, but not over all speakers. Seeded: the same figures each time.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import run_emomm  # noqa: E402, F401 makes this checkout the package `emomm`
from emomm.metrics import SCALARS  # noqa: E402
from emomm.significance import contributions  # noqa: E402
from emomm.significance import resample_tallies  # noqa: E402
from emomm.significance import row_swap_test  # noqa: E402
from emomm.significance import score_bounds  # noqa: E402
from emomm.significance import difference_bounds  # noqa: E402
from emomm.significance import scores_of_tallies  # noqa: E402
from emomm.significance import swap_test  # noqa: E402
from emomm.significance import t_test  # noqa: E402
from emomm.significance import tally  # noqa: E402

CLASSES = 4
EASE = np.array([0.8, 0.3, 0.0, -0.6])  # log odds of being right, by class
SHARES = np.array([0.4, 0.3, 0.2, 0.1])  # of the classes, where they are uneven
SCENARIOS = ("even", "uneven", "sure", "tied")
SPEAKERS = (5, 10, 20, 50)
AT_ONCE = 100


@dataclass
class Rows:
    """Rows of several simulated data sets; two experiments tested on them.

    Args:
        sets: (n,) which data set a row is of.
        speakers: (n,) its speaker, from 0 in each data set.
        references: (n,) class numbers.
        predictions: (2, n) class numbers, of two experiments.
        tallies: (2, sets, 1, speakers, 3, classes).
    """

    sets: np.ndarray
    speakers: np.ndarray
    references: np.ndarray
    predictions: np.ndarray
    tallies: np.ndarray


def simulate(rng: np.random.Generator, scenario: str, sets: int, speakers: int) -> Rows:
    """Two experiments that do equally well over all speakers, on `sets` data sets of `speakers` speakers each."""
    total = sets * speakers
    if scenario == "even":
        counts = np.full((total, CLASSES), 10)
    else:
        length = np.maximum(8, rng.lognormal(np.log(60), 0.7, total)).astype(int)
        counts = rng.multinomial(length, rng.dirichlet(3 * CLASSES * SHARES, total))
    owner = np.repeat(np.arange(total), counts.sum(1))
    references = np.repeat(np.tile(np.arange(CLASSES), total), counts.reshape(-1))
    ease = EASE + rng.normal(0, 0.4, (total, 1))  # shared by both experiments
    if scenario == "sure":
        ease = ease + 2
    if scenario == "tied":
        ease = ease + 0.5 * np.log(counts.sum(1, keepdims=True) / 60)
    of_row = rng.normal(0, 0.5, len(owner))
    predictions = np.empty((2, len(owner)), np.int64)
    for experiment in range(2):
        own = ease + rng.normal(0, 0.45, (total, 1)) + rng.normal(0, 0.4, (total, CLASSES))
        right = rng.random(len(owner)) < expit(own[owner, references] + of_row)
        taken_for = rng.normal(0, 0.5, (total, CLASSES))[owner] + rng.gumbel(size=(len(owner), CLASSES))
        taken_for[np.arange(len(owner)), references] = -np.inf
        predictions[experiment] = np.where(right, references, taken_for.argmax(1))
    tallies = tally(references, predictions, owner, CLASSES).reshape(2, sets, 1, speakers, 3, CLASSES)
    return Rows(owner // speakers, owner % speakers, references, predictions, tallies)


def batches(rng: np.random.Generator, scenario: str, simulations: int, speakers: int) -> Iterator[Rows]:
    for start in range(0, simulations, AT_ONCE):
        yield simulate(rng, scenario, min(AT_ONCE, simulations - start), speakers)


def true_scores(scenario: str) -> np.ndarray:
    """(4,) the scores over all speakers: those of 100 000."""
    rng = np.random.default_rng(1)
    return scores_of_tallies(sum(rows.tallies.sum((0, 1, 2, 3)) for rows in batches(rng, scenario, 50, 1000)))


def coverage(rng: np.random.Generator, scenario: str, simulations: int, speakers: int, truth: np.ndarray) -> np.ndarray:
    """(8,) how often the intervals of the four scores, and of their differences, cover."""
    inside = []
    for rows in batches(rng, scenario, simulations, speakers):
        first, second = (resample_tallies(tallies) for tallies in rows.tallies)
        bounds = (score_bounds(first), difference_bounds(first, second))
        inside.append(
            np.concatenate([(low <= at) & (at <= high) for (low, high), at in zip(bounds, (truth, 0), strict=True)], 1)
        )
    return np.concatenate(inside).mean(0)


def rejections(rng: np.random.Generator, scenario: str, simulations: int, speakers: int) -> dict[str, np.ndarray]:
    """How often p < .05, (2,) for accuracy and UAR: swapping speakers, the t test over speakers, swapping rows."""
    p: dict[str, list[np.ndarray]] = {"speakers": [], "t": [], "rows": []}
    for rows in batches(rng, scenario, simulations, speakers):
        by_set = [rows.sets == number for number in range(rows.sets.max() + 1)]
        differences, by_rows = [], []
        for chosen in by_set:
            references, unit = rows.references[chosen], rows.speakers[chosen]
            a, b = (
                contributions(references, predictions[chosen][None], np.arange(len(unit)), CLASSES)
                for predictions in rows.predictions
            )
            differences.append(np.stack([np.bincount(unit, each) for each in (a - b).T], axis=1))
            by_rows.append([row_swap_test(each) for each in (a - b).T])
        flat = np.stack(differences, axis=1).reshape(speakers, -1)
        p["speakers"].append(swap_test(flat).reshape(-1, 2))
        p["rows"].append(np.array(by_rows))
        p["t"].append(t_test(*(resample_tallies(tallies) for tallies in rows.tallies))[:, :2])
    return {name: (np.concatenate(values) < 0.05).mean(0) for name, values in p.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    options = parser.parse_args()
    started = time.monotonic()
    print(f"{options.simulations} simulations; 1 of 95 % intervals covers, p < .05 under no difference")
    for scenario in options.scenarios:
        truth = true_scores(scenario)
        print(f"\n{scenario}: true " + ", ".join(f"{n} {v:.3f}" for n, v in zip(SCALARS, truth, strict=True)))
        for speakers in SPEAKERS:
            rng = np.random.default_rng([SCENARIOS.index(scenario), speakers])
            print(speakers, coverage(rng, scenario, options.simulations, speakers, truth).round(3), f"{time.monotonic()-started:.0f}s")
            print({k: v.round(3) for k, v in rejections(rng, scenario, options.simulations, speakers).items()}, f"{time.monotonic()-started:.0f}s", flush=True)


if __name__ == "__main__":
    main()
