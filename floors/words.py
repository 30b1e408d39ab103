"""What is said of floors where scores stand: terminal, report and card alike, from what results.json has of them."""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

NAMES = {
    "chance": "chance",
    "most_frequent": "most frequent class",
    "voice": "logistic regression on the voice",
    "words": "logistic regression on the words",
    "both": "logistic regression on voice and words",
    "all": "logistic regression on all modalities together",
    "chosen": "logistic regression on voice, words or both, as validation chooses",
}
_TOGETHER = ("both", "all", "chosen")
_ON_NOTHING = ("chance", "most_frequent")
_SHORT = {"most_frequent": "most frequent class", "chosen": "chosen on validation"}
NOTE = (
    "Floor: UAR of logistic regression on the mean of the same features, same training and test rows; of voice and "
    "words, on either or both, as validation chooses in each fold."
)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of floors, each once: chance, the most frequent class, the modalities one by one, then together."""
    known = dict.fromkeys(names)
    own = [name for name in known if name not in NAMES]  # of the user's own modalities
    alone = [name for name in NAMES if name not in _TOGETHER]
    return [name for name in (*alone, *own, *_TOGETHER) if name in known]


def long_name(name: str, beside: Iterable[str] = ()) -> str:
    """A floor in words: `logistic regression on the voice`.

    Args:
        beside: the floors of the same experiment.
    """
    own = [each for each in beside if each not in NAMES]
    if name == "chosen" and own:
        *first, last = [each for each in in_order(beside) if each not in (*_ON_NOTHING, "chosen")]
        return f"logistic regression on {', '.join(first)} or {last}, as validation chooses"
    return NAMES.get(name, f"logistic regression on the {name}")


def short_name(name: str) -> str:
    """A floor in a word or two."""
    return _SHORT.get(name, name)


def floors_of(entry: dict[str, Any], corpus: str) -> dict[str, Any]:
    """The floors of an experiment in a corpus, by name, as results.json has them; {} where there are none."""
    found = (entry.get("floors") or {}).get("corpora", {}).get(corpus, {})
    return {name: found[name] for name in in_order(found) if name != "comparison"}


def own_floor(entry: dict[str, Any], corpus: str, decision: str = "") -> float | None:
    """The pooled UAR that an experiment should reach; None where it is not known.

    Args:
        entry: the experiment in results.json.
        corpus: that was tested.
        decision: of `reporting.score_words.ScoreRow`.
    """
    floors = floors_of(entry, corpus)
    return (
        pooled_uar(floors[entry["floors"]["own"]], decision) if floors and entry["floors"]["own"] in floors else None
    )


def pooled_uar(floor: dict[str, Any], decision: str = "") -> float:
    """The pooled UAR of a floor."""
    return (floor["decisions"][decision] if decision else floor)["uar"]["pooled"]


def comparison(entry: dict[str, Any], corpus: str) -> dict[str, Any] | None:
    """The experiment minus its floor, see `floors.results.floors_entry`; None where that can't be said."""
    return (entry.get("floors") or {}).get("corpora", {}).get(corpus, {}).get("comparison")


def below_mark(entry: dict[str, Any], corpus: str) -> str:
    """`below`; in brackets where it is not clear, see `floors.results`; "" where it is not below."""
    found = comparison(entry, corpus)
    if found is None or not found["below"]:
        return ""
    return "below" if found["clear"] else "(below)"


def below_line(entry: dict[str, Any], corpus: str) -> str | None:
    """`below its floor on EmoDB: UAR -0.609 [-0.701, -0.512] against ...`; None of one that is not below."""
    found = comparison(entry, corpus)
    if found is None or not found["below"]:
        return None
    interval = "" if found["ci95"] is None else " [{:+.3f}, {:+.3f}]".format(*found["ci95"])
    sure = "the interval leaves out 0" if interval and found["ci95"][1] < 0 else "the interval does not leave out 0"
    sure = sure if interval else "there is no interval"
    sure += "" if found["ci_units"] == "speakers" else ", and is over rows of fewer than five speakers: too narrow"
    return (
        f"below its floor on {corpus}: UAR {found['difference']:+.3f}{interval} against "
        f"{long_name(entry['floors']['own'], floors_of(entry, corpus))} ({own_floor(entry, corpus):.3f}); {sure}"
    )


def floor_lines(entries: Sequence[dict[str, Any]], corpus: str) -> list[str]:
    """`Floors on EmoDB (UAR): chance 0.250, ..., voice 0.859.`; with experiments' names where theirs differ."""
    said: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        for name, floor in floors_of(entry, corpus).items():
            said.setdefault((name, f"{pooled_uar(floor):.3f}"), []).append(entry["name"])
    if not said:
        return []
    names, order = [name for name, _ in said], in_order(name for name, _ in said)
    parts = [
        f"{short_name(name)} {score}" + (f" ({', '.join(of)})" if names.count(name) > 1 else "")
        for (name, score), of in sorted(said.items(), key=lambda each: order.index(each[0][0]))
    ]
    return [f"Floors on {corpus} (UAR): {', '.join(parts)}."]


__all__ = [
    "NAMES",
    "NOTE",
    "below_line",
    "below_mark",
    "comparison",
    "floor_lines",
    "floors_of",
    "in_order",
    "long_name",
    "own_floor",
    "pooled_uar",
    "short_name",
]
