"""What an experiment's predictions say together, and how experiments compare: from rows to figures."""

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import combinations
from typing import Any
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import significance
from .decisions import decisions
from .intervals import calibration_intervals
from .intervals import concordance_intervals
from .intervals import recall_intervals
from .metrics import RATINGS
from .metrics import SCALARS
from .metrics import brier_score
from .metrics import calibration_error
from .metrics import emotion_scores
from .metrics import spread_of
from .metrics import summarise
from .metrics import vad_scores
from .protocols import natural_key

TESTED = ("accuracy", "uar")


class RunPredictions(NamedTuple):
    """The predictions.parquet of one run of an experiment, as `pyarrow.parquet.read_table` gives it."""

    seed: int
    fold: str
    table: pa.Table


@dataclass(frozen=True, eq=False)
class PooledRows:
    """The n test rows of an experiment in one corpus, ordered by id, with what each of K seeds made of them.

    Args:
        labels: the C class names in the order of the class numbers.
        utterance_ids, speakers, sessions: (n,) each.
        references: (n,) true class numbers.
        seeds: the K seeds.
        predictions: (K, n) predicted class numbers, -1 where the seed has not tested the row.
        probabilities: (K, n, C) float32, NaN where the seed has not tested the row.
        folds: (K, n) name of the fold that tested it, "" where none did.
        ratings: (n, 3) V/A/D, NaN where unrated; None where the models give none.
        predicted_ratings: (K, n, 3), NaN where the seed has not tested the row.
    """

    labels: tuple[str, ...]
    utterance_ids: np.ndarray
    speakers: np.ndarray
    sessions: np.ndarray
    references: np.ndarray
    seeds: tuple[int, ...]
    predictions: np.ndarray
    probabilities: np.ndarray
    folds: np.ndarray
    ratings: np.ndarray | None = None
    predicted_ratings: np.ndarray | None = None

    @property
    def complete(self) -> np.ndarray:
        """(K,) bool: the seeds that tested every row."""
        return (self.predictions >= 0).all(axis=1)


def pool_runs(runs: Sequence[RunPredictions]) -> dict[str, PooledRows]:
    """The folds of each seed put together, {corpus: rows}.

    Raises:
        ValueError: runs with different labels, a row that a seed tested twice or whose label changes.
    """
    pieces: dict[str, list[tuple[RunPredictions, dict[str, np.ndarray]]]] = {}
    labels = {_labels(run) for run in runs}
    if len(labels) > 1:
        raise ValueError(f"the runs have different labels: {', '.join(map(str, sorted(labels)))}")
    for run in runs:
        columns = _columns(run.table, len(_labels(run)))
        for corpus in np.unique(columns["corpus"]):
            chosen = columns["corpus"] == corpus
            pieces.setdefault(str(corpus), []).append((run, {name: each[chosen] for name, each in columns.items()}))
    return {corpus: _pool(corpus, _labels(runs[0]), of_corpus) for corpus, of_corpus in pieces.items()}


def _labels(run: RunPredictions) -> tuple[str, ...]:
    return tuple(json.loads(run.table.schema.metadata[b"labels"]))


def _columns(table: pa.Table, classes: int) -> dict[str, np.ndarray]:
    """The columns as arrays; labels and predictions as class numbers."""
    names = pa.array(json.loads(table.schema.metadata[b"labels"]))
    columns = {
        name: table[name].to_numpy(zero_copy_only=False).astype(str)
        for name in ("utterance_id", "corpus", "speaker", "session")
    }
    for name in ("label", "prediction"):
        numbers = pc.index_in(table[name], names)
        if numbers.null_count:
            odd = table[name].filter(numbers.is_null())[0].as_py()
            raise ValueError(f"a {name} is {odd!r}, which is none of the classes {', '.join(names.to_pylist())}")
        columns[name] = numbers.to_numpy().astype(np.int64)
    flat = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    columns["probabilities"] = flat.reshape(-1, classes)
    if f"predicted_{RATINGS[0]}" in table.column_names:
        for name, prefix in (("ratings", ""), ("predicted_ratings", "predicted_")):
            columns[name] = np.stack([table[f"{prefix}{rating}"].to_numpy() for rating in RATINGS], axis=-1)
    return columns


