"""What a model says of utterances, as the user gets it: labels, scores, words and moments. Travels to the Hub.

Without torch, as an exported model is used without.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .modalities import AUDIO
from .modalities import TEXT
from .utterances import Utterance

Spans = tuple[Sequence[int | None], Sequence[tuple[int, int]]]
"""Of each token of a transcript: the number of the word that it is of, None of special tokens; and its first character
and end."""


@dataclass(frozen=True)
class Said:
    """What a model says of a batch of utterances, as arrays.

    Args:
        probabilities: (rows, classes).
        vad: (rows, 3) on 1-5, of a model that gives them.
        gates: (rows, modalities), of a fusion that has them.
        weights: by modality, (rows, longest) or (longest,) of each row: how much each position bears on the class;
            None where that isn't known.
        weights_by: `attention` or `gradient`; None where there are no weights.
    """

    probabilities: np.ndarray
    vad: np.ndarray | None
    gates: np.ndarray | None
    weights: Mapping[str, Any]
    weights_by: str | None


@dataclass(frozen=True)
class Answers:
    """Makes results of what a model says.

    Args:
        labels: of its classes, in order.
        modalities: the names of its modalities, in the order of its gates.
        further: whether some of them are the user's own.
        frame_rate: of its voice features in Hz, where it is known and they are frames.
        spans: where the tokens of a transcript lie; None of a tokenizer that can't say it.
    """

    labels: Sequence[str]
    modalities: Sequence[str]
    further: bool
    frame_rate: float | None
    spans: Callable[[str], Spans] | None

    def of(self, utterances: Sequence[Utterance], said: Said | None, top_k: int | None = None) -> list[dict[str, Any]]:
        """The results, as the pipeline describes them.

        Args:
            said: of those that are `ready`, in their order; None where none is.
            top_k: how many of the classes to give in `scores`; default all.
        """
        row, results = 0, []
        for utterance in utterances:
            answer = self._answer(row, utterance, said) if utterance.ready and said else {"scores": []}
            row += utterance.ready
            results.append(
                {
                    **(answer["scores"][0] if answer["scores"] else {"label": None, "score": None}),
                    "scores": answer["scores"][:top_k],
                    "vad": answer.get("vad"),
                    "transcript": utterance.text,
                    "transcribed": utterance.transcribed,
                    "words": answer.get("words", []),
                    "moments": answer.get("moments", []),
                    "weights_by": answer.get("weights_by"),
                    "gates": answer.get("gates"),
                    **({"further": answer.get("further", {})} if self.further else {}),
                    "heard": utterance.heard,
                    "notes": utterance.notes,
                    "error": None if utterance.error is None else str(utterance.error),
                }
            )
        return results

    def _answer(self, row: int, utterance: Utterance, said: Said) -> dict[str, Any]:
        """What the model says of an utterance."""
        probabilities = said.probabilities[row].tolist()
        order = sorted(range(len(probabilities)), key=lambda i: (-probabilities[i], i))
        vad, gates = (None if values is None else values[row].tolist() for values in (said.vad, said.gates))
        weights = {name: _weights_of(values, row) for name, values in said.weights.items()}
        return {
            "scores": [{"label": self.labels[i], "score": probabilities[i]} for i in order],
            "vad": None if vad is None else dict(zip(("valence", "arousal", "dominance"), vad, strict=True)),
            "words": self._words(utterance, weights.get(TEXT.name)),
            "moments": self._moments(utterance, weights.get(AUDIO.name)),
            "weights_by": said.weights_by,
            "gates": None if gates is None else dict(zip(self.modalities, gates, strict=True)),
            "further": {
                name: shares(weights[name][: len(values)])
                for name, values in utterance.further.items()
                if values.ndim == 2 and weights.get(name) is not None
            },
        }

    def _words(self, utterance: Utterance, weights: np.ndarray | None) -> list[dict[str, Any]]:
        if utterance.text is None or weights is None:
            return []
        if self.spans is None:
            utterance.notes.append("no weights of words: this tokenizer does not say where its tokens lie")
            return []
        spans = merge_tokens(utterance.text, *self.spans(utterance.text), weights)
        end = spans[-1][1] if spans else 0
        if utterance.text[end:].strip():
            utterance.notes.append(f"cut: the words after character {end} were not read")
        return [
            {"word": utterance.text[start:end], "start": start, "end": end, "weight": share}
            for (start, end, _), share in zip(spans, shares([weight for *_, weight in spans]), strict=True)
        ]

    def _moments(self, utterance: Utterance, weights: np.ndarray | None) -> list[dict[str, Any]]:
        if utterance.features is None or utterance.features.ndim == 1 or weights is None:
            return []
        if not self.frame_rate:
            utterance.notes.append("no weights of moments: the frame rate of the features is not known")
            return []
        count, rate = len(utterance.features), self.frame_rate
        end = count / rate if utterance.waveform is None else min(utterance.waveform.seconds, count / rate)
        return [
            {"start": i / rate, "end": min((i + 1) / rate, end), "weight": share}
            for i, share in enumerate(shares(weights[:count]))
        ]


def _weights_of(weights: Any, row: int) -> np.ndarray | None:
    return None if weights is None else np.asarray(weights[row], dtype=np.float64)


def attention_weights(attentions: Sequence[Any], lengths: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    """From a fusion's attention, how much the other modalities look at each position of one: by its name, (batch,
    length).

    Args:
        attentions: for each modality (batch, heads, length of the others), arrays.
        lengths: of the modalities' sequences.
        names: of the modalities.
    """
    seen: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for i, weights in enumerate(attentions):
        others = [j for j in range(len(names)) if j != i]
        parts = np.split(weights.mean(axis=1), np.cumsum([lengths[j] for j in others])[:-1], axis=1)
        for j, share in zip(others, parts, strict=True):
            seen[names[j]].append(share)
    return {name: parts[0] if len(parts) == 1 else np.mean(parts, axis=0) for name, parts in seen.items()}


def merge_tokens(
    text: str, word_ids: Sequence[int | None], offsets: Sequence[tuple[int, int]], weights: Sequence[float]
) -> list[tuple[int, int, float]]:
    """Tokens to words: (first character, end, sum of the weights) of each, in their order.

    Tokens of one `word_ids` entry are one word, and so are neighbours without a space between (`can` `'` `t` `!`),
    unless letters meet there, as in scripts that need no spaces. Special tokens have no entry, and are left out.
    """
    spans: list[tuple[int, int, float]] = []
    last = None
    for word, (start, end), weight in zip(word_ids, offsets, weights, strict=False):  # the weights are padded
        while start < end and text[start].isspace():
            start += 1
        if word is None or start >= end:
            continue
        touching = spans and start == spans[-1][1] and not text[start - 1 : start + 1].isalpha()
        if spans and (word == last or touching):
            first, before, sum_before = spans[-1]
            spans[-1] = (first, max(end, before), sum_before + float(weight))
        else:
            spans.append((start, end, float(weight)))
        last = word
    return spans


def shares(weights: Sequence[float]) -> list[float]:
    """The weights brought to a sum of 1; as they are where all are 0, and so nothing is known."""
    total = float(sum(weights))
    return [float(weight) / total if total > 0 else 0.0 for weight in weights]


__all__ = ["Answers", "Said", "Spans", "attention_weights", "merge_tokens", "shares"]
