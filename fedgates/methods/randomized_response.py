"""Randomized response on the bits of a mask, and the estimate of the counts before it.

Warner: Randomized Response, JASA 1965. A device flips each bit with probability p before it sends it. The likelihood ratio of
the two true values of a bit is then at most ``(1 - p) / p``: local differential privacy with ``epsilon = ln((1 - p) / p)`` a
bit and round. docs/explanation/privacy.md explains what that covers.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedgates.types import Update, pack

Lots = NDArray[np.uint32]
"""Uniform numbers from 0 to 2^32 - 1, one a gate ``[d]``."""


def flipped(update: Update, lots: Lots, probability: float) -> Update:
    """Return the update with the bits of its mask flipped whose lot is below `probability`, and nothing else.

    What accompanies a mask (number of examples, loss, accuracy, the probabilities it was drawn from) is an exact function of
    the device's data and would reveal more than its bits, so the update counts as one example and has no metrics.
    """
    mask = pack(update.gates(len(lots)).view(np.bool_))
    turned = pack(lots < np.uint32(round(probability * 2**32)))
    return replace(update, mask=mask ^ turned, theta=None, num_examples=1, metrics={})


def epsilon(probability: float) -> float:
    """Return the local differential privacy of one bit that is flipped with `probability`, in nats; infinite for 0.

    Examples
    --------
    >>> round(epsilon(0.1), 2)
    2.2
    """
    return math.log((1 - probability) / probability) if probability else math.inf


def restored(ones: NDArray[np.float32], trials: int, probability: float) -> NDArray[np.float32]:
    """Return an estimate of the ones before bits were flipped, ``[d]``.

    ``(ones - p * trials) / (1 - 2 p)``, which is unbiased, clipped to [0, trials].
    """
    estimate: NDArray[np.float32] = (ones - np.float32(probability * trials)) / np.float32(1 - 2 * probability)
    return np.clip(estimate, 0, np.float32(trials))
