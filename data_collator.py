"""Rows to one padded, masked batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .modalities import AUDIO
from .modalities import TEXT
from .modalities import modality_of


@dataclass
class EmoMMDataCollator:
    """Turns rows into the inputs of `EmoMMForEmotionClassification`.

    A row is a dict with any of: `audio_features` (dim,) or (frames, dim), and so `NAME_features` of a user's own
    modality; `text_features` (dim,) or (tokens, dim); `input_ids` (tokens,); `labels` (or `label`), a class number;
    `sample_weights`, a float; `vad` (3,), ratings. None, or an empty array, says that the row lacks that modality.
    Other keys are left out of the batch; `NAME_features` of an unknown modality is not, and the model refuses it.

    The batch holds float32 features of shape (batch, dim) without a mask where every row has one vector, else
    (batch, longest, dim) with `NAME_mask` (batch, longest); `input_ids` and `attention_mask` (batch, longest) int64;
    `labels` (batch,) int64; `sample_weights` (batch,) and `vad` (batch, 3) float32.

    Args:
        pad_token_id (`int`, defaults to 0): what pads `input_ids`.
        allow_missing (`bool`, defaults to `True`): whether a row may lack a modality (but not all of them); if not,
            such a row raises ValueError. Checked here, on the CPU, and not in the model, where a look at a mask waits
            for the device.
    """

    pad_token_id: int = 0
    allow_missing: bool = True

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch: dict[str, torch.Tensor] = {}
        names = features[0].keys()
        vectors = [name for name in names if name.endswith("_features")]
        tokens = [name for name in ("input_ids",) if name in names]
        if self.allow_missing:
            self._check_something(features, [*vectors, *tokens])
        for name in vectors:
            self._pad(name, [row[name] for row in features], batch)
        for name in tokens:
            self._pad_tokens([row[name] for row in features], batch)
        for name in ("labels", "label"):
            if name in names:
                batch["labels"] = torch.as_tensor(np.array([row[name] for row in features], dtype=np.int64))
        for name in ("sample_weights", "vad"):
            if name in names:
                batch[name] = torch.from_numpy(np.array([row[name] for row in features], dtype=np.float32))
        return batch

    @staticmethod
    def _check_something(features: Sequence[dict[str, Any]], names: list[str]) -> None:
        for i, row in enumerate(features):
            if not any(row[name] is not None and len(row[name]) for name in names):
                words = [_word_of(name) for name in names] if len(names) > 1 else [AUDIO.word, TEXT.word]
                lacking = f"{', '.join(words[:-1])} nor {words[-1]}"
                raise ValueError(f"row {i} of the batch has neither {lacking}: leave it out")

    def _lengths(self, name: str, values: list[np.ndarray | None]) -> list[int]:
        lengths = [0 if value is None else len(value) for value in values]
        if not self.allow_missing and not all(lengths):
            raise ValueError(
                f"row {lengths.index(0)} of the batch has no {_word_of(name)} ({name} is empty), which this model "
                "needs: leave such rows out, or train on voice and words with fusion_type='adaptive'"
            )
        return lengths

    def _pad(self, name: str, values: list, batch: dict[str, torch.Tensor]) -> None:
        values = [None if value is None or not len(value) else np.atleast_2d(value) for value in values]
        lengths = self._lengths(name, values)
        longest = max(lengths)
        if longest == 0:  # no row has it: the model is told nothing of this modality
            return
        if longest == 1 and all(lengths):
            batch[name] = torch.from_numpy(np.concatenate(values).astype(np.float32, copy=False))
            return
        width = next(value.shape[1] for value in values if value is not None)
        padded = np.zeros((len(values), longest, width), dtype=np.float32)
        for row, value in enumerate(values):
            if value is not None:
                padded[row, : len(value)] = value
        batch[name] = torch.from_numpy(padded)
        batch[name.replace("features", "mask")] = _mask(lengths, longest)

    def _pad_tokens(self, values: list, batch: dict[str, torch.Tensor]) -> None:
        lengths = self._lengths("input_ids", values)
        longest = max(max(lengths), 1)
        padded = np.full((len(values), longest), self.pad_token_id, dtype=np.int64)
        for row, value in enumerate(values):
            padded[row, : lengths[row]] = () if value is None else value
        batch["input_ids"] = torch.from_numpy(padded)
        batch["attention_mask"] = _mask(lengths, longest).to(torch.int64)


def _word_of(name: str) -> str:
    """What a person calls what an input is of."""
    modality = modality_of(name)
    return name if modality is None else modality.word


def _mask(lengths: list[int], longest: int) -> torch.Tensor:
    return torch.from_numpy(np.arange(longest) < np.array(lengths)[:, None])


__all__ = ["EmoMMDataCollator"]
