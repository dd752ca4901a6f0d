"""Bernoulli samples for training, drawn from 16-bit random numbers, and products with them.

On a CPU, NumPy computes them: its comparisons, and its products with booleans, are several times faster than torch's.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LOTS = 1 << 16
"""Number of different 16-bit random numbers."""


def bernoulli(theta: Tensor, generator: torch.Generator) -> Tensor:
    """Draw samples ``m ~ Bernoulli(theta)``, bool ``[n]``, for theta float32 ``[n]``; the sample for nan is arbitrary.

    On a CPU, 16 random bits are compared with the integer part of ``2^16 theta``, and on equality 16 more bits with the
    fractional part. The probability is exact for theta of at least 2^-8, and within 2^-32 of a smaller theta.
    """
    if theta.device.type != "cpu":
        return torch.rand(theta.shape, generator=generator, device=theta.device) < theta
    return torch.from_numpy(_below(theta.numpy(), _lots(len(theta), generator), generator))


def _below(theta: NDArray[np.float32], lots: NDArray[np.uint16], generator: torch.Generator) -> NDArray[np.bool_]:
    scaled = theta * np.float32(_LOTS)  # exact: a power of two
    with np.errstate(invalid="ignore"):  # nan, and 2^16, whose conversion is undefined; the result is overwritten below
        whole = scaled.astype(np.uint16)
    below: NDArray[np.bool_] = lots < whole
    ties = np.flatnonzero(lots == whole)
    below[ties] = _lots(len(ties), generator) < (scaled[ties] - whole[ties]) * _LOTS
    if not scaled.max(initial=0) < _LOTS:  # also true if the maximum is nan, which would hide a theta of 1
        below[scaled >= _LOTS] = True
    return below


def _lots(count: int, generator: torch.Generator) -> NDArray[np.uint16]:
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return words.numpy().view(np.uint16)[:count]


def multiply(values: Tensor, gate: Tensor, out: Tensor) -> None:
    """Set `out` to `values` times `gate`, which is bool or float, with broadcasting."""
    if gate.dtype == torch.bool and out.device.type == "cpu":
        np.multiply(values.numpy(), gate.numpy(), out=out.numpy())
    else:
        torch.mul(values, gate, out=out)
