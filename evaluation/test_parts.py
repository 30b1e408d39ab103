"""What tested rows are called: by their corpus, or where several parts of it are tested, by `CORPUS:PART`.

Each name is a column (or line) of its own in every table, and is never put together with another.
"""

from collections.abc import Collection

_BETWEEN = ":"


def tested_name(corpus: str, part: str = "") -> str:
    """`MSPP`, or of one of several test parts `MSPP:test1`."""
    return f"{corpus}{_BETWEEN}{part}" if part else corpus


def tested_corpus(name: str, corpora: Collection[str]) -> str:
    """The corpus of a tested name.

    Args:
        name: from `tested_name`.
        corpora: names of all corpora, which may hold a colon too.
    """
    corpus = name.rpartition(_BETWEEN)[0]
    return corpus if name not in corpora and corpus in corpora else name


__all__ = ["tested_corpus", "tested_name"]
