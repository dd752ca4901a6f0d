"""Trimmed votes: what is left of a round's counts when the extremes are dropped on both sides."""

import numpy as np
from numpy.typing import NDArray


def trimmed(ones: NDArray[np.uint32], masks: int, share: float) -> tuple[NDArray[np.uint32], int]:
    """The coordinate-wise trimmed mean of bits, from counts alone.

    Of each gate's bits the ``b = floor(share * masks)`` smallest and the b largest are dropped (Yin, Chen, Ramchandran,
    Bartlett: Byzantine-Robust Distributed Learning, ICML 2018, arXiv 1803.01498, definition 2). Of n ones among K bits that
    leaves ``min(max(n - b, 0), K - 2 b)`` ones among ``K - 2 b``: up to b clients that vote together have no voice at a gate
    where all others agree.

    Parameters
    ----------
    ones : numpy.ndarray
        Ones of each gate, uint32 ``[d]``, none above `masks`.
    masks : int
        How many masks were counted, K.
    share : float
        Of the masks, on either side; below .5.

    Returns
    -------
    tuple
        The ones that are left, uint32 ``[d]``, and of how many bits.
    """
    dropped = int(share * masks + 1e-9)
    left = masks - 2 * dropped
    if not dropped:
        return ones, masks
    return np.minimum(np.maximum(ones, np.uint32(dropped)) - np.uint32(dropped), np.uint32(left)), left
