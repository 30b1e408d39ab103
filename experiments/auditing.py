"""Audits of experiments: their rows and folds as `audit` looks at them."""

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..audit.audited import TRAIN
from ..audit.audited import VALIDATION
from ..audit.audited import Audit
from ..audit.audited import AuditedFold
from ..audit.audited import AuditedRows
from ..audit.audited import Finding
from ..audit.auditing import audit
from ..corpora.builtin import resolve_specs
from ..corpora.contamination import contamination
from ..corpora.contamination import trained_on
from ..corpora.raw_columns import UNKNOWN
from ..evaluation.folds import Fold
from ..features.numbering import missing_words
from ..features.sequences import Sequences
from ..features.text_encoders import public_name
from ..features.voice_encoders import stated_config
from ..modalities import AUDIO
from ..modalities import TEXT
from ..recordings.recorded_corpus import holds_recordings
from ..reporting.audit_words import SAID_ELSEWHERE
from ..settings.settings import Settings
from ..text_columns import coded
from .data import ExperimentData
from .own_fusion import load_modalities
from .planning import Loaded
from .planning import folds_by_seed
from .planning import load_data
from .planning import loaded_corpus


def audit_experiment(
    data: ExperimentData,
    folds: Mapping[int, Sequence[Fold]],
    name: str,
    brief: bool = False,
    bare: bool = False,
) -> Audit:
    """What the rows of an experiment and its folds give away.

    Args:
        folds: of each seed; none for corpora alone.
        brief: leaves out what takes seconds.
        bare: whether the settings only name a corpus or a manifest, and no model.
    """
    return audit(name, _rows(data, bare), _of_all_seeds(data, folds), brief)


def audit_settings(
    settings: Settings, loaded: Loaded, brief: bool = False, bare: bool = False, rows_alone: bool = False
) -> Audit:
    """The audit of what an experiment would read, with the folds of all its seeds. Raises InputError as a job does.

    Args:
        loaded: as in `load_data`.
        bare: whether the settings only name a corpus or a manifest: then all that the corpus has is looked at.
        rows_alone: whether the rows alone are audited, which is said, where settings follow the published split of a
            corpus that has none.
    """
    settings = _all_there_is(settings, loaded) if bare else settings
    data = load_data(settings, loaded)
    splits = [corpus for corpus in data.train if corpus.splits is not None and (corpus.splits != "").any()]
    if rows_alone and settings.evaluation_mode == "published" and not splits:
        found = audit_experiment(data, {}, settings.name, brief, bare)
        names = " and ".join(corpus.name for corpus in data.train)
        told = Finding("folds", f"{names} has no split of its own: rows alone are looked at, no folds", problem=False)
        return replace(found, findings=[*found.findings, told])
    return audit_experiment(data, folds_by_seed(data), settings.name, brief, bare)


def _all_there_is(settings: Settings, loaded: Loaded) -> Settings:
    """The settings with the modalities that the corpus has, and recordings where it is one of these."""
    load_modalities(settings)
    specs, name = resolve_specs(settings.corpora, settings.corpus), settings.training_corpora[0]
    recorded = name in specs and holds_recordings(specs[name])
    settings = replace(settings, modality="audio", voice_input="recording" if recorded else "features")
    corpus = loaded_corpus(settings, specs, name, "train_dataset", loaded)
    reads = not missing_words(corpus.transcripts).all()
    return replace(settings, modality=("both" if reads else "audio") if corpus.has_audio else "text")


def audit_entry(found: Audit) -> dict[str, Any]:
    """The problems of an audit before a job, as results.json has them beside the numbers: `audit`, where there are
    any."""
    told = [{"check": each.check, "text": each.text, "numbers": each.numbers} for each in found.problems]
    return {"audit": told} if told else {}


def audit_notes(found: Audit) -> list[str]:
    """Those of the problems that nothing else says before a job."""
    return [f"audit: {each.check}: {each.text}" for each in found.problems if each.check not in SAID_ELSEWHERE]


def _encoders(data: ExperimentData, bare: bool) -> list[Finding]:
    """What encoders had seen before: those that made the features, and those that are to read recordings and words,
    tuned or not, since tuning takes nothing away of it."""
    settings, found, known = data.settings, [], {}
    for corpus in data.corpora if bare or AUDIO.name in settings.modalities else ():
        encoder, made_by = corpus.spec.extractor, corpus.spec.speech_encoder
        if corpus.recordings is not None:
            if bare:
                continue
            encoder, made_by = public_name(settings.speech_model_name), stated_config(settings.speech_model_name)
        warning = contamination(corpus.name, encoder, made_by)
        found += [Finding("contamination", warning)] if warning else []
        known[encoder] = trained_on(encoder, made_by)
    if not bare and TEXT.name in settings.modalities:
        encoder = public_name(settings.text_model_name)
        told = [contamination(corpus.name, encoder) for corpus in data.corpora]
        found += [Finding("words", text) for text in told if text]
        known[encoder] = trained_on(encoder)
    told = [f"{encoder} was trained on {words}" for encoder, words in known.items() if words]
    return [*found, *(Finding("encoders", text, problem=False) for text in told)]


def _rows(data: ExperimentData, bare: bool) -> AuditedRows:
    hears = any(corpus.has_audio for corpus in data.corpora)
    names, speakers = coded(data.speakers)
    return AuditedRows(
        data.corpus_names,
        data.label_ids,
        tuple(data.labels),
        data.speakers,
        data.sessions,
        np.char.endswith(names, f"/{UNKNOWN}")[speakers],
        data.utterance_ids,
        data.sentences,
        data.same_recordings,
        data.vad,
        Sequences.concatenate([corpus.audio for corpus in data.corpora]) if hears else None,
        data.recordings is not None,
        not bare and TEXT.name in data.settings.modalities,
        tuple(_encoders(data, bare)),
    )


def _of_all_seeds(data: ExperimentData, folds: Mapping[int, Sequence[Fold]]) -> list[AuditedFold]:
    """The folds of all seeds, each once; those of a further seed that are others by its name too."""
    found: list[AuditedFold] = []
    known: set[bytes] = set()
    for seed, of_seed in folds.items():
        for fold in of_seed:
            made = _fold(data, fold)
            tests = [made.parts[name] for name in made.tests]
            whole = _digest(made.parts[TRAIN], made.parts[VALIDATION], *tests)
            sides = _digest(made.rows(TRAIN, VALIDATION), *tests)
            if whole not in known:
                told = any(each.name == made.name for each in found)
                name = f"{made.name}, seed {seed}" if told else made.name
                found.append(replace(made, name=name, again=sides in known))
            known |= {whole, sides}
    return found


def _digest(*parts: np.ndarray) -> bytes:
    return hashlib.sha256(b"|".join(np.sort(rows).tobytes() for rows in parts)).digest()


def _fold(data: ExperimentData, fold: Fold) -> AuditedFold:
    parts = {TRAIN: data.rows(fold.train), VALIDATION: data.rows(fold.validation)}
    tests: dict[str, list[np.ndarray]] = {}
    for part in fold.test:
        tests.setdefault(part.test or "test", []).append(data.rows((part,)))
    return AuditedFold(fold.name, parts | {name: np.concatenate(rows) for name, rows in tests.items()})


__all__ = ["audit_entry", "audit_experiment", "audit_notes", "audit_settings"]
