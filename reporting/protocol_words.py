"""What must be said of a protocol of a user's own, for the terminal, the report, its tables and the card alike."""

from typing import Any


def own_protocol(entry: dict[str, Any]) -> str:
    """`my_split, a protocol of its user's own: what its docstring says`; "" for EmoMM's own.

    Args:
        entry: the experiment in results.json.
    """
    own = entry.get("protocol")
    return f"{own['name']}, a protocol of its user's own: {own['about']}" if own else ""


def known_speakers(entry: dict[str, Any]) -> str:
    """That tested speakers are trained on, or may be, which only a user's own protocol allows; "" where none is.

    Args:
        entry: the experiment in results.json.
    """
    if "protocol" not in entry:
        return ""
    tests = [run["parts"]["test"] for run in entry["runs"] if run["status"] == "done"]
    shared = [part.get("speakers_trained_on", 0) for part in tests]
    if None in shared:
        return (
            "it is not known whether tested speakers are trained on: the scores may be of known speakers, and too high"
        )
    if not any(shared):
        return ""
    counted = f"{sum(shared)} of the {sum(part['speaker_count'] for part in tests)} tested speakers of all runs"
    return f"tested speakers are trained on too ({counted}): the scores are of known speakers, higher than on new ones"


__all__ = ["known_speakers", "own_protocol"]
