"""Logarithmic scale of integers: exact up to 16, then eight steps per doubling, computed by shifts.

Levels of votes, and the one-byte frequencies of tables, are steps of this scale.
"""

import numpy as np
from numpy.typing import NDArray

_EXACT = 16


def step(value: int) -> int:
    """Return the step of an integer: 0 to 15 map to themselves, larger integers by their leading four bits (16, 17 to 16)."""
    exponent = max(value.bit_length() - 4, 0)
    return value if value < _EXACT else 8 * exponent + (value >> exponent)


def steps(values: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Return the :func:`step` of each value, ``[n]``."""
    exponent = np.maximum(np.frexp(values)[1] - 4, 0).astype(np.uint32)  # frexp of an integer is exact
    return np.where(values < _EXACT, values, 8 * exponent + (values >> exponent)).astype(np.uint16)


def least(index: int) -> int:
    """Return the smallest integer of a step; ``step(least(i)) == i``."""
    return index if index < _EXACT else (8 + index % 8) << (index // 8 - 1)


HALF = 1 << 15
_LEAST = np.array([least(i) for i in range(step(HALF) + 1)], dtype=np.int64)
FREQUENCIES = np.concatenate([_LEAST, 2 * HALF - _LEAST[-2::-1]])
"""Frequency that each byte of a table represents, in 2^-16: the steps from 0 to one half and their mirror image, 209 in all."""
_MIDDLES = (FREQUENCIES[1:] + FREQUENCIES[:-1] + 1) // 2


def frequency_bytes(ones: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the byte of the frequency nearest to ``ones / sizes`` in each group, ``[groups]``."""
    nearest = (ones * 2 * HALF + sizes // 2) // np.maximum(sizes, 1)
    return np.searchsorted(_MIDDLES, nearest, side="right").astype(np.uint8)


def group_ones(bits: NDArray[np.uint8], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the ones in each group of consecutive bits, for groups of `sizes` of at least 1."""
    if not len(sizes):
        return np.zeros(0, dtype=np.int64)
    return np.add.reduceat(bits, np.cumsum(sizes) - sizes, dtype=np.int64)


def group_frequencies(bits: NDArray[np.uint8], sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the byte of the frequency of a 1 in each group; arguments as for :func:`group_ones`."""
    return frequency_bytes(group_ones(bits, sizes), sizes)
