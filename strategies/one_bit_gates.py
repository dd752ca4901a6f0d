"""One-bit gates: FedPM with a density constraint, at the cost of one mask per update.

This method is not from a paper. It combines FedPM's gates over frozen random weights (:mod:`fedgates.strategies.fedpm`) with
the density constraint and the entropy term of :mod:`fedgates.strategies.entropy_gates`. With theta = sigmoid(s), a client takes
Adam steps on

    CE(f(x; m * w), y) + lambda * (mean theta - rho) - tau * mean H2(theta),    a new m ~ Bernoulli(theta) per batch,

and sends one ``m ~ Bernoulli(theta)``, one bit per gate. The masks of a round give the server an estimate of the mean of theta
with an error of about 1/sqrt(K d), so the server takes the dual step (:mod:`fedgates.methods.density`) and sends lambda to the
clients as one number.

The constraint controls the mean of theta, ``expected_density``. The evaluated model has the gates with theta > 1/2;
``model_density`` is their share. A gate clipped at FedPM's eps = .001 hardly changes any more. With 4 of 20 clients per round,
most gates were therefore locked before lambda had grown, and a target of .1 ended at .15. For this reason eps falls from
`one-bit-gates.initial-eps` = .1, and lambda rises fast (eta = 20). With these settings both densities ended within .02 of the
targets .05, .1 and .3 on digits, in 30 rounds with 4 of 20 clients, three seeds.
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
    """Keys of one-bit gates: those of FedPM, of density control, and ``one-bit-gates``."""

    one_bit_gates: OneBitGatesTable = OneBitGatesTable()

    # trimmed votes and counts corrected for flips have another mean than theta
    unused = MaskConfig.unused | {"density.penalty", "server.trim", "privacy.flip-probability"}

    @property
    def default_dual_learning_rate(self) -> float:
        """The same for every target, because lambda has little effect on clipped gates in any case."""
        return 20.0

    def clip(self, server_round: int) -> float:
        """Return the eps of a round, which falls geometrically from ``one-bit-gates.initial-eps`` to ``fedpm.eps``."""
        first, last = self.one_bit_gates.initial_eps, self.fedpm.eps
        done = self.progress(server_round) if self.num_server_rounds > 1 else 1.0
        return float(first * (last / first) ** done)


OneBitGatesCfg = TypeVar("OneBitGatesCfg", bound=OneBitGatesConfig)


class OneBitGates(FedPM[OneBitGatesCfg], Generic[OneBitGatesCfg]):
    """One-bit gates, described in the module docstring; a state has votes, trials, and the scalar lambda.

    Raises
    ------
    ConfigError
        `density.target` is not set.
    """

    Config = OneBitGatesConfig
    spec = replace(FedPM.spec, scalars=("multiplier",))

    def initial_state(self) -> Votes:
        """Return a state without votes, and lambda 0."""
        return replace(super().initial_state(), scalars=(0.0,))

    def evaluate(self, state: Votes, task: Task) -> dict[str, float]:
        """Return FedPM's metrics, and ``expected_density``, the mean of theta."""
        density = float(self.theta(state).double().mean())
        return {**super().evaluate(state, task), "expected_density": density}

    def round_metrics(self, before: Votes, after: Votes, masks: MaskCounts) -> dict[str, float]:
        """Return the metrics of the base class, and ``multiplier``, lambda for the next round."""
        return {**super().round_metrics(before, after, masks), "multiplier": after.scalars[0]}

    def start_theta(self, state: Votes, server_round: int) -> Tensor:
        """Return theta clipped to [eps, 1 - eps] with the eps of the round, ``[d]``."""
        eps = self.config.clip(server_round)
        return self.theta(state).clamp_(eps, 1 - eps)

    # --- the client's rule

    def train_clients(self, state: Votes, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train the scores on each client's examples; return theta, ``[copies, d]``, and the mean losses."""
        scores = self.start_theta(state, tasks[0].server_round).logit_().repeat(len(tasks), 1)
        losses = self._descend(scores, state.scalars[0], tasks)
        return scores.sigmoid_(), losses

    def _descend(self, scores: Tensor, multiplier: float, tasks: Sequence[Task]) -> list[float]:
        """Run Adam on scores ``[copies, d]`` in place, with a new mask for each batch; return the mean losses."""
        config, network, server_round = self.config, self.network, tasks[0].server_round
        bonus = config.bonus(server_round)
        # epsilon must be far below the constraint's gradient at a clipped gate, which is of the order of eps/d
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
        """Return FedPM's votes, and lambda after a dual step on the density of this round's masks."""
        new = super().aggregate(state, updates, server_round)
        kept = not self.fresh(server_round)
        masks = new.trials - kept * state.trials
        if not masks:
            return new
        density = (_ones(new) - kept * _ones(state)) / (masks * new.size)
        return replace(new, scalars=(self.config.dual_step(state.scalars[0], density),))


def _ones(state: Votes) -> int:
    return int(state.votes.sum(dtype=np.int64))
