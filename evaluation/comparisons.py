"""How experiments compare that were tested on the same rows: paired tests that know speakers."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from . import significance
from .intervals import Resampled
from .intervals import resample
from .metrics import SCALARS
from .predictions import PooledRows
from .tallies import tally

TESTED = ("accuracy", "uar")


@dataclass(frozen=True, eq=False)
class _Tested:
    """What comparing needs of an experiment: of the seeds that tested all rows. `by_row` where speakers are few."""

    rows: PooledRows
    resampled: Resampled
    by_speaker: np.ndarray
    by_row: np.ndarray | None
    shares: np.ndarray


def compare_experiments(experiments: Mapping[str, Mapping[str, PooledRows]]) -> dict[str, list[dict[str, Any]]]:
    """Paired tests between every two experiments that were tested on the same rows, from their `pool_runs`.

    Seeds that have not tested all rows (of a job that is under way, or where a run failed) are left out; experiments
    without any other, and pairs on different rows, too. p values are corrected by Holm over the pairs, for each corpus
    and metric.

    Returns:
        {corpus: [{"first", "second", "rows", "speakers", "seeds": [first, second], "accuracy": T, "uar": T,
        "mcnemar": {"p", "note"}}]}, T: {"difference" (first - second, pooled), "ci95", "ci_method", "ci_units", "p",
        "p_holm", "test", "note"} and, under six speakers, "row_p" and "row_note".

        `test` is "swapped speakers", a permutation test, from six speakers on, and `ci95` are the differences that it
        does not reject (before Holm's correction); "t over speakers" with five, where no swap gives a p below
        2 / 2^5 = .0625; "swapped rows" under five. What does not know of speakers has the note "ignores dependence":
        its p is too small. "row_p" is of swapped rows. McNemar's test takes the first seed of each. `ci95` is None
        where there is nothing to tell it from. Classes may stand in another order in the two experiments.
    """
    corpora = dict.fromkeys(corpus for pooled in experiments.values() for corpus in pooled)
    return {
        corpus: _compare_corpus({name: pooled[corpus] for name, pooled in experiments.items() if corpus in pooled})
        for corpus in corpora
    }


def _compare_corpus(pooled: dict[str, PooledRows]) -> list[dict[str, Any]]:
    labels = next(iter(pooled.values())).labels
    pooled = {name: _relabelled(rows, labels) for name, rows in pooled.items()}
    tested = {name: _tested(rows) for name, rows in pooled.items() if rows.complete.any()}
    alike = _alike([each.rows for each in tested.values()])
    pairs = [(a, b) for (a, of_a), (b, of_b) in combinations(zip(tested, alike, strict=True), 2) if of_a == of_b]
    if not pairs:
        return []
    results = [_compare(name, other, tested[name], tested[other]) for name, other in pairs]
    differences = [tested[a].by_speaker - tested[b].by_speaker for a, b in pairs]
    _swap_speakers(results, differences, [tested[a].shares for a, _ in pairs])
    for metric in TESTED:
        for result, p in zip(results, significance.holm([each[metric]["p"] for each in results]), strict=True):
            result[metric]["p_holm"] = p
    return results


def _tested(rows: PooledRows) -> _Tested:
    classes, predictions = len(rows.labels), rows.predictions[rows.complete]
    speakers = np.unique(rows.speakers, return_inverse=True)[1]
    of_speakers = tally(rows.references, predictions, speakers, classes)
    of_rows = None
    if len(of_speakers[0]) < significance.SPEAKERS_FOR_SWAPS:
        of_rows = tally(rows.references, predictions, np.arange(len(speakers)), classes)
    return _Tested(
        rows,
        resample(rows.references, predictions, speakers, classes),
        significance.contributions(of_speakers),
        None if of_rows is None else significance.contributions(of_rows),
        significance.shares_of_units(of_speakers),
    )


def _relabelled(rows: PooledRows, labels: tuple[str, ...]) -> PooledRows:
    """The same rows with their classes in another order; as they are, where they are other classes."""
    if rows.labels == labels or set(rows.labels) != set(labels):
        return rows
    place = np.array([labels.index(name) for name in rows.labels])
    return replace(
        rows,
        labels=labels,
        references=place[rows.references],
        predictions=np.where(rows.predictions < 0, -1, place[rows.predictions]),
        probabilities=rows.probabilities[..., np.argsort(place)],
    )


def _alike(tested: list[PooledRows]) -> list[int]:
    """For each the place of the first that has the same rows."""
    found: list[int] = []
    for number, rows in enumerate(tested):
        same = (first for first in dict.fromkeys(found) if _same_rows(tested[first], rows))
        found.append(next(same, number))
    return found


def _same_rows(first: PooledRows, second: PooledRows) -> bool:
    return (
        first.labels == second.labels
        and np.array_equal(first.utterance_ids, second.utterance_ids)
        and np.array_equal(first.references, second.references)
        and np.array_equal(first.speakers, second.speakers)
    )


def _compare(name: str, other: str, first: _Tested, second: _Tested) -> dict[str, Any]:
    """All of a pair but the swaps of speakers, which are done for all pairs at once."""
    rows, resampled = first.rows, (first.resampled, second.resampled)
    low, high = significance.difference_bounds(*resampled)
    p = significance.t_test(*resampled)
    speakers = len(first.by_speaker)
    result: dict[str, Any] = {
        "first": name,
        "second": other,
        "rows": len(rows.references),
        "speakers": speakers,
        "seeds": [int(each.rows.complete.sum()) for each in (first, second)],
    }
    for column, metric in enumerate(TESTED):
        i = SCALARS.index(metric)
        figures = {
            "difference": float(resampled[0].estimate[i] - resampled[1].estimate[i]),
            "ci95": None if np.isnan(low[i]) else [float(low[i]), float(high[i])],
            "ci_method": resampled[0].method,
            "ci_units": resampled[0].units,
            "p": float(p[i]),
            "test": "t over speakers",
            "note": "",
        }
        if np.isnan(p[i]):  # every speaker differs by exactly as much, which no t test can judge
            differences = first.by_speaker[:, [column]] - second.by_speaker[:, [column]]
            figures |= {"p": float(significance.swap_test(differences)[0]), "test": "swapped speakers"}
        if speakers < significance.SPEAKERS_FOR_SWAPS:
            row_p = significance.row_swap_test(first.by_row[:, column] - second.by_row[:, column])
            figures |= {"row_p": row_p, "row_note": significance.IGNORES_DEPENDENCE}
            if resampled[0].units == "rows":
                figures |= {"p": row_p, "test": "swapped rows", "note": significance.IGNORES_DEPENDENCE}
        result[metric] = figures
    ones = [each.rows.predictions[each.rows.complete][0] for each in (first, second)]
    result["mcnemar"] = {
        "p": significance.mcnemar_test(rows.references, *ones),
        "note": significance.IGNORES_DEPENDENCE + ("; the first seed of each" if max(result["seeds"]) > 1 else ""),
    }
    return result


def _swap_speakers(results: list[dict[str, Any]], differences: list[np.ndarray], shares: list[np.ndarray]) -> None:
    """Sets p and interval where there are six speakers or more; pairs with as many speakers share their swaps."""
    for speakers in {
        len(difference) for difference in differences if len(difference) >= significance.SPEAKERS_FOR_SWAPS
    }:
        chosen = [i for i, each in enumerate(differences) if len(each) == speakers]
        joined = np.concatenate([differences[i] for i in chosen], axis=1)
        bounds = significance.swap_interval(joined, np.concatenate([shares[i] for i in chosen], axis=1))
        figures = np.stack([significance.swap_test(joined), *bounds], axis=-1).reshape(-1, len(TESTED), 3)
        for i, of_pair in zip(chosen, figures.tolist(), strict=True):
            for metric, (p, low, high) in zip(TESTED, of_pair, strict=True):
                results[i][metric] |= {"p": p, "ci95": [low, high], "test": "swapped speakers"}
                results[i][metric] |= {"ci_method": "swapped speakers", "ci_units": "speakers"}


__all__ = ["TESTED", "compare_experiments"]
