"""Initial weights from a normal distribution truncated at two standard deviations."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from fedgates import rng
from fedgates.nn.flat_parameters import ParameterSlice

_DEVIATION = 0.8796
"""Standard deviation of a standard normal distribution truncated at -2 and 2."""


def truncated_normal(slot: ParameterSlice, seed: int) -> NDArray[np.float64]:
    """Draw the initial weights of a layer, ``[slot.size]``, with standard deviation ``sqrt(1 / fan_in)`` after truncation.

    They are a function of the seed and of the parameter's name: quantiles of the distribution at numbers from Philox.
    """
    uniform = rng.uniform(slot.size, seed, f"sparsyfed {slot.name}")
    tail = math.erfc(math.sqrt(2)) / 2
    quantiles = torch.special.ndtri(torch.from_numpy(tail + (1 - 2 * tail) * uniform)).numpy()
    return np.asarray(quantiles * math.sqrt(1 / slot.fan_in) / _DEVIATION, dtype=np.float64)
