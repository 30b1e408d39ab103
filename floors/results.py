"""What results.json says of floors: how they score, pooled as the runs of their experiment are, and who is below."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..evaluation.comparisons import compare_experiments
from ..evaluation.metrics import SCALARS
from ..evaluation.metrics import emotion_scores
from ..evaluation.metrics import scalar_scores
from ..evaluation.predictions import PooledRows
from ..evaluation.predictions import RunPredictions
from ..evaluation.predictions import pool_runs
from ..evaluation.summaries import experiment_statistics
from .store import MOST_FREQUENT
from .store import FoldFloor
from .store import RunFloors
from .store import RunKey

CHOSEN = "chosen"
"""Of a model of voice and words: of the floors on either and on both, in each fold the best on validation rows."""
RULE = (
    "Logistic regression on the mean vector of each utterance (scikit-learn, balanced classes), standardised by and "
    "fitted on the same training rows as the runs; validation rows choose C and are not fitted on. The floor of an "
    "experiment is the one on what it hears or reads; of voice and words together, the one on voice, words or both "
    "that is best on the validation rows of each fold. An experiment is below its floor where its UAR, pooled over "
    "folds and averaged over seeds, is lower than the floor's on the same rows; clearly so where the 95 % interval "
    "of the difference, paired by speaker, leaves out 0."
)
ALL = "all"
"""Of a model of modalities of the user's own: the floor on all of them."""
_RULE_OF_OWN = " Of {} together, it is the one on any of them, or on all, that is best there."


def floors_entry(
    words: Sequence[str], runs: Sequence[dict[str, Any]], floors: RunFloors, pooled: Mapping[str, PooledRows]
) -> dict[str, Any] | None:
    """`floors` of an experiment in results.json; None where it has none.

    Args:
        words: what its modalities are called.
        runs: its runs in results.json; those that are done count.
        floors: of its runs.
        pooled: its predictions by test corpus.

    Returns:
        {"rule": in words, "own": the floor that it is compared with, "corpora": {corpus: {"chance": {metric: S},
        "most_frequent": {metric: S, "seeds"}, "voice": ..., "words": ..., "both": ..., "chosen": ..., "comparison":
        T}}, "folds": {floor: [{"fold", "seeds", ...how it was chosen, "test": {corpus: {metric: score}}}]}}; S as in
        `experiment_statistics`, of the same rows as the experiment's; with "vad" where the experiment learns ratings.
        T is the UAR of `compare_experiments`, the experiment minus its floor, uncorrected, with "below" and "clear"
        (below, and the interval over speakers leaves out 0); None where that can't be said.
    """
    own = CHOSEN if len(words) > 1 else words[0]
    done = [(run["seed"], run["fold"]) for run in runs if run["status"] == "done"]
    of_runs = {key: _with_chosen(floors[key], len(words) > 1) for key in done if key in floors}
    if not of_runs or not pooled:
        return None
    corpora: dict[str, dict[str, Any]] = {corpus: {"chance": _chance(rows)} for corpus, rows in pooled.items()}
    folds = {}
    for kind in dict.fromkeys(kind for of_run in of_runs.values() for kind in of_run):
        if any(kind not in of_run for of_run in of_runs.values()):  # it could not be had in some fold
            continue
        alone = _each_once({key: of_run[kind] for key, of_run in of_runs.items()})
        found = pool_runs([RunPredictions(*key, floor.predictions) for key, (floor, _) in alone.items()])
        for corpus, said in experiment_statistics(found).items():
            corpora[corpus][kind] = _figures(said)
        folds[kind] = [
            {"fold": fold, "seeds": seeds, **floor.choice, "test": _test_scores(found, seed, fold)}
            for (seed, fold), (floor, seeds) in alone.items()
        ]
        if kind == own:
            for corpus, rows in pooled.items():
                corpora[corpus]["comparison"] = _comparison(corpus, rows, found[corpus])
    rule = RULE if set(words) <= {"voice", "words"} else RULE + _RULE_OF_OWN.format(" and ".join(words))
    return {"rule": rule, "own": own, "corpora": corpora, "folds": folds}


def _with_chosen(floors: dict[str, FoldFloor], several: bool) -> dict[str, FoldFloor]:
    """Of several modalities, with the one that did best on validation rows, the first of equal ones."""
    fitted = [floor for name, floor in floors.items() if name != MOST_FREQUENT]
    if not several or not fitted:
        return floors
    best = max(fitted, key=lambda floor: next(iter(floor.choice["validation"].values())))
    return {**floors, CHOSEN: replace(best, choice={"features": best.features, **best.choice})}


