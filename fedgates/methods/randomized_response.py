"""Randomised response on the bits of a mask, and what the server makes of the counts.

Warner: Randomized Response, JASA 1965. A device turns each bit over with probability p before it sends it. Of a bit seen alone
the ratio of the likelihoods of both true values is then at most ``(1 - p) / p``: local differential privacy with
``epsilon = ln((1 - p) / p)`` a bit, per round. docs/privacy.md says what that is worth, and what it does not cover.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedgates.types import Update, pack

Lots = NDArray[np.uint32]
"""Uniform numbers from 0 to 2^32 - 1, one a gate ``[d]``."""


def flipped(update: Update, lots: Lots, probability: float) -> Update:
    """The update with every bit of its mask turned over where its lot is below `probability`; all else is withheld.

    What goes with a mask (number of examples, loss, accuracy, the probabilities it was drawn from) is an exact function of a
    device's data and would tell more than its bits, so an update stands for one example and has no metrics.
    """
    mask = pack(update.gates(len(lots)).view(np.bool_))
    turned = pack(lots < np.uint32(round(probability * 2**32)))
    return replace(update, mask=mask ^ turned, theta=None, num_examples=1, metrics={})


def epsilon(probability: float) -> float:
    """Local differential privacy of one bit that is turned over with `probability`, in nats; infinite for 0."""
    return math.log((1 - probability) / probability) if probability else math.inf


def restored(ones: NDArray[np.float32], trials: int, probability: float) -> NDArray[np.float32]:
    """How many of the trials had a one before bits were turned over, estimated from the ones that came, ``[d]``.

    ``(ones - p * trials) / (1 - 2 p)``, which is unbiased, held within 0 and `trials`.
    """
    estimate: NDArray[np.float32] = (ones - np.float32(probability * trials)) / np.float32(1 - 2 * probability)
    return np.clip(estimate, 0, np.float32(trials))
