"""Density control: a constraint on the mean of the gates' probabilities P, and an entropy term; and a schedule for pruning.

Clients minimise, over the logits of P,

    loss + lambda * (mean P - rho) - tau * mean H2(P),

with rho the `density.target`; the server updates lambda by dual ascent,
``lambda <- max(0, lambda + eta * (mean P - rho))``, with eta the `density.dual-learning-rate` (Gallego-Posada et al.:
Controlled Sparsity via Constrained Optimization, NeurIPS 2022). With dual restarts, theirs too, lambda is 0 again as soon as
the constraint is met: what it accumulated before would push P far below rho.

H2 is in bits. A positive tau keeps gates undecided, a negative one commits them; tau is linear in the round, from
`density.entropy-bonus` in the first to `density.entropy-bonus-final` in the last.
"""

import math

import torch
from torch import Tensor


def constraint_gradient(logits: Tensor, multiplier: float, bonus: float) -> Tensor:
    """Return the gradient of ``lambda * mean P - tau * mean H2(P)`` by the logits of P, ``[d]`` or ``[copies, d]``.

    With ``dP = P (1 - P)`` and ``dH2 = -log2(P / (1 - P)) dP`` it is ``P (1 - P) * (lambda + tau * logit / log 2) / d``.
    """
    p = torch.sigmoid(logits)  # not 1 - p for the other factor: in float32 that is 0 for an open gate, which could never close
    return logits.mul(bonus / math.log(2)).add_(multiplier).mul_(p).mul_(torch.sigmoid(-logits)).div_(logits.shape[-1])


def cubic_density(server_round: int, target: float, dense_rounds: int, density_rounds: int) -> float:
    """Return the density of a round in a run that prunes gradually (Zhu, Gupta: arXiv 1710.01878, equation 1).

    It is 1 in the first D rounds, falls to the target d over the next N, and stays there:

        d + (1 - d) (1 - (r - D) / N)^3    for r = D to D + N.

    Parameters
    ----------
    server_round : int
        Number r of the round, from 1.
    target : float
        Density d.
    dense_rounds : int
        Number D.
    density_rounds : int
        Number N; with 0 the density is the target right after the dense rounds.

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
