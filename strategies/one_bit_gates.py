"""One-bit gates: FedPM held at a density, for a mask's cost.

Of no paper: it joins FedPM's gates over frozen random weights (:mod:`fedgates.strategies.fedpm`) to the density constraint and
the entropy term of :mod:`fedgates.strategies.entropy_gates`. With theta = sigmoid(s) a client takes Adam steps on

    CE(f(x; m * w), y) + lambda * (mean theta - rho) - tau * mean H2(theta),    m ~ Bernoulli(theta) afresh each batch,

and sends one ``m ~ Bernoulli(theta)``: one bit of every gate's probability. A round's masks together tell the server the mean
of theta to about 1/sqrt(K d), so it runs the dual step itself (:mod:`fedgates.methods.density`), and lambda goes down as one
number.

What is held is the mean of theta, ``expected_density``; the model has the gates with theta > 1/2, and the share of those is
``model_density``. A gate clipped at FedPM's eps = .001 hardly comes back, so where 4 of 20 clients voted in a round most gates
were locked before lambda had grown, and .1 ended at .15: eps therefore falls from `initial-eps` = .1, and lambda rises fast
(eta = 20). So both densities ended within .02 of .05, .1 and .3 on the digits, in 30 rounds with 4 of 20 clients, three seeds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor

from fedgates.config import number, require_density
from fedgates.methods.density import DensityConfig, constraint_gradient
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Task, train_epochs
from fedgates.nn.network import Network
from fedgates.nn.optimizers import Adam
from fedgates.types import Update, Votes

from .fedpm import FedPM, FedPMConfig


@dataclass(frozen=True)
class OneBitGatesConfig(DensityConfig, FedPMConfig):
    """The key that one-bit gates add."""

    initial_eps: float = number(0.1, 1e-6, 0.499)

    # trimmed votes, or counts from which flips were taken, have another mean than theta, which is what is to be held
    unused = (FedPMConfig.unused | {"density_penalty", "trim", "flip_probability"}) - {"target_density", "entropy_bonus"}

    @property
    def usual_dual_rate(self) -> float:
        """Whatever the target: clipped gates feel little of lambda at any."""
        return 20.0

    def clip(self, server_round: int) -> float:
        """The eps of a round: geometrically from `initial-eps` in the first to `eps` in the last."""
        last = self.num_server_rounds - 1
        done = min(1.0, (server_round - 1) / last) if last else 1.0
        return float(self.initial_eps * (self.eps / self.initial_eps) ** done)


OneBitGatesCfg = TypeVar("OneBitGatesCfg", bound=OneBitGatesConfig)


class OneBitGates(FedPM[OneBitGatesCfg], Generic[OneBitGatesCfg]):
    """FedPM at a density; see the module's text. A state is votes, trials, and lambda.

    Raises
    ------
    ConfigError
        Without a `target-density`.
    """

    Config = OneBitGatesConfig
    spec = replace(FedPM.spec, scalars=("multiplier",))

    def __init__(self, config: OneBitGatesCfg, network: Network) -> None:
        require_density(config)
        super().__init__(config, network)

    def initial_state(self) -> Votes:
        """No trial yet, and lambda 0."""
        return replace(super().initial_state(), scalars=(0.0,))

    def evaluate(self, state: Votes, task: Task) -> dict[str, float]:
        """What FedPM measures, and ``expected_density``, the mean of theta."""
        density = float(self.theta(state).double().mean())
        return {**super().evaluate(state, task), "expected_density": density}

    def round_metrics(self, before: Votes, after: Votes, masks: MaskCounts) -> dict[str, float]:
        """What the base says of a round, and ``multiplier``, the lambda that the next one has."""
        return {**super().round_metrics(before, after, masks), "multiplier": after.scalars[0]}

    # --- the client's rule

    def local_update(self, state: Votes, task: Task) -> Update:
        """Train the scores on the client's own images, then sample the mask that is sent."""
        eps = self.config.clip(task.server_round)
        scores = self.theta(state).clamp_(eps, 1 - eps).logit_()
        loss = self._descend(scores, state.scalars[0], task)
        return self.sample_update(scores.sigmoid_(), task, loss)

    def _descend(self, scores: Tensor, multiplier: float, task: Task) -> float:
        """Adam on scores ``[d]``, in place, with a fresh mask a batch; the mean loss."""
        config, network = self.config, self.network
        bonus = config.bonus(task.server_round)
        # epsilon far below the constraint's gradient at a clipped gate, which is of the order of eps/d
        optimizer = Adam(scores, network.gradient, learning_rate=config.learning_rate, epsilon=1e-12)
        sampler = task.generator(config.seed, "masks", network.device)

        def convert() -> None:
            self.gates.straight_through(scores, config.straight_through)
            network.gradient.add_(constraint_gradient(scores, multiplier, bonus))

        return train_epochs(
            network,
            task,
            config,
            optimizer,
            before_forward=lambda: self.gates.load_sample(scores, sampler),
            after_backward=convert,
        )

    # --- the server's rule

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:
        """FedPM's count, and a dual step on the density of this round's masks."""
        new = super().aggregate(state, updates, server_round)
        kept = not self.fresh(server_round)
        masks = new.trials - kept * state.trials
        if not masks:
            return new
        density = (_ones(new) - kept * _ones(state)) / (masks * new.size)
        return replace(new, scalars=(self.config.dual_step(state.scalars[0], density),))


def _ones(state: Votes) -> int:
    return int(state.votes.sum(dtype=np.int64))
