"""Trimmed votes: a round's counts without the extremes on either side."""

import numpy as np
from numpy.typing import NDArray


def trimmed(ones: NDArray[np.uint32], masks: int, share: float) -> tuple[NDArray[np.uint32], int]:
    """Return the coordinate-wise trimmed counts of bits.

    The ``b = floor(share * masks)`` smallest and the b largest bits of each gate are dropped (Yin, Chen, Ramchandran, Bartlett:
    Byzantine-Robust Distributed Learning, ICML 2018, arXiv 1803.01498, definition 2). Of n ones among K bits that leaves
    ``min(max(n - b, 0), K - 2 b)`` ones among ``K - 2 b``: up to b clients that vote together do not count at a gate where all
    others agree.

    Parameters
    ----------
    ones : numpy.ndarray
        Number of ones of each gate, uint32 ``[d]``, at most `masks`.
    masks : int
        Number of masks K.
    share : float
        Share of the masks to drop on either side, below .5.

    Returns
    -------
    tuple
        The remaining ones, uint32 ``[d]``, and the number of bits that remain.
    """
    dropped = int(share * masks + 1e-9)
    left = masks - 2 * dropped
    if not dropped:
        return ones, masks
    return np.minimum(np.maximum(ones, np.uint32(dropped)) - np.uint32(dropped), np.uint32(left)), left
