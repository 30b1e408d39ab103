"""Predictions of runs that nobody trained, of speakers that nobody heard."""

import itertools
from typing import Any

import numpy as np

from emomm.evaluation.metrics import SCALARS
from emomm.evaluation.metrics import emotion_scores
from emomm.evaluation.predictions import Predictions
from emomm.evaluation.predictions import RunPredictions

LABELS = ["neutral", "happy", "sad"]
FOUR = (*LABELS, "anger")


def corpus_of(speakers: int, rows: int = 24, name: str = "IEMO") -> dict[str, np.ndarray]:
    """Speakers in pairs: a session each."""
    rng = np.random.default_rng(speakers)
    owner = np.repeat(np.arange(speakers), rows)
    return {
        "utterance_id": np.array([f"u{i}" for i in range(len(owner))]),
        "corpus": np.array([name] * len(owner)),
        "speaker": np.array([f"{name}/{number}" for number in owner]),
        "session": np.array([str(number // 2 + 1) for number in owner]),
        "label": rng.integers(0, 3, len(owner)),
    }


def run(
    corpus: dict[str, np.ndarray],
    seed: int,
    fold: str,
    skill: float = 1.0,
    sessions: list[str] | None = None,
    **more: Any,
) -> RunPredictions:
    """One run on some sessions; `skill` is how much the true class is favoured.

    Args:
        more: ratings and the like, of all rows of the corpus.
    """
    chosen = np.flatnonzero(np.isin(corpus["session"], sessions or np.unique(corpus["session"])))
    rng = np.random.default_rng([seed, int(10 * skill), len(fold), chosen[0]])
    chosen = rng.permutation(chosen)  # no order is promised
    logits = rng.normal(0, 1, (len(chosen), 3))
    logits[np.arange(len(chosen)), corpus["label"][chosen]] += skill
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    columns = {name: values[chosen] for name, values in {**corpus, **more}.items()}
    columns["label"] = np.array(LABELS)[columns["label"]]
    return RunPredictions(seed, fold, Predictions.of(LABELS, **columns, probabilities=probabilities))


def loso(
    corpus: dict[str, np.ndarray], skill: float = 1.0, seeds: tuple[int, ...] = (1, 2), **more: Any
) -> list[RunPredictions]:
    """A run for each seed and session. Arguments as of `run`."""
    return [
        run(corpus, seed, f"session-{session}", skill, [session], **more)
        for seed, session in itertools.product(seeds, np.unique(corpus["session"]))
    ]


def rows_of(
    speakers: int, seed: int = 0, seeds: int = 1, even: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """References of four classes, predictions (seeds, n), and speakers: some are recognised better than others."""
    rng = np.random.default_rng(seed)
    sizes = np.full(speakers, 40) if even else rng.integers(10, 80, speakers)
    owner = np.repeat(np.arange(speakers), sizes)
    references = rng.choice(4, len(owner), p=[0.4, 0.3, 0.2, 0.1])
    chance = rng.uniform(0.3, 0.9, speakers)[owner]
    guess = rng.integers(0, 4, (seeds, len(owner)))
    return references, np.where(rng.random(guess.shape) < chance, references, guess), owner


def scores_of(references: np.ndarray, predictions: np.ndarray) -> list[float]:
    """Accuracy, UAR and both F1 of one seed."""
    return [emotion_scores(references, predictions, FOUR)[name] for name in SCALARS]
