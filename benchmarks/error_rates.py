"""How often the intervals cover and how often the paired tests reject under no difference, with speaker effects.

    python benchmarks/error_rates.py [--simulations 2000] [--scenarios even uneven sure tied zipf] [--seed 0]

Simulated speakers differ in how well they are recognised, by class and by experiment, and in which classes they
are taken for. Scenarios: `even` 40 rows a speaker, ten of each class; `uneven` speakers of very unequal length
(log-normal, factor e^.7) and class mix; `sure` the same, UAR near .9; `tied` the same as uneven, and long speakers are
recognised better; `zipf` the k-th speaker has 1 / k of the first one's rows. The intervals are to cover the score over
all speakers of that kind; the two experiments of a test differ on every speaker, but not over all speakers. Seeded:
the same figures each time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from measuring import Benchmark
from measuring import parser
from scipy.special import expit

from emomm.evaluation.intervals import Resampled
from emomm.evaluation.intervals import resample_tallies
from emomm.evaluation.intervals import score_bounds
from emomm.evaluation.metrics import SCALARS
from emomm.evaluation.significance import SPEAKERS_FOR_SWAPS
from emomm.evaluation.significance import contributions
from emomm.evaluation.significance import difference_bounds
from emomm.evaluation.significance import row_swap_test
from emomm.evaluation.significance import shares_of_units
from emomm.evaluation.significance import swap_interval
from emomm.evaluation.significance import swap_test
from emomm.evaluation.significance import t_test
from emomm.evaluation.tallies import scores_of_tallies
from emomm.evaluation.tallies import tally

CLASSES = 4
EASE = np.array([0.8, 0.3, 0.0, -0.6])  # log odds of being right, by class
SHARES = np.array([0.4, 0.3, 0.2, 0.1])  # of the classes, where they are uneven
SCENARIOS = ("even", "uneven", "sure", "tied", "zipf")
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
        if scenario == "zipf":
            length = np.tile(np.maximum(8, 600 // np.arange(1, speakers + 1)), sets)
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
    sets, speakers = (1000, 50) if scenario == "zipf" else (50, 1000)  # the k-th of 1000 would have no rows
    return scores_of_tallies(sum(rows.tallies.sum((0, 1, 2, 3)) for rows in batches(rng, scenario, sets, speakers)))


def percentile_bounds(resampled: Resampled) -> tuple[np.ndarray, np.ndarray]:
    """What the bootstrap gives without more ado, to compare with."""
    low, high = np.quantile(resampled.values, [0.025, 0.975], axis=-2)
    return low, high


def covers(bounds: tuple[np.ndarray, np.ndarray], truth: np.ndarray | float) -> np.ndarray:
    return (bounds[0] <= truth) & (truth <= bounds[1])


def measure(rng: np.random.Generator, scenario: str, simulations: int, speakers: int, truth: np.ndarray) -> dict:
    """Shares of the simulations: {what: by metric}, four scores for intervals, accuracy and UAR for tests."""
    seen: dict[str, list[np.ndarray]] = {}

    def note(what: str, values: np.ndarray) -> None:
        seen.setdefault(what, []).append(values)

    for rows in batches(rng, scenario, simulations, speakers):
        first, second = (resample_tallies(tallies) for tallies in rows.tallies)
        note(f"interval ({first.method})", covers(score_bounds(first), truth))
        if first.method == "bootstrap":
            note("interval (percentiles)", covers(percentile_bounds(first), truth))
        a, b = (contributions(tallies) for tallies in rows.tallies)  # (sets, speakers, 2)
        differences = np.moveaxis(a - b, 1, 0).reshape(speakers, -1)
        p = swap_test(differences).reshape(-1, 2)
        if speakers < SPEAKERS_FOR_SWAPS:
            note("interval of a difference (t)", covers(difference_bounds(first, second), 0))
        else:
            shares = np.moveaxis(shares_of_units(rows.tallies[0]), 1, 0).reshape(speakers, -1)
            low, high = (each.reshape(-1, 2) for each in swap_interval(differences, shares))
            note("interval of a difference", covers((low, high), 0))
            note("p < .05 but 0 inside, or not", (p < 0.05) == covers((low, high), 0))
        note("p < .05, swapped speakers", p < 0.05)
        note("p < .05, t over speakers", t_test(first, second)[:, :2] < 0.05)
        if speakers < SPEAKERS_FOR_SWAPS:
            note("p < .05, swapped rows", row_test(rows) < 0.05)
    return {what: np.concatenate(values).mean(0) for what, values in seen.items()}


def row_test(rows: Rows) -> np.ndarray:
    """(sets, 2) p values of swapped rows."""
    p = []
    for number in range(rows.sets.max() + 1):
        chosen = rows.sets == number
        references = rows.references[chosen]
        a, b = (
            contributions(tally(references, predictions[None, chosen], np.arange(len(references)), CLASSES))
            for predictions in rows.predictions
        )
        p.append([row_swap_test(differences) for differences in (a - b).T])
    return np.array(p)


def main() -> None:
    known = parser(__doc__)
    known.add_argument("--simulations", type=int, default=2000, help="a line")
    known.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    known.add_argument("--seed", type=int, default=0)
    options = known.parse_args()
    with Benchmark(__file__, options, ("numpy", "scipy")) as figures:
        figures.note("how often a 95 % interval covers, how often p < .05 without cause")
        for scenario in options.scenarios:
            truth = true_scores(scenario)
            figures.add(f"{scenario}: true score", **dict(zip(SCALARS, map(float, truth), strict=True)))
            for speakers in SPEAKERS:
                rng = np.random.default_rng([options.seed, SCENARIOS.index(scenario), speakers])
                for what, shares in measure(rng, scenario, options.simulations, speakers, truth).items():
                    told = dict(zip(SCALARS, map(float, shares), strict=False))
                    figures.add(f"{scenario}, {speakers} speakers: {what}", **told)


if __name__ == "__main__":
    main()
