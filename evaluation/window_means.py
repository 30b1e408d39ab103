"""Rows that a model looks at in several windows: what it says of a row is the mean of what it says of these."""

from typing import TypeVar

import torch

Values = TypeVar("Values", torch.Tensor, tuple, None)


def window_means(values: Values, window_of: torch.Tensor) -> Values:
    """(windows, ...) to (rows, ...), float32: the mean over the windows of each row; of each of a tuple.

    Args:
        window_of: (windows,) the row of each, ascending; each row has one at least.
    """
    if values is None or isinstance(values, tuple):
        return None if values is None else tuple(window_means(each, window_of) for each in values)
    owner = window_of.to(values.device)
    counts = torch.bincount(owner)
    sums = values.new_zeros((len(counts), *values.shape[1:]), dtype=torch.float32).index_add_(0, owner, values.float())
    return sums / counts.reshape(-1, *[1] * (values.ndim - 1))


def first_windows(values: Values, window_of: torch.Tensor) -> Values:
    """(windows, ...) to (rows, ...): what is the same of all windows of a row, of each of a tuple."""
    if values is None or isinstance(values, tuple):
        return None if values is None else tuple(first_windows(each, window_of) for each in values)
    owner = window_of.to(values.device)
    starts = torch.ones_like(owner, dtype=torch.bool)
    starts[1:] = owner[1:] != owner[:-1]
    return values[starts]


__all__ = ["first_windows", "window_means"]
