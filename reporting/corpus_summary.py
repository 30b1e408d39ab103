"""What a corpus is in numbers: rows, durations, ratings and words, by class, speaker, session and split."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from ..corpora.corpus import Corpus
from ..corpora.raw_columns import EMPTY_TRANSCRIPT
from ..corpora.raw_columns import RATINGS

_SHARES = {"shortest": 0, "5 %": 5, "median": 50, "95 %": 95, "longest": 100}


def summarise(corpus: Corpus) -> dict[str, Any]:
    """The corpus in numbers, as JSON holds them: `name`, `rows`, `classes`, `by` (class, speaker, session, split),
    `seconds`, `ratings`, `transcripts`, `notes`, and what its spec says of it."""
    seconds = corpus.seconds
    card = corpus.card()
    groups = {
        "class": np.array(corpus.labels)[corpus.label_ids],
        "speaker": corpus.speakers,
        "session": corpus.sessions,
    }
    if corpus.splits is not None and (corpus.splits != "").any():
        groups["split"] = corpus.splits
    told = ("licence", "licence_url", "extractor", "language", "vad_of", "caveat", "citation", "notes")
    return {
        "name": corpus.name,
        "rows": len(corpus),
        "classes": card["classes"],
        "speakers": len(np.unique(corpus.speakers)),
        "sessions": len(np.unique(corpus.sessions)),
        "seconds": None if seconds is None else _lengths(seconds),
        "ratings": _ratings(corpus),
        "transcripts": _transcripts(corpus),
        "by": {what: _groups(corpus, names, seconds) for what, names in groups.items()},
        **{key: card[key] for key in told},
    }


def _groups(corpus: Corpus, names: np.ndarray, seconds: np.ndarray | None) -> dict[str, dict[str, Any]]:
    order = corpus.labels if names.dtype.kind == "U" and set(names) <= set(corpus.labels) else sorted(set(names))
    found = {}
    for name in (each for each in order if (names == each).any()):
        rows = names == name
        counts = np.bincount(corpus.label_ids[rows], minlength=len(corpus.labels)).tolist()
        found[str(name) or "none"] = {
            "rows": int(rows.sum()),
            "speakers": len(np.unique(corpus.speakers[rows])),
            "classes": dict(zip(corpus.labels, counts, strict=True)),
            "minutes": None if seconds is None else round(float(seconds[rows].sum()) / 60, 2),
            "median_seconds": None if seconds is None else round(float(np.median(seconds[rows])), 3),
            "ratings": {
                rating: _rounded(values, np.mean)
                for rating, values in zip(RATINGS, corpus.vad[rows].T, strict=True)
                if not np.isnan(values).all()
            },
        }
    return found


def _lengths(seconds: np.ndarray) -> dict[str, float]:
    there = seconds[seconds > 0]
    told = (
        {name: round(float(np.percentile(there, share)), 3) for name, share in _SHARES.items()} if len(there) else {}
    )
    return {"hours": round(float(seconds.sum()) / 3600, 3), **told}


def _ratings(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Of each of valence, arousal and dominance that is rated, on 1-5."""
    return {
        name: {
            "rated": int((~np.isnan(values)).sum()),
            "mean": _rounded(values, np.mean),
            "std": _rounded(values, np.std),
            "lowest": _rounded(values, np.min),
            "highest": _rounded(values, np.max),
        }
        for name, values in zip(RATINGS, corpus.vad.T, strict=True)
        if not np.isnan(values).all()
    }


def _rounded(values: np.ndarray, what: Callable[[np.ndarray], Any]) -> float:
    return round(float(what(values[~np.isnan(values)].astype(np.float64))), 3)


def _transcripts(corpus: Corpus) -> dict[str, Any]:
    there = [text for text in corpus.transcripts if text != EMPTY_TRANSCRIPT]
    counts = Counter(text.casefold() for text in there)
    classes: dict[str, set[int]] = {}
    for text, label in zip(corpus.transcripts, corpus.label_ids.tolist(), strict=True):
        classes.setdefault(text.casefold(), set()).add(label)
    repeated = [text for text, count in counts.items() if count > 1]
    return {
        "missing": len(corpus) - len(there),
        "different": len(counts),
        "rows_with_a_repeated_one": sum(counts[text] for text in repeated),
        "repeated_in_one_class_alone": sum(len(classes[text]) == 1 for text in repeated),
        "median_words": float(np.median([len(text.split()) for text in there])) if there else None,
    }


__all__ = ["summarise"]
