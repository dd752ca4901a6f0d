"""Samples of Bernoulli variables in training, from lots of 16 bits, and products with them.

On a CPU they are made by NumPy, whose comparisons and products with booleans are several times faster than torch's.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LOTS = 1 << 16
"""Number of values of a lot."""


def bernoulli(theta: Tensor, generator: torch.Generator) -> Tensor:
    """Return samples ``m ~ Bernoulli(theta)``: theta is ``[n]`` float32, the result ``[n]`` bool; a theta of nan gives any.

    On a CPU m is ``u < 2^16 theta`` of 16 random bits u, and where u is the whole part of ``2^16 theta``, of 16 more and the
    rest: a theta of at least 2^-8 is met exactly, a smaller one to 2^-32.
    """
    if theta.device.type != "cpu":
        return torch.rand(theta.shape, generator=generator, device=theta.device) < theta
    return torch.from_numpy(_below(theta.numpy(), _lots(len(theta), generator), generator))


def _below(theta: NDArray[np.float32], lots: NDArray[np.uint16], generator: torch.Generator) -> NDArray[np.bool_]:
    scaled = theta * np.float32(_LOTS)  # exact: a power of two
    with np.errstate(invalid="ignore"):  # of nan, and of 2^16 itself, which becomes any number and is set below
        whole = scaled.astype(np.uint16)
    below: NDArray[np.bool_] = lots < whole
    ties = np.flatnonzero(lots == whole)
    below[ties] = _lots(len(ties), generator) < (scaled[ties] - whole[ties]) * _LOTS
    if not scaled.max(initial=0) < _LOTS:  # nan, too, would hide a 1
        below[scaled >= _LOTS] = True
    return below


def _lots(count: int, generator: torch.Generator) -> NDArray[np.uint16]:
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return words.numpy().view(np.uint16)[:count]


def multiply(values: Tensor, gate: Tensor, out: Tensor) -> None:
    """Set `out` to values times a gate, booleans or numbers, of broadcastable shapes."""
    if gate.dtype == torch.bool and out.device.type == "cpu":
        np.multiply(values.numpy(), gate.numpy(), out=out.numpy())
    else:
        torch.mul(values, gate, out=out)
