"""Audits of experiments: their rows and folds as `audit` looks at them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..audit.audited import TRAIN
from ..audit.audited import VALIDATION
from ..audit.audited import Audit
from ..audit.audited import AuditedFold
from ..audit.audited import AuditedRows
from ..audit.auditing import audit
from ..corpora.builtin import resolve_specs
from ..corpora.contamination import contamination
from ..corpora.raw_columns import UNKNOWN
from ..evaluation.folds import Fold
from ..features.sequences import Sequences
from ..modalities import TEXT
from ..processing_emomm import is_missing
from ..recordings.recorded_corpus import holds_recordings
from ..reporting.audit_words import SAID_ELSEWHERE
from ..settings.settings import Settings
from .data import ExperimentData
from .own_fusion import load_modalities
from .planning import Loaded
from .planning import folds_by_seed
from .planning import load_data
from .planning import loaded_corpus


def audit_experiment(
    data: ExperimentData, folds: Sequence[Fold], name: str, brief: bool = False, reads_words: bool | None = None
) -> Audit:
    """What the rows of an experiment and its folds give away.

    Args:
        folds: of one seed; none for corpora alone.
        brief: leaves out what takes seconds.
        reads_words: whether words are to be read; None says what the settings say.
    """
    words = TEXT.name in data.settings.modalities if reads_words is None else reads_words
    return audit(name, _rows(data, words), [_fold(data, fold) for fold in folds], brief)


def audit_settings(settings: Settings, loaded: Loaded, brief: bool = False, bare: bool = False) -> Audit:
    """The audit of what an experiment would read, with the folds of its first seed. Raises InputError as a job does.

    Of settings that follow a corpus' published split, and a corpus that has none, the rows alone are audited.

    Args:
        loaded: as in `load_data`.
        bare: whether the settings only name a corpus or a manifest: then all that the corpus has is looked at.
    """
    settings = replace(settings, seeds=settings.seeds[:1])
    settings = _all_there_is(settings, loaded) if bare else settings
    data = load_data(settings, loaded)
    published = settings.evaluation_mode == "published"
    splits = [corpus for corpus in data.train if corpus.splits is not None and (corpus.splits != "").any()]
    folds = {} if published and not splits else folds_by_seed(data)
    of_seed = [fold for folds_of_seed in folds.values() for fold in folds_of_seed]
    return audit_experiment(data, of_seed, settings.name, brief, False if bare else None)


def _all_there_is(settings: Settings, loaded: Loaded) -> Settings:
    """The settings with the modalities that the corpus has, and recordings where it is one of these."""
    load_modalities(settings)
    specs, name = resolve_specs(settings.corpora, settings.corpus), settings.training_corpora[0]
    recorded = name in specs and holds_recordings(specs[name])
    settings = replace(settings, modality="audio", voice_input="recording" if recorded else "features")
    corpus = loaded_corpus(settings, specs, name, "train_dataset", loaded)
    reads = not all(is_missing(text) for text in corpus.transcripts)
    return replace(settings, modality=("both" if reads else "audio") if corpus.has_audio else "text")


def audit_entry(found: Audit) -> dict[str, Any]:
    """The problems of an audit before a job, as results.json has them beside the numbers: `audit`, where there are
    any."""
    told = [{"check": each.check, "text": each.text, "numbers": each.numbers} for each in found.problems]
    return {"audit": told} if told else {}


def audit_notes(found: Audit) -> list[str]:
    """Those of the problems that nothing else says before a job."""
    return [f"audit: {each.check}: {each.text}" for each in found.problems if each.check not in SAID_ELSEWHERE]


def _rows(data: ExperimentData, reads_words: bool) -> AuditedRows:
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
        reads_words,
        {name: text for name, text in told.items() if text},
    )


def _fold(data: ExperimentData, fold: Fold) -> AuditedFold:
    parts = {TRAIN: data.rows(fold.train), VALIDATION: data.rows(fold.validation)}
    tests: dict[str, list[np.ndarray]] = {}
    for part in fold.test:
        tests.setdefault(part.test or "test", []).append(data.rows((part,)))
    return AuditedFold(fold.name, parts | {name: np.concatenate(rows) for name, rows in tests.items()})


__all__ = ["audit_entry", "audit_experiment", "audit_notes", "audit_settings"]
