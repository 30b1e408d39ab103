"""What the audit before a job has found, for the terminal, the report and the card alike."""

from typing import Any

from .protocol_words import known_recordings

SAID_ELSEWHERE = ("contamination", "speakers", "recordings")
"""Checks whose problems have words of their own beside the scores."""


def audit_lines(entry: dict[str, Any]) -> list[str]:
    """The problems that nothing else says, a sentence each without its full stop.

    Args:
        entry: the experiment in results.json.
    """
    elsewhere = [name for name in SAID_ELSEWHERE if name != "recordings" or known_recordings(entry)]
    return [each["text"] for each in entry.get("audit", []) if each["check"] not in elsewhere]


__all__ = ["SAID_ELSEWHERE", "audit_lines"]
