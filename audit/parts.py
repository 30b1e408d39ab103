"""What lies in two parts of a fold: speakers, utterance ids, recordings and sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ..corpora.names import look_alikes
from ..text_columns import coded
from .audited import NONE
from .audited import TRAIN
from .audited import VALIDATION
from .audited import AuditedFold
from .audited import AuditedRows
from .audited import Finding

FEWEST = 5
"""Rows of a class in a part, under which its scores and its training say little."""

_SHARED_SENTENCES = 0.1  # of test rows: short ones ("yes") recur in any corpus
_SHIFT = 0.2  # of class shares between training and test
_MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class SameContent:
    """What rows hold, as numbers: rows with the same number hold the same; `NONE` for nothing.

    Args:
        recordings: the same features or samples, to the last bit.
        close: all but the same; None where that was not looked for.
    """

    recordings: np.ndarray
    close: np.ndarray | None = None


def pair_counts(rows: AuditedRows, folds: Sequence[AuditedFold], content: SameContent) -> list[dict[str, Any]]:
    """Of each fold and pair of parts, what rows of the second share with the first: `speakers` (names, of both),
    `of_speakers` (in the second), and how many `rows`, those with the same `recordings`, with such as are all but the
    same (`close`), with the same `sentences`, and `ids` that are written alike."""
    speakers = coded(rows.speakers)[1]
    speakers = np.where(rows.unknown_speaker, NONE, speakers)
    alike = rows.alike_ids
    found = []
    for fold in folds:
        for one, other in combinations(fold.parts, 2):
            if one in fold.tests:
                continue  # two tests may share what they like
            first, second = fold.parts[one], fold.parts[other]
            known, copies = (_shared(numbers, first, second) for numbers in (speakers, content.recordings))
            close = None if content.close is None else _shared(content.close, first, second) & ~copies
            found.append(
                {
                    "fold": fold.name,
                    "parts": [one, other],
                    "rows": len(second),
                    "speakers": coded(rows.speakers[second[known]])[0].tolist(),
                    "of_speakers": len(np.unique(speakers[second[speakers[second] != NONE]])),
                    "recordings": int(copies.sum()),
                    "close": None if close is None else int(close.sum()),
                    "sentences": int(_shared(rows.sentences, first, second).sum()),
                    "ids": int(_shared(alike, first, second).sum()),
                }
            )
    return found


def part_counts(rows: AuditedRows, folds: Sequence[AuditedFold]) -> list[dict[str, Any]]:
    """Of each part of each fold, rows, speakers, rows whose speaker is unknown, and rows of each class."""
    names = coded(rows.speakers)[1]
    return [
        {
            "fold": fold.name,
            "part": part,
            "rows": len(chosen),
            "speakers": len(np.unique(names[chosen])),
            "unknown": int(rows.unknown_speaker[chosen].sum()),
            "classes": dict(
                zip(
                    rows.label_names,
                    np.bincount(rows.labels[chosen], minlength=len(rows.label_names)).tolist(),
                    strict=True,
                )
            ),
        }
        for fold in folds
        for part, chosen in fold.parts.items()
    ]


def findings(
    rows: AuditedRows,
    folds: Sequence[AuditedFold],
    content: SameContent,
    pairs: list[dict[str, Any]],
    parts: list[dict[str, Any]],
) -> list[Finding]:
    """What is found, over all folds; of those that are there `again`, what lies in training and validation alone."""
    again, every = {fold.name for fold in folds if fold.again}, folds
    folds = [fold for fold in every if not fold.again]
    tested = [pair for pair in pairs if pair["parts"][1] not in (TRAIN, VALIDATION) and pair["fold"] not in again]
    trained = [pair for pair in pairs if pair["parts"][1] in (TRAIN, VALIDATION)]
    unknown = _unknown([part for part in parts if part["fold"] not in again])
    found = [_speakers(rows, folds, tested), unknown, *_alike_speakers(rows, folds)]
    for what, said in (
        ("recordings", "whose recording is there under another id"),
        ("close", "that are all but a copy of a row there"),
        ("ids", "whose utterance id is written as one there but for capitals, folders or endings"),
    ):
        found.append(_rows_shared(folds, rows, content, what, said))
    found += [_sentences(rows, folds), _validated(trained), _few(parts, again), _shifted(rows, every)]
    return [finding for finding in found if finding is not None]


def _shared(numbers: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(second,) bool: rows of the second part with a number that one of the first has."""
    known = np.zeros(numbers.max(initial=0) + 2, bool)
    known[numbers[first]] = True
    known[NONE] = False  # the last one
    return known[numbers[second]]


