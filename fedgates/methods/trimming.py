"""Trimmed vote counts and trimmed means, which drop the largest and smallest values of a round at each coordinate.

Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning, ICML 2018, arXiv 1803.01498, definition 2.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16
"""Number of coordinates sorted at a time."""


def trimmed(ones: NDArray[np.uint32], masks: int, share: float) -> tuple[NDArray[np.uint32], int]:
    """Return the coordinate-wise trimmed counts of ones.

    At each gate, the ``b = floor(share * masks)`` smallest and the b largest bits are dropped. Of n ones among K bits,
    ``min(max(n - b, 0), K - 2 b)`` ones among ``K - 2 b`` bits remain: up to b colluding clients have no effect at a gate where
    all others agree.

    Parameters
    ----------
    ones : numpy.ndarray
        Number of ones of each gate, uint32 ``[d]``, at most `masks`.
    masks : int
        Number of masks K.
    share : float
        Share of the masks to drop at either end, below .5.

    Returns
    -------
    tuple
        The remaining ones, uint32 ``[d]``, and the number of bits that remain.
    """
    dropped = dropped_of(share, masks)
    left = masks - 2 * dropped
    if not dropped:
        return ones, masks
    return np.minimum(np.maximum(ones, np.uint32(dropped)) - np.uint32(dropped), np.uint32(left)), left


def trimmed_mean(values: Sequence[NDArray[np.float32]], share: float) -> NDArray[np.float64]:
    """Return the coordinate-wise trimmed mean of vectors.

    At each coordinate, the ``floor(share * K)`` smallest and as many of the largest of the K numbers are dropped. The rest are
    averaged with equal weights, regardless of the numbers of examples that clients report.

    Parameters
    ----------
    values : sequence of numpy.ndarray
        K vectors ``[d]`` of finite numbers.
    share : float
        Share of the vectors to drop at either end, below .5.

    Returns
    -------
    numpy.ndarray
        Shape ``[d]``, float64.
    """
    dropped = dropped_of(share, len(values))
    mean = np.empty(len(values[0]))
    for start in range(0, len(mean), _BLOCK):
        block = slice(start, start + _BLOCK)
        ordered = np.sort(np.stack([vector[block] for vector in values]), axis=0)
        mean[block] = ordered[dropped : len(values) - dropped].mean(axis=0, dtype=np.float64)
    return mean


def dropped_of(share: float, count: int) -> int:
    """Return how many of `count` updates to drop at either end: ``floor(share * count)``."""
    return int(share * count + 1e-9)  # 0.29 * 100 is a little below 29 in binary