def _pool(
    corpus: str, labels: tuple[str, ...], pieces: list[tuple[RunPredictions, dict[str, np.ndarray]]]
) -> PooledRows:
    every = {name: np.concatenate([columns[name] for _, columns in pieces]) for name in pieces[0][1]}
    ids, first, place = np.unique(every["utterance_id"], return_index=True, return_inverse=True)
    references = every["label"][first]
    if (every["label"] != references[place]).any():
        odd = every["utterance_id"][np.flatnonzero(every["label"] != references[place])[0]]
        raise ValueError(f"corpus {corpus}: the label of row {odd} differs between runs")
    seeds = tuple(dict.fromkeys(run.seed for run, _ in pieces))
    predictions = np.full((len(seeds), len(ids)), -1)
    probabilities = np.full((len(seeds), len(ids), len(labels)), np.nan, np.float32)
    folds = np.full((len(seeds), len(ids)), "", dtype=object)
    ratings = every["ratings"][first] if "ratings" in every else None
    predicted_ratings = None if ratings is None else np.full((len(seeds), len(ids), 3), np.nan, np.float32)
    start = 0
    for run, columns in pieces:
        seed, rows = seeds.index(run.seed), place[start : start + len(columns["label"])]
        start += len(rows)
        if (predictions[seed, rows] >= 0).any() or len(np.unique(rows)) < len(rows):
            raise ValueError(f"corpus {corpus}: seed {run.seed} tested rows of fold {run.fold} twice")
        predictions[seed, rows] = columns["prediction"]
        probabilities[seed, rows] = columns["probabilities"]
        folds[seed, rows] = run.fold
        if predicted_ratings is not None:
            predicted_ratings[seed, rows] = columns["predicted_ratings"]
    return PooledRows(
        labels,
        ids,
        every["speaker"][first],
        every["session"][first],
        references,
        seeds,
        predictions,
        probabilities,
        folds,
        ratings,
        predicted_ratings,
    )


def experiment_statistics(pooled: Mapping[str, PooledRows]) -> dict[str, dict[str, Any]]:
    """Scores, intervals and calibration of one experiment, from `pool_runs`.

    Returns:
        {corpus: {metric: {"mean", "std", "std_over_folds", "std_over_seeds", "pooled", "ci95", "ci_method",
        "ci_units"}, ..., "recall": {class: {"pooled", "ci95", "ci_method", "ci_units"} or None}, "ece", "ece_ci95",
        "brier", "brier_ci95", "rows", "seeds", "speakers", "by_speaker", "by_session", "folds_lacking_classes",
        "decisions"}}, for each metric of `SCALARS`.

        `mean` and `std` are over runs (seeds × folds), `pooled` over the rows of all folds, averaged over the seeds,
        all as in `summarise`. `ci95` is [low, high] around `pooled` (not `mean`), from `significance`; None where that
        has none. `ece` and `brier` are pooled like `pooled`. `by_speaker` and `by_session` are {name: {"n", metric:
        score averaged over seeds}}, in natural order. `folds_lacking_classes` is {fold: [class, ...]} of the folds
        without a row of a class that the corpus has: their UAR averages fewer recalls, so that `mean` mixes UARs of
        different meaning; `pooled` does not. `decisions` is of `decisions`: {} where the corpus has all classes. Where
        the models give V/A/D and the corpus is rated, "vad" is {"valence": {"n", "ccc": {as a metric}, "rmse":
        {"mean", "std", "std_over_folds", "pooled"}}, ...}.
    """
    return {corpus: _corpus_statistics(corpus, rows) for corpus, rows in pooled.items()}


def _corpus_statistics(corpus: str, rows: PooledRows) -> dict[str, Any]:
    spread = summarise(_runs(corpus, rows))[corpus]
    given = rows.references, rows.predictions, rows.speakers
    bounds = significance.intervals(*given, len(rows.labels))
    recalls = recall_intervals(*given, rows.labels)
    calibrated = calibration_intervals(rows.references, rows.probabilities, rows.speakers)
    calibration = []
    for predicted, probabilities in zip(rows.predictions, rows.probabilities, strict=True):
        tested = predicted >= 0
        given = rows.references[tested], probabilities[tested]
        calibration.append((calibration_error(*given), brier_score(*given)))
    ece, brier = np.mean(calibration, axis=0)
    return {
        **{metric: {**spread[metric], **significance.ci_figures(bounds[metric])} for metric in SCALARS},
        "recall": {
            name: None if found is None else {"pooled": found["pooled"], **significance.ci_figures(found)}
            for name, found in recalls.items()
        },
        "ece": float(ece),
        "ece_ci95": significance.ci_figures(calibrated["ece"])["ci95"],
        "brier": float(brier),
        "brier_ci95": significance.ci_figures(calibrated["brier"])["ci95"],
        "rows": len(rows.references),
        "seeds": len(rows.seeds),
        "speakers": len(np.unique(rows.speakers)),
        "by_speaker": _by(rows.speakers, rows),
        "by_session": _by(rows.sessions, rows),
        "folds_lacking_classes": _folds_lacking_classes(rows),
        "decisions": decisions(
            rows.labels, rows.references, rows.predictions, rows.probabilities, rows.speakers, rows.seeds, rows.folds
        ),
        **({} if rows.ratings is None or np.isnan(rows.ratings).all() else {"vad": _vad_statistics(rows)}),
    }


