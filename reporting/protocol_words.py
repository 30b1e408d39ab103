"""What must be said of an experiment's protocol, for the terminal, the report, its tables and the card alike: what it
does, where it goes by its name; what lies on both sides of its folds; what was dropped for it."""

from collections import Counter
from typing import Any

OVERLAP = "§"
"""Marks scores on test rows whose speakers or recordings are trained on."""


def named_protocol(entry: dict[str, Any]) -> str:
    """`group_folds: what its docstring says`, of a user's own said so; "" for those that have words of their own.

    Args:
        entry: the experiment in results.json.
    """
    protocol = entry.get("protocol")
    if not protocol:
        return ""
    whose = ", a protocol of its user's own" if protocol.get("own", True) else ""
    return f"{protocol['name']}{whose}: {protocol['about']}"


def known_speakers(entry: dict[str, Any]) -> str:
    """That tested speakers are trained on, or may be, which must be allowed; "" where none is.

    Args:
        entry: the experiment in results.json.
    """
    tests = _parts(entry, "test")
    shared = [part.get("speakers_trained_on", 0) for part in tests]
    if None in shared:
        return (
            "it is not known whether tested speakers are trained on: the scores may be of known speakers, and too high"
        )
    if not any(shared):
        return ""
    counted = f"{sum(shared)} of the {sum(part['speaker_count'] for part in tests)} tested speakers of all runs"
    return f"tested speakers are trained on too ({counted}): the scores are of known speakers, higher than on new ones"


def known_recordings(entry: dict[str, Any]) -> str:
    """That tested recordings are trained on under another id, which must be allowed; "" where none is."""
    tests = _parts(entry, "test")
    shared = sum(part.get("recordings_trained_on", 0) for part in tests)
    if not shared:
        return ""
    counted = f"{shared} of the {sum(part['rows'] for part in tests)} test rows of all runs"
    return f"tested recordings are trained on too, under another id ({counted}): the scores are too high"


def unknown_speakers(entry: dict[str, Any]) -> str:
    """Of which rows it isn't known who speaks, where others are told apart by their speakers; "" where all are."""
    said = []
    for name, word in (("train", "training"), ("validation", "validation"), ("test", "test")):
        parts = _parts(entry, name)
        unknown = sum(part.get("rows_of_unknown_speakers", 0) for part in parts)
        if unknown:
            said.append(f"{unknown} of {sum(part['rows'] for part in parts)} {word} rows")
    if not said:
        return ""
    return f"it is not known who speaks in {', '.join(said)} of all runs: tested speakers may be trained on there"


def overlaps(entry: dict[str, Any]) -> list[str]:
    """All that lies, or may lie, on both sides of an experiment's folds, a sentence each without its full stop."""
    return [said for words in (known_speakers, known_recordings, unknown_speakers) if (said := words(entry))]


def overlap_mark(entry: dict[str, Any]) -> str:
    """` §` beside scores of known speakers or recordings, or of such as may be; else ""."""
    return f" {OVERLAP}" if known_speakers(entry) or known_recordings(entry) else ""


def dropped(entry: dict[str, Any]) -> str:
    """What `disjoint_by` dropped, over all runs; "" where it asks nothing."""
    parts = _parts(entry, "train")
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.get("dropped", {}))
    if not any("dropped" in part for part in parts):
        return ""
    shares = ", ".join(f"{key} {count}" for key, count in counts.items())
    return (
        "training and validation rows that share something with a test row of their fold are dropped (rows of all "
        f"runs: {shares})"
    )


def unseen_sentences(name: str, statistics: dict[str, Any]) -> str:
    """UAR on the rows of a tested corpus (or test part) whose words were not trained on; "" where none repeats.

    Args:
        name: what was tested.
        statistics: of it, in results.json.
    """
    found = statistics.get("unseen_sentences")
    if not found:
        return ""
    rows = f"{found['rows']:g} of the {found['of']} test rows of {name}"
    if found["uar"] is None:
        return f"every sentence of {name} was trained on: there are no scores on unseen sentences"
    bounds = found["uar"]["ci95"]
    interval = "" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
    lacking = sum(each is not None for each in statistics["recall"].values()) - found["classes"]
    fewer = f", of {found['classes']} classes" if lacking else ""
    return f"UAR on unseen sentences {found['uar']['pooled']:.3f}{interval} ({rows}{fewer})"


def _parts(entry: dict[str, Any], part: str) -> list[dict[str, Any]]:
    return [run["parts"][part] for run in entry["runs"] if run["status"] == "done" and "parts" in run]


__all__ = [
    "OVERLAP", "dropped", "known_recordings", "known_speakers", "named_protocol", "overlap_mark", "overlaps",
    "unknown_speakers", "unseen_sentences",
]  # fmt: skip
