"""One-bit gates: FedPM held at a density, for a mask's cost.

Not from a paper: it joins FedPM's gates over frozen random weights (:mod:`fedgates.strategies.fedpm`) to the density
constraint and the entropy term of :mod:`fedgates.strategies.entropy_gates`. With theta = sigmoid(s) a client takes Adam steps
on

    CE(f(x; m * w), y) + lambda * (mean theta - rho) - tau * mean H2(theta),    m ~ Bernoulli(theta) afresh each batch,

and sends one ``m ~ Bernoulli(theta)``: one bit of every gate's probability. A round's masks together tell the server the mean
of theta to about 1/sqrt(K d), so it runs the dual step itself (:mod:`fedgates.methods.density`), and lambda goes down as one
number.

What is held is the mean of theta, ``expected_density``; the model has the gates with theta > 1/2, and the share of those is
``model_density``. A gate clipped at FedPM's eps = .001 hardly comes back, so where 4 of 20 clients voted in a round most gates
were locked before lambda had grown, and .1 ended at .15: eps therefore falls from `one-bit-gates.initial-eps` = .1, and lambda
rises fast (eta = 20). So both densities ended within .02 of .05, .1 and .3 on the digits, in 30 rounds with 4 of 20 clients,
three seeds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor

from fedgates.config import DensityConfig, MaskConfig, Table, key
from fedgates.methods import train_together
from fedgates.methods.density import constraint_gradient
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Task
from fedgates.nn.optimizers import Adam
from fedgates.types import Update, Votes

from .fedpm import FedPM, FedPMConfig


class OneBitGatesTable(Table):
    """One-bit gates."""

    initial_eps: float = key(
        0.1, "Eps of the first round, which falls geometrically to fedpm.eps in the last.", ge=1e-6, le=0.499
    )


class OneBitGatesConfig(FedPMConfig, DensityConfig):
    """Keys of one-bit gates: FedPM's, the density control's, and their own."""

    one_bit_gates: OneBitGatesTable = OneBitGatesTable()

    # trimmed votes, or counts corrected for flips, have another mean than theta, whose mean is held
    unused = MaskConfig.unused | {"density.penalty", "server.trim", "privacy.flip-probability"}

    @property
    def default_dual_learning_rate(self) -> float:
        """The same for every target: clipped gates feel little of lambda at any."""
        return 20.0

    def clip(self, server_round: int) -> float:
        """Return the eps of a round: geometric from ``one-bit-gates.initial-eps`` to ``fedpm.eps``."""
        first, last = self.one_bit_gates.initial_eps, self.fedpm.eps
        done = self.progress(server_round) if self.num_server_rounds > 1 else 1.0
        return float(first * (last / first) ** done)


OneBitGatesCfg = TypeVar("OneBitGatesCfg", bound=OneBitGatesConfig)


class OneBitGates(FedPM[OneBitGatesCfg], Generic[OneBitGatesCfg]):
    """FedPM at a density; described in the module's docstring. A state is votes, trials, and lambda.

    Raises
    ------
    ConfigError
        Without a `density.target`.
    """

    Config = OneBitGatesConfig
    spec = replace(FedPM.spec, scalars=("multiplier",))

    def initial_state(self) -> Votes:
        """Return votes of no trial, and lambda 0."""
        return replace(super().initial_state(), scalars=(0.0,))

    def evaluate(self, state: Votes, task: Task) -> dict[str, float]:
        """Return FedPM's metrics, and ``expected_density``, the mean of theta."""
        density = float(self.theta(state).double().mean())
        return {**super().evaluate(state, task), "expected_density": density}

    def round_metrics(self, before: Votes, after: Votes, masks: MaskCounts) -> dict[str, float]:
        """Return the base's metrics, and ``multiplier``, the lambda of the next round."""
        return {**super().round_metrics(before, after, masks), "multiplier": after.scalars[0]}

    def start_theta(self, state: Votes, server_round: int) -> Tensor:
        """Return theta at least as far from 0 and 1 as the round's clip."""
        eps = self.config.clip(server_round)
        return self.theta(state).clamp_(eps, 1 - eps)

    # --- the client's rule

    def train_clients(self, state: Votes, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train the scores on each client's own examples; return theta, ``[copies, d]``."""
        scores = self.start_theta(state, tasks[0].server_round).logit_().repeat(len(tasks), 1)
        losses = self._descend(scores, state.scalars[0], tasks)
        return scores.sigmoid_(), losses

    def _descend(self, scores: Tensor, multiplier: float, tasks: Sequence[Task]) -> list[float]:
        """Run Adam on scores ``[copies, d]``, in place, with a fresh mask a batch; return the mean losses."""
        config, network, server_round = self.config, self.network, tasks[0].server_round
        bonus = config.bonus(server_round)
        # epsilon far below the constraint's gradient at a clipped gate, which is of the order of eps/d
        optimizer = Adam(scores, network.gradient, learning_rate=config.rate(server_round), epsilon=1e-12)
        samplers = [task.generator(config.seed, "masks", network.device) for task in tasks]

        def convert() -> None:
            self.gates.straight_through(scores, config.fedpm.straight_through)
            network.gradient.add_(constraint_gradient(scores, multiplier, bonus))

        return train_together(
            network,
            tasks,
            config,
            optimizer,
            before_forward=lambda: self.gates.load_sample(scores, *samplers),
            after_backward=convert,
        )

    # --- the server's rule

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:
        """Return FedPM's votes, with a dual step on the density of this round's masks."""
        new = super().aggregate(state, updates, server_round)
        kept = not self.fresh(server_round)
        masks = new.trials - kept * state.trials
        if not masks:
            return new
        density = (_ones(new) - kept * _ones(state)) / (masks * new.size)
        return replace(new, scalars=(self.config.dual_step(state.scalars[0], density),))


def _ones(state: Votes) -> int:
    return int(state.votes.sum(dtype=np.int64))