def _folds_lacking_classes(rows: PooledRows) -> dict[str, list[str]]:
    """{fold: the classes of the corpus of which it has no test row}; folds that have all are left out."""
    occurring, found = set(rows.references.tolist()), {}
    for fold in sorted(set(rows.folds.ravel()) - {""}, key=natural_key):
        lacking = occurring - set(rows.references[(rows.folds == fold).any(axis=0)].tolist())
        if lacking:
            found[str(fold)] = [rows.labels[i] for i in sorted(lacking)]
    return found


def _vad_statistics(rows: PooledRows) -> dict[str, dict[str, Any]]:
    """Of each of valence, arousal and dominance that is rated."""
    runs, seeds = [], []
    for seed, predicted, folds in zip(rows.seeds, rows.predicted_ratings, rows.folds, strict=True):
        seeds.append(vad_scores(rows.ratings[folds != ""], predicted[folds != ""]))
        runs += [
            ((seed, fold), vad_scores(rows.ratings[folds == fold], predicted[folds == fold]))
            for fold in dict.fromkeys(folds[folds != ""])
        ]
    bounds = concordance_intervals(rows.ratings, rows.predicted_ratings, rows.speakers)
    found = {}
    for i, name in enumerate(RATINGS):
        rated = int((~np.isnan(rows.ratings[:, i])).sum())
        if not rated:
            continue
        found[name] = {"n": rated}
        for score in ("ccc", "rmse"):
            keys, values = zip(*((key, run[name][score]) for key, run in runs if run[name]["n"]), strict=True)
            found[name][score] = {
                **spread_of(values, keys),
                "pooled": float(np.mean([seed[name][score] for seed in seeds if seed[name]["n"]])),
            }
        found[name]["ccc"] |= significance.ci_figures(bounds[name])
    return found


def _runs(corpus: str, rows: PooledRows) -> list[dict[str, Any]]:
    """The scores of each seed and fold, as `summarise` takes them."""
    runs = []
    for seed, predicted, folds in zip(rows.seeds, rows.predictions, rows.folds, strict=True):
        for fold in dict.fromkeys(folds[folds != ""]):
            chosen = folds == fold
            scores = emotion_scores(rows.references[chosen], predicted[chosen], rows.labels)
            runs.append({"seed": seed, "fold": fold, "test": {corpus: scores}})
    return runs


def _by(groups: np.ndarray, rows: PooledRows) -> dict[str, dict[str, Any]]:
    names, units = np.unique(groups, return_inverse=True)
    tallies = significance.tally(rows.references, rows.predictions, units, len(rows.labels))
    scores = significance.mean_over_seeds(significance.scores_of_tallies(tallies))
    of_each = zip(names.tolist(), np.bincount(units).tolist(), scores.tolist(), strict=True)
    found = {name: {"n": n, **dict(zip(SCALARS, of_name, strict=True))} for name, n, of_name in of_each}
    return {name: found[name] for name in sorted(found, key=natural_key)}


# ---- comparisons ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Tested:
    """What comparing an experiment needs, from the seeds that tested all rows alone."""

    rows: PooledRows
    resampled: significance.Resampled
    by_speaker: np.ndarray
    by_row: np.ndarray
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
    pairs = [pair for pair in combinations(tested, 2) if _same_rows(*(tested[name].rows for name in pair))]
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
    of_speakers = significance.tally(rows.references, predictions, speakers, classes)
    of_rows = significance.tally(rows.references, predictions, np.arange(len(speakers)), classes)
    return _Tested(
        rows,
        significance.resample(rows.references, predictions, speakers, classes),
        significance.contributions(of_speakers),
        significance.contributions(of_rows),
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
    for speakers in {len(each) for each in differences if len(each) >= significance.SPEAKERS_FOR_SWAPS}:
        chosen = [i for i, each in enumerate(differences) if len(each) == speakers]
        together = np.concatenate([differences[i] for i in chosen], axis=1)
        bounds = significance.swap_interval(together, np.concatenate([shares[i] for i in chosen], axis=1))
        figures = np.stack([significance.swap_test(together), *bounds], axis=-1).reshape(-1, len(TESTED), 3)
        for i, of_pair in zip(chosen, figures.tolist(), strict=True):
            for metric, (p, low, high) in zip(TESTED, of_pair, strict=True):
                results[i][metric] |= {"p": p, "ci95": [low, high], "test": "swapped speakers"}
                results[i][metric] |= {"ci_method": "swapped speakers", "ci_units": "speakers"}
