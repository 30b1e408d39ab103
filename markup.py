"""Text of users in files that others open: what is a name there must not become markup, a link or a formula.

Names of experiments, corpora and classes, licences, notes and citations come from recipes and data sets. In a model
card or a table they are text, whatever characters they hold.
"""

import re
from urllib.parse import quote
from urllib.parse import urlsplit

# Markdown's own characters. `_` within a word is none of them, nor a bracket that makes no link.
_SPECIAL = re.compile(r"[\\`*|]|(?<![^\W_])_+|_+(?![^\W_])|\](?=[(\[:])")
_LINE_START = re.compile(r"^([#=~]|[+-](?=[\s-]|$)|\d+(?=[.)](\s|$)))")  # headings, lists, rules
_OF_ADDRESSES = "%/:?#@!$&'*+,;=~"  # and no bracket
_FORMULA = re.compile(r"\s*[=+\-@\t\r＝＋－＠]")


class Markdown(str):
    """Text that is Markdown already: `markdown` leaves it as it is."""

    __slots__ = ()


def markdown(text: object) -> Markdown:
    """Any text as Markdown that shows just this text, in a line: no HTML, link, emphasis, list or table cell of it."""
    if isinstance(text, Markdown):
        return text
    line = " ".join(str(text).split())
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;").replace(">", "&gt;")
    line = _SPECIAL.sub(lambda match: "".join(f"\\{character}" for character in match[0]), line)
    return Markdown(_LINE_START.sub(lambda m: f"{m[1]}\\" if m[1].isdigit() else f"\\{m[1]}", line))


def code(text: str) -> Markdown:
    """`text` as code in a line of Markdown; backquotes in it are left out."""
    return Markdown(f"`{' '.join(str(text).replace('`', '').split())}`")


def link(text: str, address: str) -> Markdown:
    """A link of Markdown; only to a web address: any other is shown as text."""
    if not is_web_address(address):
        return markdown(f"{text} ({address})" if address else text)
    return Markdown(f"[{markdown(text)}]({quote(address, safe=_OF_ADDRESSES)})")


def is_web_address(address: str) -> bool:
    """Whether it is an http or https address of a host, so that a browser does nothing but go there."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", address)


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet runs as a formula: text that would begin one gets an apostrophe before it.

    Numbers stay numbers. A leading apostrophe is how spreadsheets themselves mark text; readers of CSV see it. Text
    stays in a line: what is behind a carriage return, which csv does not quote, would be a cell of its own.
    """
    if not isinstance(value, str):
        return value
    line = re.sub(r"[\r\n]+", " ", value)
    return f"'{line}" if _FORMULA.match(value) else line


__all__ = ["Markdown", "code", "csv_cell", "is_web_address", "link", "markdown"]
