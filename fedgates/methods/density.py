"""Density control: a constraint on the mean gate probability P with an entropy term, and a schedule for gradual pruning.

Clients minimise, over the logits of P,

    loss + lambda * (mean P - rho) - tau * mean H2(P),

where rho is `density.target`. The server updates lambda by dual ascent, ``lambda <- max(0, lambda + eta * (mean P - rho))``,
where eta is `density.dual-learning-rate` (Gallego-Posada et al.: Controlled Sparsity via Constrained Optimization, NeurIPS
2022). With dual restarts, from the same paper, lambda is reset to 0 as soon as the constraint is met; the accumulated value
would push P far below rho.

H2 is the binary entropy in bits. A positive tau keeps gates near 1/2, a negative tau pushes them to 0 or 1; tau is linear in
the round, from `density.entropy-bonus` in the first to `density.entropy-bonus-final` in the last.
"""

import math

import torch
from torch import Tensor


def constraint_gradient(logits: Tensor, multiplier: float, bonus: float) -> Tensor:
    """Return the gradient of ``lambda * mean P - tau * mean H2(P)`` with respect to the logits, ``[d]`` or ``[copies, d]``.

    With ``dP = P (1 - P)`` and ``dH2 = -log2(P / (1 - P)) dP``, the gradient is
    ``P (1 - P) * (lambda + tau * logit / log 2) / d``.
    """
    p = torch.sigmoid(logits)  # 1 - p rounds to 0 in float32 for an open gate, which could then never close
    return logits.mul(bonus / math.log(2)).add_(multiplier).mul_(p).mul_(torch.sigmoid(-logits)).div_(logits.shape[-1])


def cubic_density(server_round: int, target: float, dense_rounds: int, density_rounds: int) -> float:
    """Return the density of a round in gradual pruning (Zhu, Gupta: arXiv 1710.01878, equation 1).

    The density is 1 in the first D rounds, falls to the target d over the next N rounds, and stays there:

        d + (1 - d) (1 - (r - D) / N)^3    for r = D to D + N.

    Parameters
    ----------
    server_round : int
        Number r of the round, from 1.
    target : float
        Density d.
    dense_rounds : int
        Number D of dense rounds.
    density_rounds : int
        Number N of rounds in which the density falls; with 0 it drops to the target right after the dense rounds.

    Examples
    --------
    >>> [round(cubic_density(r, 0.1, dense_rounds=2, density_rounds=4), 2) for r in range(1, 8)]
    [1.0, 1.0, 0.48, 0.21, 0.11, 0.1, 0.1]
    """
    since = server_round - dense_rounds
    if since <= 0:
        return 1.0
    if since >= density_rounds:
        return target
    return float(target + (1 - target) * (1 - since / density_rounds) ** 3)
