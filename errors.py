"""The one exception that means: the user's input is wrong, and here is what would be right."""

import difflib
import json
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Wrong input, found before any training.

    The message is what the user reads: what is wrong, where (file, row or key) with the value, and what would be
    right. The command line prints it without a traceback and ends with exit code 2.
    """


class FromText(str):
    """Text of the command line, to be read as whatever type the setting has."""


def nearest(name: str, names: Iterable[str]) -> str:
    """ " Did you mean 'x'?" for the name in `names` that is closest to `name`, or nothing when none is close."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(names)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def show(value: Any) -> str:
    """A value as it stands in a recipe or on the command line, cut at 100 characters."""
    text = repr(str(value)) if isinstance(value, FromText) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 100 else text[:97] + "..."
