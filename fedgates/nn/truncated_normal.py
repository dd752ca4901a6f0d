"""First weights from a normal distribution that is cut off at two standard deviations."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from fedgates import rng
from fedgates.nn.network import ParameterSlice

_DEVIATION = 0.8796
"""Standard deviation of a standard normal that is cut off at -2 and 2."""


def truncated_normal(slot: ParameterSlice, seed: int) -> NDArray[np.float64]:
    """Return a layer's first weights, ``[slot.size]``, of standard deviation ``sqrt(1 / fan_in)`` after the cut.

    A function of the seed and of the parameter's name, by Philox words and the normal's quantiles.
    """
    uniform = rng.uniform(slot.size, seed, f"sparsyfed {slot.name}")
    tail = math.erfc(math.sqrt(2)) / 2
    quantiles = torch.special.ndtri(torch.from_numpy(tail + (1 - 2 * tail) * uniform)).numpy()
    return np.asarray(quantiles * math.sqrt(1 / slot.fan_in) / _DEVIATION, dtype=np.float64)
