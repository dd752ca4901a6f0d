"""A scale on which small integers stand as they are and large ones in eight steps to each doubling.

Levels of votes and the one-byte frequencies of a table are read off it; its arithmetic is shifts.
"""

import numpy as np
from numpy.typing import NDArray

_EXACT = 16


def step(value: int) -> int:
    """The step of an integer: 0 to 15 as they are, then by their leading four bits: 16 and 17 are step 16."""
    exponent = max(value.bit_length() - 4, 0)
    return value if value < _EXACT else 8 * exponent + (value >> exponent)


def steps(values: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """:func:`step` of each value, ``[n]``."""
    exponent = np.maximum(np.frexp(values)[1] - 4, 0).astype(np.uint32)  # frexp of an integer is exact
    return np.where(values < _EXACT, values, 8 * exponent + (values >> exponent)).astype(np.uint16)


def least(index: int) -> int:
    """The smallest integer of a step; :func:`step` undoes it."""
    return index if index < _EXACT else (8 + index % 8) << (index // 8 - 1)


HALF = 1 << 15
_LEAST = np.array([least(i) for i in range(step(HALF) + 1)], dtype=np.int64)
FREQUENCIES = np.concatenate([_LEAST, 2 * HALF - _LEAST[-2::-1]])
"""What a frequency's byte stands for, in 2^-16: the steps from 0 to one half, and their mirror image; 209 of them."""
_MIDDLES = (FREQUENCIES[1:] + FREQUENCIES[:-1] + 1) // 2


def frequency_bytes(ones: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The byte whose frequency is nearest to that of so many ones among so many bits, ``[groups]``."""
    nearest = (ones * 2 * HALF + sizes // 2) // np.maximum(sizes, 1)
    return np.searchsorted(_MIDDLES, nearest, side="right").astype(np.uint8)
