"""Audits of experiments: their rows and folds as `audit` looks at them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..audit.audited import TRAIN
from ..audit.audited import VALIDATION
from ..audit.audited import Audit
from ..audit.audited import AuditedFold
from ..audit.audited import AuditedRows
from ..audit.auditing import audit
from ..corpora.contamination import contamination
from ..corpora.raw_columns import UNKNOWN
from ..evaluation.folds import Fold
from ..features.sequences import Sequences
from ..modalities import TEXT
from .data import ExperimentData

_SAID_ELSEWHERE = ("contamination", "speakers", "speaker names")


def audit_experiment(data: ExperimentData, folds: Sequence[Fold], name: str, brief: bool = False) -> Audit:
    """What the rows of an experiment and its folds give away.

    Args:
        folds: of one seed; none for corpora alone.
        brief: leaves out what takes seconds.
    """
    return audit(name, _rows(data), [_fold(data, fold) for fold in folds], brief)


def audit_entry(found: Audit) -> list[dict[str, Any]]:
    """The problems of an audit before a job, as results.json has them beside the numbers."""
    return [{"check": each.check, "text": each.text, "numbers": each.numbers} for each in found.problems]


def audit_notes(found: Audit) -> list[str]:
    """Those of the problems that nothing else says before a job."""
    return [f"audit: {each.text}" for each in found.problems if each.check not in _SAID_ELSEWHERE]


def _rows(data: ExperimentData) -> AuditedRows:
    hears = any(corpus.has_audio for corpus in data.corpora)
    told = {
        corpus.name: contamination(corpus.name, corpus.spec.extractor, corpus.spec.speech_encoder)
        for corpus in data.corpora
        if corpus.recordings is None
    }
    return AuditedRows(
        data.corpus_names.astype(str),
        data.label_ids,
        tuple(data.labels),
        data.speakers.astype(str),
        data.sessions.astype(str),
        np.array([name.endswith(f"/{UNKNOWN}") for name in data.speakers.tolist()], bool),
        data.utterance_ids,
        data.sentences,
        data.same_recordings,
        data.vad,
        Sequences.concatenate([corpus.audio for corpus in data.corpora]) if hears else None,
        data.recordings is not None,
        TEXT.name in data.settings.modalities,
        {name: text for name, text in told.items() if text},
    )


def _fold(data: ExperimentData, fold: Fold) -> AuditedFold:
    parts = {TRAIN: data.rows(fold.train), VALIDATION: data.rows(fold.validation)}
    tests: dict[str, list[np.ndarray]] = {}
    for part in fold.test:
        tests.setdefault(part.test or "test", []).append(data.rows((part,)))
    return AuditedFold(fold.name, parts | {name: np.concatenate(rows) for name, rows in tests.items()})


__all__ = ["audit_entry", "audit_experiment", "audit_notes"]
