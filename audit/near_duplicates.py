"""Recordings that are all but the same: copies under noise, in another codec or made twice by an extractor.

Two rows are close where they are of equal length and the cosine between their features (around the corpus' mean), or
between their samples, is above a threshold. Every pair is compared. Rows are first compared in the few directions in
which features differ most: there no two are further apart than in all, so that what is left out can't be close.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from ..features.sequences import Sequences
from .audited import NONE

THRESHOLD = 0.995
"""Cosine above which rows are close."""

_HIGHEST = 0.99995  # a higher threshold finds bare copies alone, which are found without
_BY_CHANCE = 0.01  # pairs of different recordings that may be above the threshold by chance, in a whole corpus
_DIRECTIONS = 64
_BLOCK, _COLUMNS, _PAIRS = 1024, 8192, 4096
_BUCKETS, _ALIKE = 1024, 0.9  # of a recording's sketch, whose cosine is that of the samples give or take 1 / 32


@dataclass(frozen=True, eq=False)
class Close:
    """Rows that are close to others.

    Args:
        numbers: (n,) the same number for rows that are close, directly or through others; `NONE` for the rest.
        threshold: of the cosine; None where features have too few dimensions to tell copies from chance.
    """

    numbers: np.ndarray
    threshold: float | None


def close_rows(audio: Sequences, recorded: bool) -> Close:
    """Which rows of features, or of recordings' samples, are close.

    Args:
        audio: (n,) rows; a length of 0 is close to nothing.
        recorded: whether they hold samples.
    """
    if recorded:
        return Close(_numbered(len(audio), _close_recordings(audio)), THRESHOLD)
    rows = np.flatnonzero(audio.length)
    if len(rows) < 2:
        return Close(np.full(len(audio), NONE), THRESHOLD)
    means = audio.means()[rows]
    finite = np.isfinite(means).all(axis=1)
    rows, means = rows[finite], means[finite]
    centre = means.mean(axis=0)
    means -= centre
    norms = np.linalg.norm(means, axis=1)
    varies = norms > 1e-6 * max(float(np.median(norms)), 1e-30)
    rows, means = rows[varies], means[varies] / norms[varies, None]
    _, groups = np.unique(audio.length[rows], return_inverse=True)
    groups = [np.flatnonzero(groups == number) for number in range(groups.max(initial=-1) + 1)]
    basis, dimensions = _directions(means)
    threshold = _threshold(dimensions, sum(len(group) * (len(group) - 1) // 2 for group in groups))
    if threshold > _HIGHEST:
        return Close(np.full(len(audio), NONE), None)
    found = []
    for group in groups:
        pairs = _close_pairs(means[group], basis, threshold)
        pairs = rows[group[pairs]]
        found += [pair for pair in pairs.tolist() if _same_frames(audio, pair, centre, threshold)]
    return Close(_numbered(len(audio), np.array(found, np.int64).reshape(-1, 2)), threshold)


def _threshold(dimensions: float, pairs: int) -> float:
    """The lowest cosine, from `THRESHOLD` on, that random directions of so many dimensions exceed `_BY_CHANCE` times
    among so many pairs: the share of a sphere within an angle is half the regularised incomplete beta function."""
    if dimensions <= 1 or pairs == 0:
        return THRESHOLD if pairs == 0 else 1.0
    beyond = betaincinv((dimensions - 1) / 2, 0.5, min(2 * _BY_CHANCE / pairs, 1.0))
    return max(THRESHOLD, float(np.sqrt(1 - beyond)))


def _directions(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """(dim, k) the directions in which rows differ most; and in how many they do: the participation ratio."""
    values, basis = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    values = np.maximum(values, 0)
    dimensions = float(values.sum() ** 2 / max(float((values**2).sum()), 1e-30))
    return np.ascontiguousarray(basis[:, ::-1][:, :_DIRECTIONS], dtype=np.float32), dimensions


def _close_pairs(vectors: np.ndarray, basis: np.ndarray, threshold: float) -> np.ndarray:
    """(pairs, 2) the rows of unit length whose cosine is above the threshold."""
    if len(vectors) < 2:
        return np.zeros((0, 2), np.int64)
    reach = 2 * (1 - threshold)  # of the squared distance
    projected = vectors @ basis
    order = np.argsort(projected[:, 0], kind="stable")
    projected = projected[order]
    squares, ones = -np.einsum("nk,nk->n", projected, projected) / 2, np.ones(len(order), np.float32)
    # Their product is minus half the squared distance.
    left = np.column_stack([projected, squares, ones]).astype(np.float32)
    right = np.column_stack([projected, ones, squares]).astype(np.float32)
    ends = np.searchsorted(projected[:, 0], projected[:, 0] + np.sqrt(reach) + 1e-4, side="right")
    found = []
    for first in range(0, len(order), _BLOCK):
        block = left[first : first + _BLOCK]
        last = int(ends[min(first + _BLOCK, len(order)) - 1])
        for column in range(first, last, _COLUMNS):
            near = block @ right[column : min(column + _COLUMNS, last)].T > -reach / 2 - 1e-4
            if not near.any():
                continue
            one, other = np.nonzero(near)
            one, other = one + first, other + column
            later = other > one
            found.append(_verified(vectors, order[one[later]], order[other[later]], threshold))
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def _verified(vectors: np.ndarray, one: np.ndarray, other: np.ndarray, threshold: float) -> np.ndarray:
    """(pairs, 2) those of the pairs whose cosine is above the threshold in all dimensions."""
    kept = [
        np.einsum("nd,nd->n", vectors[one[i : i + _PAIRS]], vectors[other[i : i + _PAIRS]]) > threshold
        for i in range(0, len(one), _PAIRS)
    ]
    kept = np.concatenate(kept) if kept else np.zeros(0, bool)
    return np.stack([one[kept], other[kept]], axis=1)


def _same_frames(audio: Sequences, pair: list[int], centre: np.ndarray, threshold: float) -> bool:
    """Whether two rows are close frame by frame."""
    one, other = (audio[row].astype(np.float32) - centre for row in pair)
    return len(one) == 1 or _cosine(one, other) > threshold


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / size if size else 0.0


def _close_recordings(audio: Sequences) -> np.ndarray:
    lengths, groups, counts = np.unique(audio.length, return_inverse=True, return_counts=True)
    found = []
    for number in np.flatnonzero((counts > 1) & (lengths > 0)):
        rows = np.flatnonzero(groups == number)
        sketches = np.stack([_sketch(audio[row][:, 0]) for row in rows])
        norms = np.linalg.norm(sketches, axis=1)
        rows, sketches = rows[norms > 0], sketches[norms > 0] / norms[norms > 0, None]
        if len(rows) < 2:
            continue
        pairs = rows[_close_pairs(sketches, _directions(sketches)[0], _ALIKE)]
        found += [pair for pair in pairs.tolist() if _cosine(*(_samples(audio[row]) for row in pair)) > THRESHOLD]
    return np.array(found, np.int64).reshape(-1, 2)


def _samples(rows: np.ndarray) -> np.ndarray:
    samples = rows[:, 0].astype(np.float32)
    return samples - samples.mean()


def _sketch(samples: np.ndarray) -> np.ndarray:
    """(buckets,) random sums of the samples, in which angles stay about as they are."""
    samples = samples.astype(np.float32) - np.float32(samples.mean())
    signs = np.random.default_rng(len(samples)).integers(2, size=len(samples), dtype=np.int8) * 2 - 1
    padded = np.zeros(-(-len(samples) // _BUCKETS) * _BUCKETS, np.float32)
    padded[: len(samples)] = samples * signs
    return padded.reshape(-1, _BUCKETS).sum(axis=0)


def _numbered(rows: int, pairs: np.ndarray) -> np.ndarray:
    """(n,) the same number for rows that pairs connect, `NONE` for the rest."""
    from scipy.sparse import coo_array  # here, since a brief audit needs none
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    numbers = connected_components(graph, directed=False)[1].astype(np.int64)
    alone = np.bincount(numbers, minlength=rows)[numbers] == 1
    return np.where(alone, NONE, numbers)


__all__ = ["THRESHOLD", "Close", "close_rows"]
