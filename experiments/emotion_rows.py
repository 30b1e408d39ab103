"""The rows of a run as the Trainer takes them: by index, without a Python object per value."""

import numpy as np
from torch.utils.data import Dataset

from ..features.sequences import Sequences


class EmotionRows(Dataset):
    """The rows of one part (training, validation or test) as a map-style data set for the Trainer.

    Args:
        tokens: token ids of each row where the encoder is fine-tuned: a list of int64 arrays, or None.
        labels: (n,) class numbers, or None for prediction alone.
        sample_weights: (n,) weights of the rows in the loss, or None (training alone has them).
        vad: (n, 3) ratings, NaN where unrated, for a model that learns them, or None.
        vectors: by the name of a modality (`audio`, `text` ...): voice features, states of the frozen text encoder and
            the like, or None where the model is not given it so.
    """

    def __init__(
        self,
        tokens: list[np.ndarray] | None = None,
        labels: np.ndarray | None = None,
        sample_weights: np.ndarray | None = None,
        vad: np.ndarray | None = None,
        **vectors: Sequences | None,
    ):
        self.vectors = {f"{name}_features": found for name, found in vectors.items() if found is not None}
        columns = {**vectors, "tokens": tokens, "labels": labels, "sample_weights": sample_weights, "vad": vad}
        lengths = {name: len(column) for name, column in columns.items() if column is not None}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"every column must have the same number of rows, got {lengths}")
        self.tokens, self.labels, self.sample_weights, self.vad = tokens, labels, sample_weights, vad
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict[str, np.ndarray | int | float | None]:
        row: dict[str, np.ndarray | int | float | None] = {}
        for name, vectors in self.vectors.items():
            row[name] = vectors[i] if vectors.length[i] else None
        if self.tokens is not None:
            row["input_ids"] = self.tokens[i] if len(self.tokens[i]) else None
        if self.labels is not None:
            row["labels"] = self.labels[i]
        if self.sample_weights is not None:
            row["sample_weights"] = self.sample_weights[i]
        if self.vad is not None:
            row["vad"] = self.vad[i]
        return row


__all__ = ["EmotionRows"]
