"""Randomized response on the bits of a mask, and an estimate of the counts before it.

Warner: Randomized Response, JASA 1965. A device flips each bit with probability p before sending it. The likelihood ratio of
the two true values of a bit is then at most ``(1 - p) / p``: local differential privacy with ``epsilon = ln((1 - p) / p)`` per
bit and round. docs/explanation/privacy.md explains what this protects.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedgates.types import Update, pack

Lots = NDArray[np.uint32]
"""Uniform integers from 0 to 2^32 - 1, one per gate, ``[d]``."""


def flipped(update: Update, lots: Lots, probability: float) -> Update:
    """Return an update with each bit of the mask flipped with `probability`, and without metrics.

    The other fields of an update (number of examples, loss, accuracy, probabilities) are exact functions of the device's data
    and would reveal more than the flipped bits. The returned update counts as one example and has neither theta nor metrics.

    Parameters
    ----------
    update : Update
        An update with a mask ``[d]``.
    lots : numpy.ndarray
        Uniform integers, ``[d]`` uint32; a bit is flipped if its number is below ``2^32 * probability``.
    probability : float
        Flip probability p, below .5.
    """
    mask = pack(update.gates(len(lots)).view(np.bool_))
    turned = pack(lots < np.uint32(round(probability * 2**32)))
    return replace(update, mask=mask ^ turned, theta=None, num_examples=1, metrics={})


def epsilon(probability: float) -> float:
    """Return epsilon of the local differential privacy of one bit flipped with `probability`, in nats; infinite for 0.

    Examples
    --------
    >>> round(epsilon(0.1), 2)
    2.2
    """
    return math.log((1 - probability) / probability) if probability else math.inf


def restored(ones: NDArray[np.float32], trials: int, probability: float) -> NDArray[np.float32]:
    """Return an estimate of the number of ones before the flips, ``[d]``.

    This is the unbiased estimate ``(ones - p * trials) / (1 - 2 p)``, clipped to [0, trials].
    """
    estimate: NDArray[np.float32] = (ones - np.float32(probability * trials)) / np.float32(1 - 2 * probability)
    return np.clip(estimate, 0, np.float32(trials))
