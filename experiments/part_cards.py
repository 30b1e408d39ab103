"""What results say of the parts of a fold: rows, speakers, classes, and what lies on two sides."""

from typing import Any

from ..corpora.raw_columns import UNKNOWN
from ..evaluation.folds import Fold
from ..evaluation.folds import Part
from ..text_columns import coded
from .data import ExperimentData


def part_cards(data: ExperimentData, fold: Fold) -> dict[str, dict[str, Any]]:
    """What is in each part of a fold.

    `speakers_trained_on`: of the validation speakers, those that are trained on too, and where a protocol may allow it
    the tested ones; None where not all are known. Where there is any: `recordings_trained_on` and
    `rows_of_unknown_speakers`, and of the training rows, `dropped` for `disjoint_by`.
    """
    cards = {part: _part_card(data, getattr(fold, part)) for part in ("train", "validation", "test")}
    trained, validated = (
        set(coded(data.speakers[data.rows(part)])[0].tolist()) for part in (fold.train, fold.validation)
    )
    known = not any(name.endswith(f"/{UNKNOWN}") for name in trained | validated)
    cards["validation"]["speakers_trained_on"] = len(trained & validated) if known else None
    overlap = fold.overlap
    if fold.protocol is not None or overlap:
        cards["test"]["speakers_trained_on"] = overlap.speakers
    if overlap.recordings:
        cards["test"]["recordings_trained_on"] = overlap.recordings
    for part, count in overlap.unknown:
        cards["train" if part == "training" else part]["rows_of_unknown_speakers"] = count
    if fold.dropped:
        cards["train"]["dropped"] = dict(fold.dropped)
    if any(part.test for part in fold.test):
        cards["test"]["parts"] = {part.name: len(part.rows) for part in fold.test}
    return cards


def _part_card(data: ExperimentData, parts: tuple[Part, ...]) -> dict[str, Any]:
    rows = data.rows(parts)
    speakers = coded(data.speakers[rows])[0].tolist()
    counts = data.class_counts(rows).tolist()
    return {
        "rows": len(rows),
        "corpora": [part.name for part in parts],
        "speakers": speakers[:50],
        "speaker_count": len(speakers),
        "classes": dict(zip(data.labels, counts, strict=True)),
    }


__all__ = ["part_cards"]
