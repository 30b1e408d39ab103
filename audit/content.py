"""What rows give away by themselves, whatever the folds: one recording under two names or labels, speakers with one
class, ratings off the scale, what is missing, silence and clipping."""

from typing import Any

import numpy as np
from tqdm import tqdm

from ..corpora.corpus import SAMPLING_RATE
from ..text_columns import coded
from .audited import NONE
from .audited import AuditedRows
from .audited import Finding
from .parts import FEWEST
from .parts import SameContent

_MOST_NAMED = 5
_SILENT = 0.001  # of full scale: no sample is louder
_FULL = 0.999  # of full scale
_CLIPPED = 0.001  # of a recording's samples at full scale
_RATINGS = ("valence", "arousal", "dominance")
_QUANTILES = {"5 %": 5, "25 %": 25, "median": 50, "75 %": 75, "95 %": 95}


def speaker_counts(rows: AuditedRows) -> list[dict[str, Any]]:
    """Of each speaker, rows and rows of each class."""
    names, codes = coded(rows.speakers)
    classes = len(rows.label_names)
    table = np.bincount(codes * classes + rows.labels, minlength=len(names) * classes).reshape(-1, classes)
    return [
        {
            "speaker": name,
            "rows": int(counts.sum()),
            "classes": dict(zip(rows.label_names, counts.tolist(), strict=True)),
        }
        for name, counts in zip(names.tolist(), table, strict=True)
    ]


def class_lengths(rows: AuditedRows) -> list[dict[str, Any]]:
    """How long the voices of each class' rows are: `class`, `unit` (seconds; of features vectors) and quantiles, of
    the classes that have any; [] where all are one vector."""
    lengths = rows.lengths / (SAMPLING_RATE if rows.recorded else 1)
    if rows.lengths.max(initial=0) <= 1:
        return []
    found = []
    for number, name in enumerate(rows.label_names):
        chosen = lengths[(rows.labels == number) & (lengths > 0)]
        if len(chosen):
            values = np.percentile(chosen, list(_QUANTILES.values())).round(3).tolist()
            told = dict(zip(_QUANTILES, values, strict=True))
            found.append({"class": name, "unit": "seconds" if rows.recorded else "vectors", **told})
    return found


def findings(rows: AuditedRows, content: SameContent, speakers: list[dict[str, Any]]) -> list[Finding]:
    """What is found without reading features or samples."""
    found = [
        _under_two(rows, content.recordings, "speakers", "the same recording"),
        _under_two(rows, content.recordings, "labels", "the same recording"),
        _one_class(rows, speakers),
        _ratings(rows),
        _missing(rows),
        *rows.encoders,
    ]
    if content.close is not None:
        found += [
            _under_two(rows, content.close, what, "all but the same recording", content.recordings)
            for what in ("speakers", "labels")
        ]
    return [finding for finding in found if finding is not None]


def sound_findings(rows: AuditedRows) -> list[Finding]:
    """Silent and clipped recordings; of features, those that are all zero or no numbers. Reads all of them."""
    if rows.audio is None:
        return []
    there = np.flatnonzero(rows.lengths)
    silent, clipped = [], []
    for row in tqdm(there, desc="listening", unit="row", disable=None, leave=False):
        values = rows.audio[row]
        if not rows.recorded:
            broken = not np.isfinite(values).all() or not values.any()
            silent += [row] if broken else []
            continue
        full = np.iinfo(values.dtype).max if values.dtype.kind == "i" else 1.0
        loud = np.abs(values[:, 0].astype(np.float32)) / full
        silent += [row] if loud.max() < _SILENT else []
        clipped += [row] if (loud >= _FULL).mean() > _CLIPPED else []
    what = "recordings are silent" if rows.recorded else "rows have features that are all zero, or no numbers"
    found = []
    for check, chosen, said in (("silence", silent, what), ("clipping", clipped, "recordings are clipped")):
        if chosen:
            text = f"{len(chosen)} of {len(there)} {said}, the first of them {rows.row(chosen[0])}"
            bad = check == "silence" or len(chosen) > 0.05 * len(there)
            found.append(Finding(check, text, problem=bad, numbers={"rows": len(chosen), "of": len(there)}))
    return found


