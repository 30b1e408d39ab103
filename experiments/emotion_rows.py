"""The rows of a run as the Trainer takes them: by index, without a Python object per value."""

import numpy as np
from torch.utils.data import Dataset

from ..features.sequences import Sequences


class EmotionRows(Dataset):
    """The rows of one part (training, validation or test) as a map-style data set for the Trainer.

    Args:
        audio: voice features, or None where the model takes words alone.
        text: states of the frozen text encoder, or None.
        tokens: token ids of each row where the encoder is fine-tuned: a list of int64 arrays, or None.
        labels: (n,) class numbers, or None for prediction alone.
        sample_weights: (n,) weights of the rows in the loss, or None (training alone has them).
        vad: (n, 3) ratings, NaN where unrated, for a model that learns them, or None.
    """

    def __init__(
        self,
        audio: Sequences | None = None,
        text: Sequences | None = None,
        tokens: list[np.ndarray] | None = None,
        labels: np.ndarray | None = None,
        sample_weights: np.ndarray | None = None,
        vad: np.ndarray | None = None,
    ):
        columns = {"audio": audio, "text": text, "tokens": tokens, "labels": labels}
        columns |= {"sample_weights": sample_weights, "vad": vad}
        lengths = {name: len(column) for name, column in columns.items() if column is not None}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"every column must have the same number of rows, got {lengths}")
        self.audio, self.text, self.tokens = audio, text, tokens
        self.labels, self.sample_weights, self.vad = labels, sample_weights, vad
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict[str, np.ndarray | int | float | None]:
        row: dict[str, np.ndarray | int | float | None] = {}
        if self.audio is not None:
            row["audio_features"] = self.audio[i] if self.audio.length[i] else None
        if self.text is not None:
            row["text_features"] = self.text[i] if self.text.length[i] else None
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
