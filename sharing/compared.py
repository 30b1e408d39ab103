"""What a shared model says of the experiments that it was compared with: whether validation chooses it."""

import logging
from collections.abc import Mapping
from typing import Any

from ..evaluation.selection import choices
from ..reporting.score_words import METRIC_NAMES
from ..reporting.score_words import in_words

logger = logging.getLogger(__name__)

Choices = Mapping[str, Mapping[str, Any]]
"""What validation chooses, {corpus: choice}, as results.json has it (see `selection`)."""

_OPTIMISTIC = "if it was taken for its test score, that score is optimistic, since luck helps to pick the highest"


def job_choices(results: dict[str, Any]) -> Choices:
    """What validation chooses among the job's experiments; computed where results.json is of an earlier version."""
    found = results.get("chosen_on_validation")
    return choices(results.get("experiments", [])) if found is None else found


def compared(name: str, of_job: Choices) -> list[str]:
    """Whether validation chooses this experiment among those of its job: a sentence for each answer. No other
    experiment is named."""
    sentences: dict[str, list[str]] = {}
    for corpus, choice in of_job.items():
        if name in choice["among"]:
            sentences.setdefault(_sentence(name, choice), []).append(corpus)
    return [f"{said} ({in_words(corpora)})." for said, corpora in sentences.items()]


def _sentence(name: str, choice: Mapping[str, Any]) -> str:
    of_several, metric = f"the {len(choice['among'])} experiments of its job", METRIC_NAMES[choice["metric"]]
    if choice["experiment"] is None:
        return (
            f"It is one of {of_several}, which were validated on different rows, so that none is chosen; {_OPTIMISTIC}"
        )
    own = f"validation {metric} {_own(name, choice):.3f}"
    if name in choice["tied"]:
        others = len(choice["tied"]) - 1
        return f"Of {of_several}, validation chooses this one ({own}{f', as high as {others} more' if others else ''})"
    return f"Of {of_several}, validation chooses another one ({choice['score']:.3f}, this one: {own}); {_OPTIMISTIC}"


def _own(name: str, choice: Mapping[str, Any]) -> float:
    return choice["scores"][choice["among"].index(name)]


def warn_of_choice(name: str, of_job: Choices) -> None:
    """Says so where validation chooses another experiment than the one that is pushed."""
    for corpus, choice in of_job.items():
        if name in choice["among"] and choice["experiment"] is not None and name not in choice["tied"]:
            logger.warning(
                "%s: %r is pushed, with a validation %s of %.3f; validation chooses %r (%.3f). A test score that is "
                "taken because it is the highest is optimistic; the card says so",
                *(corpus, name, METRIC_NAMES[choice["metric"]], _own(name, choice)),
                *(choice["experiment"], choice["score"]),
            )


def public_choices(name: str, of_job: Choices) -> dict[str, dict[str, Any]]:
    """For the shared results.json: {corpus: {"experiments": how many, "chosen_on_validation": true, false, or null
    where validation chooses none}}."""
    return {
        corpus: {
            "experiments": len(choice["among"]),
            "chosen_on_validation": None if choice["experiment"] is None else name in choice["tied"],
        }
        for corpus, choice in of_job.items()
        if name in choice["among"]
    }


__all__ = ["Choices", "compared", "job_choices", "public_choices", "warn_of_choice"]
