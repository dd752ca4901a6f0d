"""Entropy-regularised L0 gates: hard-concrete gates and weights, trained together under a density constraint.

Huthasana, Olama, Lundell: Federated Learning With L0 Constraint Via Probabilistic Gates For Sparsity, arXiv 2512.23071; and
the entropy term of arXiv 2607.00275, of which only the abstract is known here.

A network runs with ``w * z``, a hard-concrete gate z a parameter (:mod:`fedgates.nn.hard_concrete`). In a round a client starts
from the server's w and a (log alpha) and takes steps on

    loss(w * z) + lambda * (mean P - rho) - tau * mean H2(P),    P = P(z != 0) = sigmoid(a + 1.599),    z afresh each batch,

then sends both vectors. The server averages them, weighted by examples, and moves lambda by dual ascent with restarts
(:mod:`fedgates.methods.density`); lambda travels with the state.

The abstract says that the entropy term keeps uncertainty and prevents an early commitment to a support; its form, strength and
schedule are not public. Choices here: tau is linear in the round. SGD trains the weights, as in FedAvg. Adam, fresh each round,
trains a: lambda's share of a gate's gradient is lambda/d, and only a step that is free of scale is the same for any d. Gates
start likely open (`entropy-gates.initial-density`): with P = .5 most are shut before the weights say which matter.

The model that a state stands for has each gate's median, which is not 0 exactly where P > 1/2; no gate is cut beyond that.
(Louizos et al. leave the temperature out, and that gate is not 0 from P = .31 on.) So its density, ``model_density``, is the
share of gates with P > 1/2, while the constraint is on the mean of P, ``expected_density``; the two are one as far as P is near
0 or 1, where training takes it. What must be scaled is the controller. On the digits, 30 rounds with 4 of 20 clients, eta = 1
comes too late for rho = .1 (.127), and eta = 5 shuts gates for .3 that no sample opens again (.249); eta = .25 / rho, the
default, ends within .02 of .05, .1 and .3 (benchmarks/study).
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates.config import DensityConfig, Table, WeightConfig, key
from fedgates.methods import WeightMethod, finite_copy, to_float32, weighted_mean
from fedgates.methods.base import Spec
from fedgates.methods.density import constraint_gradient
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Task, train_epochs
from fedgates.nn import hard_concrete
from fedgates.nn.optimizers import SGD, Adam
from fedgates.types import Update, Weights


class EntropyGatesTable(Table):
    """Entropy-regularised L0 gates."""

    gate_learning_rate: float = key(0.1, "Step size of Adam on the gates; learning-rate is that of SGD on the weights.", gt=0)
    initial_density: float = key(0.9, "Probability P(z != 0) of every gate before the first round.", ge=0.001, le=0.999)


class EntropyGatesConfig(DensityConfig, WeightConfig):
    """Keys of entropy gates: the weight methods', the density control's, and their own."""

    entropy_gates: EntropyGatesTable = EntropyGatesTable()

    unused = WeightConfig.unused | {"uplink", "density.penalty"}
    default_learning_rate = 0.1  # as in benchmarks/study/methods_digits.toml

    @property
    def default_dual_learning_rate(self) -> float:
        """In proportion to 1 / target: lambda follows the excess relative to the target."""
        return 0.25 / self.density.target


EntropyGatesCfg = TypeVar("EntropyGatesCfg", bound=EntropyGatesConfig)


class EntropyGates(WeightMethod[EntropyGatesCfg], Generic[EntropyGatesCfg]):
    """Entropy-regularised L0 gates; described in the module's docstring. A state is w, then a, and lambda.

    Raises
    ------
    ConfigError
        Without a `density.target`.
    """

    Config = EntropyGatesConfig
    spec = Spec("values", arrays=("weights", "gates"), scalars=("multiplier",))

    def initial_state(self) -> Weights:
        """Return the network's own weights, gates with P at `entropy-gates.initial-density`, and lambda 0."""
        gates = np.full_like(self.initial, hard_concrete.parameter_of(self.config.entropy_gates.initial_density))
        return Weights(np.concatenate([self.initial, gates]), (0.0,))

    def weights(self, state: Weights) -> Tensor:
        """Return the weights times the medians of their gates."""
        weights, gates = self.tensor(state.values).chunk(2)
        return weights * hard_concrete.median(gates)

    def evaluate(self, state: Weights, task: Task) -> dict[str, float]:
        """Return the base's metrics, and ``expected_density``, the mean of P."""
        return {**super().evaluate(state, task), "expected_density": expected_density(state.values)}

    def round_metrics(self, before: Weights, after: Weights, masks: MaskCounts) -> dict[str, float]:
        """Return the base's metrics, and ``multiplier``, the lambda of the next round."""
        return {**super().round_metrics(before, after, masks), "multiplier": after.scalars[0]}

    # --- the client's rule

    def local_update(self, state: Weights, task: Task) -> Update:
        """Train weights and gates on the client's own examples and send both."""
        weights, gates = (part.clone() for part in self.tensor(state.values).chunk(2))
        loss = self._descend(weights, gates, state.scalars[0], task)
        values = finite_copy(torch.cat([weights, gates]))
        return Update(mask=None, values=values, num_examples=len(task.y), metrics={"loss": loss})

    def _descend(self, weights: Tensor, gates: Tensor, multiplier: float, task: Task) -> float:
        """Run SGD on weights ``[d]`` and Adam on gates ``[d]``, in place; return the mean loss."""
        config, network = self.config, self.network
        bonus = config.bonus(task.server_round)
        draws = task.generator(config.seed, "gates", network.device)
        gradient = torch.zeros_like(weights)
        rate = config.rate(task.server_round)
        sgd = SGD(weights, gradient, learning_rate=rate, momentum=config.sgd.momentum, weight_decay=config.sgd.weight_decay)
        # epsilon far below the constraint's gradient at a gate, which is of the order of 1/d
        adam = Adam(gates, network.gradient, learning_rate=config.entropy_gates.gate_learning_rate, epsilon=1e-12)
        sample = torch.empty_like(gates)

        def load() -> None:
            uniform = torch.rand(len(gates), generator=draws, device=gates.device)
            sample.copy_(hard_concrete.stretched(gates, uniform))
            torch.mul(weights, sample.clamp(0, 1), out=network.weights)

        def convert() -> None:
            torch.mul(network.gradient, sample.clamp(0, 1), out=gradient)
            network.gradient.mul_(weights).mul_(hard_concrete.slope(sample))
            network.gradient.add_(constraint_gradient(hard_concrete.logit_of(gates), multiplier, bonus))

        return train_epochs(network, task, config, adam, before_forward=load, after_backward=convert, after_step=sgd.step)

    # --- the server's rule

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:  # noqa: ARG002
        """Return the mean of the clients' vectors, weighted by examples, with a dual step on its mean P."""
        mean = weighted_mean(updates, state.size)
        if mean is None:
            return state
        values = to_float32(mean)
        return Weights(values, (self.config.dual_step(state.scalars[0], expected_density(values)),))


def expected_density(values: NDArray[np.float32]) -> float:
    """Return the mean of P in a state's array ``[2 d]``, rounded to 2^-20, so that it is the same on every machine."""
    logits = hard_concrete.logit_of(torch.from_numpy(values[len(values) // 2 :]).double())
    return round(float(torch.sigmoid(logits).mean()) * 2**20) / 2**20
