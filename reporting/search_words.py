"""How settings were searched for, and what that brought: for the terminal, the report and the card alike."""

from collections.abc import Mapping
from typing import Any

from .score_words import METRIC_NAMES
from .score_words import in_words
from .score_words import p_in_words

_SHOWN = 4  # folds by name


def searched_sentence(searched: Mapping[str, Any]) -> str:
    """How an experiment's settings were found, on which rows, and what that makes of its test scores.

    Args:
        searched: the setting of that name.
    """
    metric = searched["metric"]
    by = "validation loss" if metric == "loss" else f"validation {METRIC_NAMES.get(metric, metric)}"
    names = in_words([*searched["space"]])
    some = [f"{searched[state]} {state}" for state in ("pruned", "failed") if searched[state]]
    ended = f" ({searched['done']} in all, {in_words(some)})" if some else ""
    if searched["form"] == "nested":
        where = "in its one fold" if searched["studies"] == 1 else f"in each of {searched['studies']} folds"
        return (
            f"Its settings ({names}) were searched for {where}: {searched['trials']} trials{ended} on the fold's own "
            f"training and validation rows, the best by {by} trained the fold (nested cross-validation). No trial was "
            "given a test row of its fold."
        )
    said = (
        f"Its settings ({names}) were searched for once: {searched['trials']} trials{ended} on the training and "
        f"validation rows of fold {searched['fold']}, the best by {by} in all folds."
    )
    leaks = searched["leaks"]
    if not leaks:
        return f"{said} No trial was given a row that any fold tests."
    folds = in_words(leaks) if len(leaks) <= _SHOWN else f"{len(leaks)} folds"
    return (
        f"{said} Rows that {folds} test{'s' * (len(leaks) == 1)} were trained on or validated there, so the settings "
        "were chosen with test rows at hand: these scores are optimistic. A nested search (a study for each fold) is "
        "free of it."
    )


def chosen_with_test_rows(entry: Mapping[str, Any]) -> bool:
    """Whether an experiment's settings were chosen with rows at hand that some of its folds test."""
    return bool("searched" in entry and entry["searched"]["leaks"])


def gains(results: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    """By how much an experiment whose settings were searched for differs from the one with its own settings, in each
    corpus that both tested on the same rows: sentences.

    Args:
        results: results.json.
        entry: of the experiment in it.
    """
    of = entry["searched"]["of"]
    lines = []
    for corpus, pairs in results.get("comparisons", {}).items():
        for pair in pairs:
            if {pair["first"], pair["second"]} == {entry["name"], of}:
                lines.append(_gain(corpus, entry["name"], of, pair, len(pairs)))
    return lines


def _gain(corpus: str, name: str, of: str, pair: Mapping[str, Any], pairs: int) -> str:
    test, sign = pair["uar"], 1 if pair["first"] == name else -1
    difference, bounds = sign * test["difference"], test["ci95"]
    low, high = (None, None) if bounds is None else sorted(sign * bound for bound in bounds)
    interval = "" if bounds is None else f" [{low:+.3f}, {high:+.3f}]"
    note = f", {test['note']}" if test["note"] else ""
    corrected = f"; {p_in_words(test['p_holm'])} after Holm's correction over {pairs} pairs" if pairs > 1 else ""
    verdict = "the search is not shown to change anything"
    if bounds is not None and low > 0:
        verdict = "the search is better than the recipe's own settings"
    elif bounds is not None and high < 0:
        verdict = "the search is worse than the recipe's own settings"
    return (
        f"{corpus}, test rows: {name} - {of}: UAR {difference:+.3f}{interval}, {p_in_words(test['p'])} "
        f"({test['test']}{note}){corrected}: {verdict}."
    )


__all__ = ["chosen_with_test_rows", "gains", "searched_sentence"]