def _folds_with(pairs: list[dict[str, Any]], what: str) -> str:
    shared: dict[str, bool] = {}
    for pair in pairs:
        shared[pair["fold"]] = shared.get(pair["fold"], False) or bool(pair[what])
    return _of_folds([*shared.values()])


def _of_folds(shared: Sequence[bool]) -> str:
    return f", in {sum(shared)} of {len(shared)} folds" if len(shared) > 1 else ""


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + ", ..." * (len(names) > _MOST_NAMED)


def _speakers(rows: AuditedRows, folds: Sequence[AuditedFold], tested: list[dict[str, Any]]) -> Finding | None:
    shared = sorted({name for pair in tested for name in pair["speakers"]})
    if not shared:
        return None
    there = np.concatenate([fold.rows(*fold.tests) for fold in folds])
    people = len(coded(rows.speakers[there[~rows.unknown_speaker[there]]])[0])
    return Finding(
        "speakers",
        f"{len(shared)} of {people} tested speakers have training or validation rows"
        f"{_folds_with(tested, 'speakers')}: {_named(shared)}",
        numbers={"shared": len(shared), "tested": people, "names": shared},
    )


def _unknown(parts: list[dict[str, Any]]) -> Finding | None:
    unknown = {side: 0 for side in ("tested", "other")}
    for part in parts:
        unknown["other" if part["part"] in (TRAIN, VALIDATION) else "tested"] += part["unknown"]
    if not any(unknown.values()):
        return None
    return Finding(
        "speakers",
        f"it isn't known who speaks in {unknown['tested']} test rows and {unknown['other']} others (over all folds): "
        "tested speakers may be trained on",
        problem=all(unknown.values()),
        numbers=unknown,
    )


def _alike_speakers(rows: AuditedRows, folds: Sequence[AuditedFold]) -> list[Finding]:
    """Names on two sides that a reader could take for one, which are no single name."""
    groups: dict[str, set[int]] = {}
    for number, group in enumerate(look_alikes(coded(rows.speakers)[0].tolist())):
        groups |= {name: {number} for name in group}
    if not groups:
        return []
    pairs: set[tuple[str, str]] = set()
    for fold in folds:
        sides = [
            set(coded(rows.speakers[side])[0].tolist()) & groups.keys()
            for side in (fold.rows(TRAIN, VALIDATION), fold.rows(*fold.tests))
        ]
        pairs |= {(a, b) for a in sides[0] for b in sides[1] if a != b and groups[a] == groups[b]}
    if not pairs:
        return []
    shown = "; ".join(f"{a!r} trains, {b!r} is tested" for a, b in sorted(pairs)[:_MOST_NAMED])
    return [
        Finding(
            "speaker names",
            f"speakers on two sides whose names are written alike, which may be one: {shown}",
            numbers={"pairs": len(pairs)},
        )
    ]


def _rows_shared(
    folds: Sequence[AuditedFold], rows: AuditedRows, content: SameContent, what: str, said: str
) -> Finding | None:
    """Test rows that share a recording, all but a recording, or the id but for its spelling with a row of another
    part."""
    numbers = rows.alike_ids if what == "ids" else content.recordings if what == "recordings" else content.close
    if numbers is None:
        return None
    counts = []
    for fold in folds:
        others, tests = fold.rows(TRAIN, VALIDATION), fold.rows(*fold.tests)
        shared = _shared(numbers, others, tests)
        shared &= ~_shared(content.recordings, others, tests) if what == "close" else True
        counts.append((int(shared.sum()), len(tests)))
    count, total = (sum(each) for each in zip(*counts, strict=True))
    if not count:
        return None
    example = ""
    if what != "ids":
        example = next(_examples(rows, folds, numbers, content.recordings if what == "close" else None), "")
    where = _of_folds([shared > 0 for shared, _ in counts])
    return Finding(
        {"recordings": "recordings", "close": "near-duplicates", "ids": "utterance ids"}[what],
        f"{count} of {total} test rows are in the training or validation part too{where}: rows {said}{example}",
        numbers={"rows": count, "tested": total},
    )