def _under_two(
    rows: AuditedRows, numbers: np.ndarray, what: str, said: str, but: np.ndarray | None = None
) -> Finding | None:
    """Recordings that are there under two speakers, or two labels.

    Args:
        but: numbers of rows that are told elsewhere, where they are the same.
    """
    there = np.flatnonzero(numbers != NONE)
    there = there[np.argsort(numbers[there], kind="stable")]
    values = coded(rows.speakers)[1] if what == "speakers" else rows.labels
    one, other = there[:-1], there[1:]
    differ = (numbers[one] == numbers[other]) & (values[one] != values[other])
    if but is not None:
        differ &= (but[one] != but[other]) | (but[one] == NONE)
    if not differ.any():
        return None
    names = coded(rows.speakers)[0] if what == "speakers" else np.array(rows.label_names)
    pairs = np.unique(np.sort(np.stack([values[one[differ]], values[other[differ]]], axis=1), axis=1), axis=0)
    pairs = sorted(tuple(sorted((str(names[a]), str(names[b])))) for a, b in pairs.tolist())
    shown = "; ".join(f"{a} and {b}" for a, b in pairs[:_MOST_NAMED]) + "; ..." * (len(pairs) > _MOST_NAMED)
    first = f"{rows.row(one[differ][0])} and {rows.row(other[differ][0])}"
    meaning = ": one speaker may have two names" if what == "speakers" else ""
    return Finding(
        "renamed speakers" if what == "speakers" else "two labels",
        f"{int(differ.sum())} times {said} is there under two {what} ({shown}), as {first}{meaning}",
        numbers={"times": int(differ.sum()), "pairs": len(pairs)},
    )


def _one_class(rows: AuditedRows, speakers: list[dict[str, Any]]) -> Finding | None:
    """Speakers of several rows, all of one class, where a speaker is known to have several."""
    unknown = set(coded(rows.speakers[rows.unknown_speaker])[0].tolist())
    known = [each for each in speakers if each["speaker"] not in unknown and each["rows"] >= FEWEST]
    alone = [each for each in known if max(each["classes"].values()) == each["rows"]]
    if not alone or len(rows.label_names) < 2:
        return None
    named = ", ".join(each["speaker"] for each in alone[:_MOST_NAMED]) + ", ..." * (len(alone) > _MOST_NAMED)
    return Finding(
        "one class",
        f"{len(alone)} of {len(known)} speakers with {FEWEST} rows or more have one class alone: {named}; who knows "
        "the voice knows the label",
        numbers={"speakers": len(alone), "of": len(known)},
    )


def _ratings(rows: AuditedRows) -> Finding | None:
    off = (rows.vad < 1) | (rows.vad > 5)
    if not off.any():
        return None
    row = int(off.any(axis=1).argmax())
    counts, rated = dict(zip(_RATINGS, off.sum(axis=0).tolist(), strict=True)), off.any(axis=1)
    told = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return Finding(
        "ratings",
        f"{int(rated.sum())} rows have ratings off the scale 1-5 ({told}), the first of them {rows.row(row)}",
        problem=bool(rated.mean() > 0.01),
        numbers=counts,
    )


def _missing(rows: AuditedRows) -> Finding | None:
    lacks = {
        "voice": rows.lengths == 0,
        "words": rows.sentences == NONE,
        **{name: np.isnan(values) for name, values in zip(_RATINGS, rows.vad.T, strict=True)},
    }
    some = {name: int(each.sum()) for name, each in lacks.items() if each.any() and not each.all()}
    if not some:
        return None
    told = ", ".join(f"{name} {count} ({count / len(rows):.1%})" for name, count in some.items())
    return Finding("missing values", f"rows without {told}", problem=False, numbers=some)


__all__ = ["class_lengths", "findings", "sound_findings", "speaker_counts"]
