"""What the predictions of one experiment say: scores with their spread and intervals, calibration, by speaker."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .decisions import decisions
from .intervals import calibration_intervals
from .intervals import ci_figures
from .intervals import concordance_intervals
from .intervals import intervals
from .intervals import recall_intervals
from .metrics import RATINGS
from .metrics import SCALARS
from .metrics import brier_score
from .metrics import calibration_error
from .metrics import emotion_scores
from .metrics import spread_of
from .metrics import summarise
from .metrics import vad_scores
from .predictions import PooledRows
from .protocols import natural_key
from .tallies import mean_over_seeds
from .tallies import scores_of_tallies
from .tallies import tally


def experiment_statistics(pooled: Mapping[str, PooledRows]) -> dict[str, dict[str, Any]]:
    """Scores, intervals and calibration of one experiment, from `pool_runs`.

    Returns:
        {corpus: {metric: {"mean", "std", "std_over_folds", "std_over_seeds", "pooled", "ci95", "ci_method",
        "ci_units"}, ..., "recall": {class: {"pooled", "ci95", "ci_method", "ci_units"} or None}, "ece", "ece_ci95",
        "brier", "brier_ci95", "rows", "seeds", "speakers", "by_speaker", "by_session", "folds_lacking_classes",
        "decisions", "unseen_sentences"}}, for each metric of `SCALARS`.

        `mean` and `std` are over runs (seeds × folds), `pooled` over the rows of all folds, averaged over the seeds,
        all as in `summarise`. `ci95` is [low, high] around `pooled` (not `mean`), from `intervals`; None where that
        has none. `ece` and `brier` are pooled like `pooled`. `by_speaker` and `by_session` are {name: {"n", metric:
        score averaged over seeds}}, in natural order. `folds_lacking_classes` is {fold: [class, ...]} of the folds
        without a row of a class that the corpus has: their UAR averages fewer recalls, so that `mean` mixes UARs of
        different meaning; `pooled` does not. `unseen_sentences` is there where transcripts repeat: {"rows": test rows
        whose words were neither trained on nor chose an epoch, averaged over seeds, "of": all, "classes": how many
        classes they have, "uar": {"pooled", "ci95", ...} on them, or None where there are none}. `decisions` is of
        `decisions`: {} where the corpus has all classes. Where the models give V/A/D and the corpus is rated, "vad" is
        {"valence": {"n", "ccc": {as a metric}, "rmse": {"mean", "std", "std_over_folds", "pooled"}}, ...}.
    """
    return {corpus: _corpus_statistics(corpus, rows) for corpus, rows in pooled.items()}


def _corpus_statistics(corpus: str, rows: PooledRows) -> dict[str, Any]:
    spread = summarise(_runs(corpus, rows))[corpus]
    names, speakers = np.unique(rows.speakers, return_inverse=True)  # numbers: text is slow to compare
    given = rows.references, rows.predictions, speakers
    bounds = intervals(*given, len(rows.labels))
    recalls = recall_intervals(*given, rows.labels)
    calibrated = calibration_intervals(rows.references, rows.probabilities, speakers)
    calibration = []
    for predicted, probabilities in zip(rows.predictions, rows.probabilities, strict=True):
        tested = predicted >= 0
        given = rows.references[tested], probabilities[tested]
        calibration.append((calibration_error(*given), brier_score(*given)))
    ece, brier = np.mean(calibration, axis=0)
    return {
        **{metric: {**spread[metric], **ci_figures(bounds[metric])} for metric in SCALARS},
        "recall": {
            name: None if found is None else {"pooled": found["pooled"], **ci_figures(found)}
            for name, found in recalls.items()
        },
        "ece": float(ece),
        "ece_ci95": ci_figures(calibrated["ece"])["ci95"],
        "brier": float(brier),
        "brier_ci95": ci_figures(calibrated["brier"])["ci95"],
        "rows": len(rows.references),
        "seeds": len(rows.seeds),
        "speakers": len(names),
        "by_speaker": _by(rows.speakers, rows),
        "by_session": _by(rows.sessions, rows),
        "folds_lacking_classes": _folds_lacking_classes(rows),
        "decisions": decisions(
            rows.labels, rows.references, rows.predictions, rows.probabilities, speakers, rows.seeds, rows.folds
        ),
        **({} if (unseen := _unseen_sentences(rows)) is None else {"unseen_sentences": unseen}),
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


def _unseen_sentences(rows: PooledRows) -> dict[str, Any] | None:
    """UAR on the rows whose words no model that tested them was trained on; None where no words were, or it isn't
    known which."""
    known, tested = rows.sentence_trained_on, rows.predictions >= 0
    if known is None or not known.any():
        return None
    unseen = tested & ~known
    found: dict[str, Any] = {"rows": float(unseen.sum(axis=1).mean()), "of": len(rows.references)}
    chosen = unseen.any(axis=0)
    found["classes"] = len(np.unique(rows.references[chosen]))
    if not unseen.any(axis=1).all():  # a seed without any such row has no score
        return {**found, "uar": None}
    predictions = np.where(unseen, rows.predictions, -1)[:, chosen]
    bounds = intervals(rows.references[chosen], predictions, rows.speakers[chosen], len(rows.labels))["uar"]
    pooled = [
        emotion_scores(rows.references[chosen][of_seed >= 0], of_seed[of_seed >= 0], rows.labels)["uar"]
        for of_seed in predictions
    ]
    return {**found, "uar": {"pooled": float(np.mean(pooled)), **ci_figures(bounds)}}


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
        found[name]["ccc"] |= ci_figures(bounds[name])
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
    tallies = tally(rows.references, rows.predictions, units, len(rows.labels))
    scores = mean_over_seeds(scores_of_tallies(tallies))
    of_each = zip(names.tolist(), np.bincount(units).tolist(), scores.tolist(), strict=True)
    found = {name: {"n": n, **dict(zip(SCALARS, of_name, strict=True))} for name, n, of_name in of_each}
    return {name: found[name] for name in sorted(found, key=natural_key)}


__all__ = ["experiment_statistics"]
