"""What must be said where scores stand, for the terminal, the report and the card alike."""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

METRIC_NAMES = {"uar": "UAR", "accuracy": "accuracy", "f1_macro": "F1 macro", "f1_weighted": "F1 weighted"}

ONE_SEED = (
    "Intervals and tests are for other speakers, not for other trainings: with one seed, a score or a difference may "
    "be the luck of that seed."
)


class ScoreRow(NamedTuple):
    """A line of a table of scores.

    Args:
        tested_on: the corpus, with the classes decided among where it lacks some.
        figures: {metric: figures of `experiment_statistics`}.
        decision: "all" or "shared" (see `decisions`), "" where the corpus has all classes.
    """

    tested_on: str
    figures: dict[str, Any]
    decision: str


def score_rows(corpus: str, summary: dict[str, Any], statistics: dict[str, Any]) -> list[ScoreRow]:
    """One line for a corpus; two where it lacks classes that were trained, a decision each.

    Args:
        summary: {metric: figures}, of results.json or `experiment_statistics`.
        statistics: of `experiment_statistics`, {} where there are none yet.
    """
    both = statistics.get("decisions")
    if not both:
        return [ScoreRow(corpus, summary, "")]
    words = {"all": "all", "shared": "its"}
    return [
        ScoreRow(f"{corpus}, among {words[name]} {len(decision['classes'])}", decision, name)
        for name, decision in both.items()
    ]


def without_zero(value: float) -> str:
    """`.250`."""
    return f"{value:.3f}".removeprefix("0")


def p_in_words(p: float) -> str:
    """`p = .047`, `p < .001`."""
    return "p < .001" if p < 0.001 else f"p = {without_zero(p)}"


def decisions_note(corpus: str, statistics: dict[str, Any]) -> str:
    """What the two decisions on a corpus are; "" where it has all classes."""
    both = statistics.get("decisions")
    if not both:
        return ""
    every, shared = both["all"]["classes"], both["shared"]["classes"]
    chances = [without_zero(both[name]["chance"]) for name in ("all", "shared")]
    return (
        f"{corpus} has {len(shared)} of the {len(every)} classes ({', '.join(shared)}). Among all {len(every)}: the "
        f"most probable class of all that were trained; among its {len(shared)}: the most probable of those. Scores "
        f"are over the same rows and classes in both; guessing gives a UAR of {chances[0]} and {chances[1]}."
    )


def lacking_note(corpus: str, statistics: dict[str, Any]) -> str:
    """What a mean over folds with different classes mixes; "" where all folds have the corpus' classes."""
    lacking = statistics.get("folds_lacking_classes")
    if not lacking:
        return ""
    occurring = sum(each is not None for each in statistics["recall"].values())
    folds = "; ".join(f"{fold} no {' and no '.join(classes)}" for fold, classes in list(lacking.items())[:4])
    folds += f"; and {len(lacking) - 4} more" if len(lacking) > 4 else ""
    fewer = sorted({occurring - len(classes) for classes in lacking.values()})
    alone = " or ".join(
        f"{count} recalls (always naming one class gives {without_zero(1 / count)})" for count in fewer
    )
    return (
        f"{corpus}: folds differ in their classes ({folds}). UAR there averages {alone}, elsewhere {occurring} "
        f"({without_zero(1 / occurring)}): the mean over runs mixes them, the pooled UAR does not."
    )


def choice_note(corpus: str, choice: dict[str, Any]) -> str:
    """What validation chooses among several experiments.

    Args:
        choice: of `selection.choices`.
    """
    several, metric = len(choice["among"]), METRIC_NAMES[choice["metric"]]
    optimistic = f"the highest of {several} test scores is optimistic, since luck helps to pick it"
    if choice["experiment"] is None:
        said = f"validation chooses none of the {several} experiments, which were validated on different rows"
    else:
        runs = f"mean of {choice['runs']} run{'s' * (choice['runs'] != 1)}"
        tied = f"; as high: {in_words(choice['tied'][1:])}" if len(choice["tied"]) > 1 else ""
        score = f"validation {metric} {choice['score']:.3f}, {runs}{tied}"
        said = f"chosen on validation: {choice['experiment']} ({score})"
    return f"{corpus}: {said}; {optimistic}."


def ties_note(runs: Sequence[dict[str, Any]]) -> str:
    """In how many runs validation left several epochs to choose from; " In 2 of 5 runs ..." or ""."""
    ties = [ties for run in runs if (ties := run.get("best_epoch_ties")) is not None]
    tied = [count for count in ties if count]
    if not tied:
        return ""
    most = f"up to {max(tied)}" if max(tied) > min(tied) else str(max(tied))
    later = f"{most} later {'epoch' if max(tied) == 1 else 'epochs'}"
    return (
        f" In {len(tied)} of {len(ties)} run{'s' * (len(ties) != 1)}, {later} scored just as high: the first is kept, "
        "so there validation does not tell which is best."
    )


def in_words(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


__all__ = [
    "METRIC_NAMES",
    "ONE_SEED",
    "ScoreRow",
    "choice_note",
    "decisions_note",
    "in_words",
    "lacking_note",
    "p_in_words",
    "score_rows",
    "ties_note",
    "without_zero",
]