def _examples(rows: AuditedRows, folds: Sequence[AuditedFold], numbers: np.ndarray, but: np.ndarray | None):
    for fold in folds:
        others, tests = fold.rows(TRAIN, VALIDATION), fold.rows(*fold.tests)
        for row in tests[_shared(numbers, others, tests)]:
            same = others[numbers[others] == numbers[row]]
            same = same if but is None else same[(but[same] != but[row]) | (but[row] == NONE)]
            if len(same):
                yield f" ({rows.row(row)}, and {rows.row(same[0])})"


def _sentences(rows: AuditedRows, folds: Sequence[AuditedFold]) -> Finding | None:
    """Test rows whose sentence was trained on, and what the sentence's majority label in training says of them."""
    known, hits, base, total = 0, [], [], 0
    for fold in folds:
        others, tests = fold.rows(TRAIN, VALIDATION), fold.rows(*fold.tests)
        there = tests[_shared(rows.sentences, others, tests)]
        known, total = known + len(there), total + len(tests)
        if not len(there):
            continue
        table = np.zeros((rows.sentences.max() + 1, len(rows.label_names)), np.int32)
        spoken = others[rows.sentences[others] != NONE]
        np.add.at(table, (rows.sentences[spoken], rows.labels[spoken]), 1)
        hits.append(table[rows.sentences[there]].argmax(axis=1) == rows.labels[there])
        base.append(table.sum(axis=0).argmax() == rows.labels[there])
    if not known:
        return None
    right, constant = np.concatenate(hits), np.concatenate(base)
    gain = right.astype(float) - constant
    error = max(float(gain.std()), 1 / len(gain)) / np.sqrt(len(gain))
    tells = gain.mean() > 3 * error
    much = known > _SHARED_SENTENCES * total
    return Finding(
        "sentences",
        f"the sentence of {known} of {total} test rows ({known / total:.1%}) was trained on; the label that it mostly "
        f"has there is right for {right.mean():.1%} of them, the commonest label for {constant.mean():.1%}",
        problem=bool(much and (tells or rows.reads_words)),
        numbers={
            "rows": known,
            "tested": total,
            "share": known / total,
            "majority_accuracy": float(right.mean()),
            "commonest_accuracy": float(constant.mean()),
        },
    )


def _validated(trained: list[dict[str, Any]]) -> Finding | None:
    shared = sorted({name for pair in trained for name in pair["speakers"]})
    if not shared:
        return None
    return Finding(
        "validation",
        f"{len(shared)} validation speakers are trained on too{_folds_with(trained, 'speakers')}: epochs are chosen "
        "on known voices, and no test score is too high for it",
        problem=False,
        numbers={"shared": len(shared)},
    )


def _few(parts: list[dict[str, Any]], again: set[str]) -> Finding | None:
    few = [
        (count, name, part)
        for part in parts
        for name, count in part["classes"].items()
        if count < FEWEST and part["part"] != VALIDATION and (part["part"] == TRAIN or part["fold"] not in again)
    ]
    if not few:
        return None
    # A class that a tested corpus lacks altogether is in no score.
    shown = "; ".join(f"{count} of {name} in {part['part']} of {part['fold']}" for count, name, part in few[:3])
    return Finding(
        "class counts",
        f"fewer than {FEWEST} rows of a class: {shown}{'; ...' * (len(few) > 3)}: recalls of such say little",
        problem=True,
        numbers={"parts": len(few)},
    )


def _shifted(rows: AuditedRows, folds: Sequence[AuditedFold]) -> Finding | None:
    classes = len(rows.label_names)
    worst, where = 0.0, ""
    for fold in folds:
        for name in fold.tests:
            shares = [
                np.bincount(rows.labels[side], minlength=classes) / max(len(side), 1)
                for side in (fold.parts[TRAIN], fold.parts[name])
            ]
            shift = float(np.abs(shares[0] - shares[1]).sum() / 2)
            if shift > worst:
                worst, where = shift, f"{name} of {fold.name}"
    if worst <= _SHIFT:
        return None
    return Finding(
        "class shares",
        f"class shares differ by up to {worst:.0%} between training and test ({where})",
        problem=False,
        numbers={"shift": worst},
    )


__all__ = ["FEWEST", "SameContent", "findings", "pair_counts", "part_counts"]