def _each_once(floors: dict[RunKey, FoldFloor]) -> dict[RunKey, tuple[FoldFloor, list[int]]]:
    """The floors with the seeds that each is for: once where a fold has the same rows with every seed.

    A user's own protocol may draw its folds by the seed: then each is of its seed, whose rows other folds test too.
    """
    seeds: dict[str, dict[str, list[int]]] = {}
    for (seed, fold), floor in floors.items():
        seeds.setdefault(fold, {}).setdefault(floor.key, []).append(seed)
    first = next(iter(floors))[0]
    once: dict[RunKey, tuple[FoldFloor, list[int]]] = {}
    for (_, fold), floor in floors.items():
        once.setdefault((first, fold), (floor, seeds[fold][floor.key]))
    if any(len(of_keys) > 1 for of_keys in seeds.values()) or _share_rows([floor for floor, _ in once.values()]):
        return {(seed, fold): (floor, [seed]) for (seed, fold), floor in floors.items()}
    return once


def _share_rows(floors: Sequence[FoldFloor]) -> bool:
    """Whether any row is tested by two of them."""
    tested: dict[str, list[np.ndarray]] = {}
    for floor in floors:
        for corpus, predictions in floor.predictions.by_corpus().items():
            tested.setdefault(corpus, []).append(predictions.utterance_ids)
    ids = (np.concatenate(of_corpus) for of_corpus in tested.values())
    return any(len(np.unique(of_corpus)) < len(of_corpus) for of_corpus in ids)


def _figures(said: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a floor's `experiment_statistics`."""
    both = {
        name: {key: decision[key] for key in ("classes", "chance", *SCALARS)}
        for name, decision in said["decisions"].items()
    }
    found = {name: said[name] for name in (*SCALARS, "vad", "seeds") if name in said}
    return {**found, "decisions": both} if both else found


def _chance(rows: PooledRows) -> dict[str, Any]:
    """The scores of an even guess among all classes, of the counts that it gives on average; where a corpus lacks
    classes, of both decisions."""
    counts = np.bincount(rows.references, minlength=len(rows.labels))
    found: dict[str, Any] = _even_guess(counts, len(counts), len(counts))
    occurring = int((counts > 0).sum())
    if occurring < len(counts):
        found["decisions"] = {
            name: {**_even_guess(counts, guesses, occurring), "chance": 1 / guesses}
            for name, guesses in (("all", len(counts)), ("shared", occurring))
        }
    return found


def _even_guess(counts: np.ndarray, guesses: int, scored: int) -> dict[str, dict[str, Any]]:
    """Scores of guessing among so many classes, (C,) rows of each; macro F1 over so many."""
    f1 = 2 * counts / (counts * guesses + counts.sum())
    scores = (1 / guesses, 1 / guesses, f1.sum() / scored, f1 @ counts / counts.sum())
    return {metric: {"pooled": float(score), "ci95": None} for metric, score in zip(SCALARS, scores, strict=True)}


def _test_scores(found: Mapping[str, PooledRows], seed: int, fold: str) -> dict[str, dict[str, float]]:
    scores = {}
    for corpus, rows in found.items():
        place = rows.seeds.index(seed) if seed in rows.seeds else 0
        tested = rows.folds[place] == fold
        if tested.any():
            predicted = rows.predictions[place, tested]
            scores[corpus] = scalar_scores(emotion_scores(rows.references[tested], predicted, rows.labels))
    return scores


def _comparison(corpus: str, rows: PooledRows, floor: PooledRows) -> dict[str, Any] | None:
    """UAR of an experiment minus that of its floor; None where they were not tested on the same rows."""
    pairs = compare_experiments({"experiment": {corpus: rows}, "floor": {corpus: floor}})[corpus]
    if not pairs:
        return None
    said = {key: value for key, value in pairs[0]["uar"].items() if key != "p_holm"}  # there is one pair
    below = said["difference"] < -1e-12
    by_speaker = said["ci95"] is not None and said["ci_units"] == "speakers"
    return {**said, "below": below, "clear": bool(below and by_speaker and said["ci95"][1] < 0)}


__all__ = ["ALL", "CHOSEN", "RULE", "floors_entry"]
