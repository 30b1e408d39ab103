"""Rows to one padded, masked batch."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .modalities import AUDIO
from .modalities import TEXT
from .modalities import modality_of

_STATES = {"speech_states": "speech_mask", "text_states": "text_states_mask"}
_OF_VOICE = ("input_values", "speech_states")


class GatheredRows(Sequence):
    """Rows that have one vector of each modality, read at once: what the collator makes of them is here already.

    Args:
        columns: by the name of an input, (batch, ...): those of the collator's batches, of its types.
    """

    def __init__(self, columns: Mapping[str, np.ndarray]):
        self.columns = columns
        self._length = len(next(iter(columns.values())))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict[str, Any]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"there are {len(self)} rows, and no row {i}")
        found = {name: values[i] for name, values in self.columns.items()}
        return {name: value[None] if name.endswith("_features") else value for name, value in found.items()}


@dataclass
class EmoMMDataCollator:
    """Turns rows into the inputs of `EmoMMForEmotionClassification`.

    A row is a dict with any of: `audio_features` (dim,) or (frames, dim), and so `NAME_features` of a user's own
    modality; `text_features` (dim,) or (tokens, dim); `input_ids` (tokens,); `input_values`, the samples of a
    recording, (samples,) float32 at the encoder's rate; `speech_states` (frames, dim) and `text_states` (tokens, dim)
    of the lower layers of an encoder; `labels` (or `label`), a class number, or (classes,) float32 shares of a row
    that was mixed; `sample_weights`, a float; `vad` (3,), ratings. None, or an empty array, says that the row lacks
    that modality. Other keys are left out of the batch; `NAME_features` of an unknown modality is not, and the model
    refuses it.

    The batch holds float32 features of shape (batch, dim) without a mask where every row has one vector, else
    (batch, longest, dim) with `NAME_mask` (batch, longest); `input_ids` and `attention_mask` (batch, longest) int64;
    `labels` (batch,) int64, or (batch, classes) float32; `sample_weights` (batch,) and `vad` (batch, 3) float32. Of
    samples it holds what the encoder's feature extractor makes of them, `input_values` or `input_features`, and
    `speech_attention_mask`; of states of an encoder always their mask, `speech_mask` and `text_states_mask` (batch,
    longest) bool. A row that lacks them has zeros there and in the mask; where every row does, there is neither.

    `input_values` may be a list of windows (samples,): then each is a row of the batch, and `window_of` (batch,) int64
    says which of the rows given it is of.

    Args:
        pad_token_id (`int`, defaults to 0): what pads `input_ids`.
        allow_missing (`bool`, defaults to `True`): whether a row may lack a modality (but not all of them); if not,
            such a row raises ValueError. Checked here, on the CPU, and not in the model, where a look at a mask waits
            for the device.
        feature_extractor (*optional*): the speech encoder's own, for samples.
    """

    pad_token_id: int = 0
    allow_missing: bool = True
    feature_extractor: Any = None

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        if isinstance(features, GatheredRows):
            return {name: torch.from_numpy(values) for name, values in features.columns.items()}
        batch: dict[str, torch.Tensor] = {}
        names = features[0].keys()
        vectors = [name for name in names if name.endswith("_features")]
        states = [name for name in _STATES if name in names]
        tokens = [name for name in ("input_ids",) if name in names]
        samples = [name for name in ("input_values",) if name in names]
        if self.allow_missing:
            self._check_something(features, [*vectors, *states, *samples, *tokens])
        if samples:
            features = self._windows(features, batch)
            self._extract([row["input_values"] for row in features], batch)
        for name in vectors:
            self._pad(name, [row[name] for row in features], batch)
        for name in states:
            self._pad(name, [row[name] for row in features], batch, _STATES[name])
        for name in tokens:
            self._pad_tokens([row[name] for row in features], batch)
        for name in ("labels", "label"):
            if name in names:
                shares = np.ndim(features[0][name]) > 0  # of a row that was mixed, of each class
                of_rows = np.array([row[name] for row in features], dtype=np.float32 if shares else np.int64)
                batch["labels"] = torch.from_numpy(of_rows)
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

    @staticmethod
    def _windows(features: Sequence[dict[str, Any]], batch: dict[str, torch.Tensor]) -> Sequence[dict[str, Any]]:
        """A row for each window; `window_of` is told where that is another number of rows."""
        windows = [row["input_values"] if isinstance(row["input_values"], list) else None for row in features]
        if not any(windows):
            return features
        counts = [1 if pieces is None else len(pieces) for pieces in windows]
        batch["window_of"] = torch.from_numpy(np.repeat(np.arange(len(features)), counts))
        return [
            {**row, "input_values": piece}
            for row, pieces in zip(features, windows, strict=True)
            for piece in ([row["input_values"]] if pieces is None else pieces)
        ]

    def _extract(self, values: list[np.ndarray | None], batch: dict[str, torch.Tensor]) -> None:
        """What the encoder takes of the samples, by its own feature extractor."""
        lengths = self._lengths("input_values", values)
        there = [row for row, length in enumerate(lengths) if length]
        if not there:
            return
        if self.feature_extractor is None:
            raise ValueError("input_values are samples of recordings: give the speech encoder's feature_extractor")
        name, most = self.feature_extractor.model_input_names[0], getattr(self.feature_extractor, "n_samples", None)
        if most is not None and max(lengths) > most:  # it would cut them without a word
            raise ValueError(f"a window of {max(lengths)} samples is too long: this encoder takes at most {most}")
        # The mask is asked for, whatever the extractor's own setting: without one it normalises over the padding too.
        # Whisper's takes windows of 30 s and pads to them.
        found = self.feature_extractor(
            [values[row] for row in there],
            sampling_rate=self.feature_extractor.sampling_rate,
            padding=True if most is None else "max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        for key, tensor in ((name, found[name]), ("speech_attention_mask", found["attention_mask"].to(torch.int64))):
            filled = tensor
            if len(there) < len(values):
                filled = tensor.new_zeros((len(values), *tensor.shape[1:]))
                filled[there] = tensor
            batch[key] = filled

    def _pad(self, name: str, values: list, batch: dict[str, torch.Tensor], mask: str = "") -> None:
        values = [None if value is None or not len(value) else np.atleast_2d(value) for value in values]
        lengths = self._lengths(name, values)
        longest = max(lengths)
        if longest == 0:  # no row has it: the model is told nothing of this modality
            return
        if longest == 1 and all(lengths) and not mask:
            batch[name] = torch.from_numpy(np.concatenate(values).astype(np.float32, copy=False))
            return
        width = next(value.shape[1] for value in values if value is not None)
        padded = np.zeros((len(values), longest, width), dtype=np.float32)
        for row, value in enumerate(values):
            if value is not None:
                padded[row, : len(value)] = value
        batch[name] = torch.from_numpy(padded)
        batch[mask or name.replace("features", "mask")] = _mask(lengths, longest)

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
    modality = AUDIO if name in _OF_VOICE else TEXT if name == "text_states" else modality_of(name)
    return name if modality is None else modality.word


def _mask(lengths: list[int], longest: int) -> torch.Tensor:
    return torch.from_numpy(np.arange(longest) < np.array(lengths)[:, None])


__all__ = ["EmoMMDataCollator", "GatheredRows"]
