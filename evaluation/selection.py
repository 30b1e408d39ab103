"""Which of several experiments the validation scores choose: the one that a reader may take from a table.

The highest test score of several is too high: with equal experiments, the best of eight is .03 above what each is
worth. Validation rows are not test rows, so that what they choose has a test score that is not favoured so.
"""

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from .metrics import SCALARS


@dataclass(frozen=True)
class Candidate:
    """An experiment that may be chosen.

    Args:
        name: of the experiment.
        runs: its finished runs that tested the corpus, as in results.json.
        metric: what chose its epochs (`metric_for_best_model`).
        rule: the setting `validation`; None where it is not known.
    """

    name: str
    runs: Sequence[dict[str, Any]]
    metric: str = "uar"
    rule: str | None = None


@dataclass(frozen=True)
class Choice:
    """What validation scores say of several experiments.

    Args:
        experiment: the one that they choose; None where they can't be compared.
        metric: of `SCALARS`: what chose the epochs where that is one for all, else UAR.
        score: its mean over `runs` runs: the seeds and folds that all experiments have.
        runs: how many.
        among: the names of all.
        tied: those that score just as high; the first of them is `experiment`.
        scores: of all, in the order of `among`; none where they can't be compared.
    """

    experiment: str | None
    metric: str
    score: float | None
    runs: int
    among: list[str]
    tied: list[str]
    scores: list[float]

    def to_dict(self) -> dict[str, Any]:
        """As results.json has it."""
        return asdict(self)


def choose(candidates: Sequence[Candidate]) -> Choice:
    """The experiment with the highest mean validation score over the runs (seed, fold) that all have.

    None is chosen where no run is common to all, or where such runs were validated on different rows: a score on a
    part of the same speakers is higher than one on others, and one on another corpus says nothing.
    """
    metrics = {candidate.metric for candidate in candidates}
    metric = scored_by(metrics.pop() if len(metrics) == 1 else "uar")
    by_key = [
        {(run["seed"], run["fold"]): run for run in candidate.runs if run.get("validation")}
        for candidate in candidates
    ]
    common = sorted(set.intersection(*(set(runs) for runs in by_key))) if by_key else []
    names = [candidate.name for candidate in candidates]
    rules = {candidate.rule for candidate in candidates}
    if not common or len(rules) > 1 or any(len({_rows(runs[key]) for runs in by_key}) > 1 for key in common):
        return Choice(None, metric, None, 0, names, [], [])
    scores = [float(np.mean([runs[key]["validation"][metric] for key in common])) for runs in by_key]
    best = max(scores)
    tied = [name for name, score in zip(names, scores, strict=True) if np.isclose(score, best, rtol=0, atol=1e-9)]
    return Choice(tied[0], metric, best, len(common), names, tied, scores)


def scored_by(metric: str) -> str:
    """The score of finished runs that goes with `metric_for_best_model`: itself; UAR where they keep none of it."""
    return metric if metric in SCALARS else "uar"


def _rows(run: dict[str, Any]) -> tuple:
    """What tells the validation rows of two runs of the same seed and fold apart."""
    part = run["parts"]["validation"]
    return tuple(part["corpora"]), part["rows"], tuple(sorted(part["classes"].items()))


def choices(experiments: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`choose`, as results.json has it: {corpus: choice} of its entries, among those that tested most of its rows.

    Corpora that a single experiment was tested on are left out: there is nothing to choose. So are the twins of
    experiments on disjoint folds, which are no other methods, and those whose settings were searched for: their
    validation scores are the highest of many already.
    """
    experiments = [entry for entry in experiments if "twin_of" not in entry and "searched" not in entry]
    corpora = dict.fromkeys(corpus for entry in experiments for corpus in entry.get("statistics", {}))
    found = {}
    for corpus in corpora:
        having = [entry for entry in experiments if corpus in entry.get("statistics", {})]
        most = max(entry["statistics"][corpus]["rows"] for entry in having)
        complete = [entry for entry in having if entry["statistics"][corpus]["rows"] == most]
        if len(complete) > 1:
            found[corpus] = choose([candidate(entry, corpus) for entry in complete]).to_dict()
    return found


def candidate(entry: dict[str, Any], corpus: str, name: str | None = None) -> Candidate:
    """An experiment of results.json, by another `name` where a report shows it so."""
    runs = [run for run in entry["runs"] if run["status"] == "done" and corpus in run["test"]]
    how = entry.get("selection", {})
    return Candidate(name or entry["name"], runs, how.get("metric", "uar"), how.get("validation"))


__all__ = ["Candidate", "Choice", "candidate", "choices", "choose", "scored_by"]
