"""Samples of any scale to floats of full scale 1, by what type and values say. Travels with the model."""

import numpy as np

from .compressed_audio import AudioError

BEYOND = 10.0
"""Of full scale: more overshoot than any recording has, so that another scale is meant."""

_BITS = (16, 24, 32)  # of samples, whatever type holds them
_LOUD = 1.5  # of full scale: more is said
_OF_16_BITS = (100.0, 2.0**16)  # largest samples that are surely floats on the scale of 16 bits
_HOW = "divide them by their full scale, and give floats"


def from_integers(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Integers to float32 of full scale 1, unsigned ones around their middle, and what is to be said of it.

    Those in a type wider than 16 bits may be of fewer bits than that: a list of whole numbers becomes 64.

    Raises:
        AudioError: their values don't tell of how many bits they are.
    """
    width = array.dtype.itemsize * 8
    by_type = width == 8 or array.dtype == np.int16 or not array.size
    bits = width if by_type else _bits(array, width)
    half = 2.0 ** (bits - 1)
    middle = half if array.dtype.kind == "u" else 0.0
    notes = [] if bits == width else [f"taken for {bits} bits, in {array.dtype}"]
    return ((array.astype(np.float64) - middle) / half).astype(np.float32), notes


def _bits(array: np.ndarray, width: int) -> int:
    """Of how many bits the integers of a wide type are."""
    lowest, highest = int(array.min()), int(array.max())
    if lowest == highest:
        return width  # silent in any
    shown = f"samples from {lowest} to {highest} in {array.dtype}"
    if array.dtype.kind == "u":
        if lowest < 2 ** (width - 1) <= highest:
            return width
        raise AudioError(f"{shown} lie on one side of its middle: {_HOW}")
    if lowest >= 0 and highest >= 2**7:
        raise AudioError(f"{shown} are never below 0, as unsigned ones in a wider type are: {_HOW}")
    largest = max(-lowest, highest + 1)
    needed = next((bits for bits in _BITS if largest <= 2 ** (bits - 1)), width)
    # Libraries give 16 and 24 bits at the top of 32: the lowest bits are then all 0.
    at_top = width == 32 and not (array & 0xFF).any()
    if needed == 32 or (at_top and needed == 24):
        return 32
    if needed == 16 and not at_top:
        return 16
    if needed == 64:
        raise AudioError(f"{shown} are of more than 32 bits: {_HOW}")
    raise AudioError(f"{shown} may be of {needed} bits, or of {min(width, 32)} and very quiet: {_HOW}")


def in_scale(samples: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """(n,) floats of full scale 1 whatever scale they were of, and what is to be said of it.

    Args:
        name: of the recording, for messages.

    Raises:
        AudioError: the scale can't be told.
    """
    largest = float(np.abs(samples).max())
    whole = 1 < largest <= 2.0**15 and bool((samples == np.rint(samples)).all())
    if whole or _OF_16_BITS[0] < largest <= _OF_16_BITS[1]:
        return samples / np.float32(2**15), [f"taken for 16 bits: its largest sample is {largest:.6g}"]
    if largest > BEYOND:
        raise AudioError(f"{name}: its largest sample is {largest:.3g}; full scale is 1: divide by what it is here")
    return samples, [f"beyond full scale: its largest sample is {largest:.3g}"] if largest > _LOUD else []


__all__ = ["BEYOND", "from_integers", "in_scale"]
