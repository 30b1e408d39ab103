"""What the runs of a stack take in an epoch: rows, weights and norms of every batch, put on the device once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .gathering import Batches
from .stacked_run import StackedRun


class Examples:
    """What an experiment's rows are, for all runs of a stack.

    Args:
        batches: their vectors.
        labels: (N,) class numbers.
        ratings: (N, 3) of valence, arousal and dominance where the model learns them, NaN where unrated; else None.
        train, validation: of each run, the rows that it trains on and validates with, by number among all.
    """

    def __init__(
        self,
        batches: Batches,
        labels: np.ndarray,
        ratings: np.ndarray | None,
        train: Sequence[np.ndarray],
        validation: Sequence[np.ndarray],
    ):
        self.batches, self.train, self.validation = batches, list(train), list(validation)
        self.labels, self.ratings = labels, ratings
        self.device_labels = torch.from_numpy(np.asarray(labels, np.int64)).to(batches.device)
        self.device_ratings = None
        if ratings is not None:
            self.device_ratings = torch.from_numpy(np.asarray(ratings, np.float32)).to(batches.device)

    def take(self, kept: list[int]) -> None:
        """Leaves these runs."""
        self.train = [self.train[k] for k in kept]
        self.validation = [self.validation[k] for k in kept]


class EpochPlan:
    """The batches of an epoch of K runs, T of the longest run. A batch that is shorter than the others' is filled with
    rows of weight 0, and so are those that a run with fewer batches waits for.

    Args:
        examples: of the runs.
        runs: (K,), at the beginning of an epoch.
        accumulation: batches of an optimiser step.
    """

    def __init__(self, examples: Examples, runs: Sequence[StackedRun], accumulation: int):
        self.examples, self.accumulation = examples, accumulation
        orders = [run.batches() for run in runs]
        self.counts = [len(order) for order in orders]
        self.length = max(self.counts)
        size = max(len(batch) for order in orders for batch in order)
        self.rows = np.empty((self.length, len(runs), size), np.int64)  # (T, K, B)
        self.real = np.zeros(self.rows.shape, bool)
        weights = np.zeros(self.rows.shape, np.float32)
        for k, (order, run, train) in enumerate(zip(orders, runs, examples.train, strict=True)):
            of_rows = run.row_weights()
            self.rows[:, k] = train[order[0][0]]
            for t, batch in enumerate(order):
                self.rows[t, k], self.real[t, k, : len(batch)] = train[batch[0]], True
                self.rows[t, k, : len(batch)] = train[batch]
                weights[t, k, : len(batch)] = 1 if of_rows is None else of_rows[batch]
        self.weighed = not bool(self.real.all()) or any(run.row_weights() is not None for run in runs)
        device = examples.batches.device
        self._rows = torch.from_numpy(self.rows).to(device)
        self._weights = torch.from_numpy(weights).to(device) if self.weighed else None
        self._real = None if bool(self.real.all()) else torch.from_numpy(self.real).to(device)
        needs_norms = accumulation > 1 or self._real is not None
        self._norms = torch.from_numpy(self._sums(runs)).to(device) if needs_norms else None
        self.own_sizes = [[self._own(t, k) for k in range(len(runs))] for t in range(self.length)]

    def _own(self, t: int, k: int) -> tuple[int, ...]:
        rows = self.rows[t, k][self.real[t, k]]
        return self.examples.batches.sizes(rows) if len(rows) else ()

    def _sums(self, runs: Sequence[StackedRun]) -> np.ndarray:
        """(T, K, 2): what the sums of losses of classes and of ratings are divided by, see `_loss_norms` of the
        Trainer."""
        labels = self.examples.labels[self.rows]
        weights = [run.model.config.class_weights for run in runs]
        rows = self.real.astype(np.float64)
        if weights[0] is not None:
            rows = rows * np.stack([np.asarray(each)[labels[:, k]] for k, each in enumerate(weights)], axis=1)
        sums = rows.sum(axis=2)
        ratings = self.examples.ratings
        rated = sums if ratings is None else (~np.isnan(ratings[self.rows]) & self.real[..., None]).sum(axis=(2, 3))
        both = np.stack([sums, rated], axis=-1).astype(np.float64)  # (T, K, 2)
        steps = both.reshape(-1, self.accumulation, *both.shape[1:]).sum(axis=1) / self.accumulation
        return np.repeat(steps, self.accumulation, axis=0).astype(np.float32)

    @property
    def steps(self) -> int:
        """Optimiser steps of the run that has most."""
        return self.length // self.accumulation

    def sizes(self, t: int) -> tuple[int, ...]:
        """Of the batch that all runs are padded to."""
        own = [sizes for sizes in self.own_sizes[t] if sizes]
        longest = [max(values) for values in zip(*own, strict=True)]
        return (self.rows.shape[2], *longest[1:])

    def inputs(self, t: int) -> dict[str, Tensor]:
        """What the model takes, (K, B, ...) each."""
        examples, rows = self.examples, self._rows[t]
        real = None if self._real is None else self.real[t]
        found = examples.batches.inputs(self.rows[t], rows, real)
        found["labels"] = examples.device_labels[rows]
        if examples.device_ratings is not None:
            ratings = examples.device_ratings[rows]
            if self._real is not None:
                ratings = ratings.masked_fill(~self._real[t].unsqueeze(-1), torch.nan)
            found["vad"] = ratings
        if self._weights is not None:
            found["sample_weights"] = self._weights[t]
        if self._norms is not None:
            found["loss_norms"] = self._norms[t]
        return found


__all__ = ["EpochPlan", "Examples"]
