"""Hard-concrete gates: random numbers in [0, 1] that are exactly 0, or exactly 1, with trainable probabilities.

Louizos, Welling, Kingma: Learning Sparse Neural Networks through L0 Regularization, ICLR 2018, arXiv 1712.01312. With
``u ~ U(0, 1)``, beta = 2/3, gamma = -.1 and zeta = 1.1, a gate with parameter ``a`` (log alpha in the paper) is

    s = sigmoid((log u - log(1 - u) + a) / beta),    z = clamp(s * (zeta - gamma) + gamma, 0, 1),

so that ``P(z != 0) = sigmoid(a - beta * log(-gamma / zeta)) = sigmoid(a + 1.599)``. The functions are elementwise on float32
tensors of equal shape.
"""

import math

import torch
from torch import Tensor

BETA = 2 / 3
GAMMA = -0.1
ZETA = 1.1
SHIFT = -BETA * math.log(-GAMMA / ZETA)
"""Difference between the logit of ``P(z != 0)`` and ``a``."""


def logit_of(parameter: Tensor) -> Tensor:
    """Return the logit of ``P(z != 0)``."""
    return parameter + SHIFT


def parameter_of(probability: float) -> float:
    """Return the parameter for which ``P(z != 0)`` is `probability`, a number in (0, 1)."""
    return math.log(probability / (1 - probability)) - SHIFT


def stretched(parameter: Tensor, uniform: Tensor) -> Tensor:
    """Return the sample in [gamma, zeta] before clamping to [0, 1], from uniform numbers in [0, 1)."""
    smallest = torch.finfo(torch.float32).tiny
    noise = uniform.clamp_min(smallest).log() - (-uniform).log1p()
    return torch.sigmoid((noise + parameter) / BETA) * (ZETA - GAMMA) + GAMMA


def slope(sample: Tensor) -> Tensor:
    """Return ``dz / da`` at a sample from :func:`stretched`: ``(zeta - gamma) * s (1 - s) / beta``, and 0 where z is 0 or 1."""
    steepness = (sample - GAMMA) * (ZETA - sample) / ((ZETA - GAMMA) * BETA)
    return steepness * ((sample > 0) & (sample < 1))


def median(parameter: Tensor) -> Tensor:
    """Return the gate at u = 1/2, for a deterministic network; it is nonzero if and only if ``P(z != 0) > 1/2``."""
    return (torch.sigmoid(parameter / BETA) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
