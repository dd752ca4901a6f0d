"""Holding a density: a constraint on the mean of gates' probabilities P, and an entropy term beside it.

Methods share this whose clients minimise, over the logits of P,

    loss + lambda * (mean P - rho) - tau * mean H2(P),

with rho their `target-density`, and whose server moves lambda by dual ascent,
``lambda <- max(0, lambda + eta * (mean P - rho))``, eta their `dual-learning-rate` (Gallego-Posada et al.: Controlled Sparsity
via Constrained Optimization, NeurIPS 2022). With dual restarts, theirs too, lambda is 0 again as soon as the constraint is met:
what it gathered while P was on its way would push P on, far below rho.

H2 is in bits. A positive tau keeps gates undecided, a negative one commits them; tau goes straight from `entropy-bonus` in the
first round to `entropy-bonus-final` in the last.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fedgates.config import RunConfig, number


@dataclass(frozen=True)
class DensityConfig(RunConfig):
    """The keys of methods that hold a density; they heed `target-density` and `entropy-bonus`, too."""

    dual_learning_rate: float = number(0.0, 0)
    dual_restart: bool = True
    entropy_bonus_final: float = number(0.0, -math.inf)

    @property
    def usual_dual_rate(self) -> float:
        """The method's eta where `dual-learning-rate` is 0."""
        return 1.0

    def bonus(self, server_round: int) -> float:
        """The tau of a round."""
        last = self.num_server_rounds - 1
        done = min(1.0, (server_round - 1) / last) if last else 0.0
        return self.entropy_bonus + done * (self.entropy_bonus_final - self.entropy_bonus)

    def dual_step(self, multiplier: float, density: float) -> float:
        """The next lambda where the mean of P is `density`."""
        excess = density - self.target_density
        if excess <= 0 and self.dual_restart:
            return 0.0
        return max(0.0, multiplier + (self.dual_learning_rate or self.usual_dual_rate) * excess)


def constraint_gradient(logits: Tensor, multiplier: float, bonus: float) -> Tensor:
    """The gradient of ``lambda * mean P - tau * mean H2(P)`` with respect to the logits of P, ``[d]``.

    With ``dP = P (1 - P)`` and ``dH2 = -log2(P / (1 - P)) dP`` it is ``P (1 - P) * (lambda + tau * logit / log 2) / d``.
    """
    p = torch.sigmoid(logits)  # and not 1 - p for the rest: in float32 that is 0 for a gate far open, which could never shut
    return logits.mul(bonus / math.log(2)).add_(multiplier).mul_(p).mul_(torch.sigmoid(-logits)).div_(len(logits))
