"""Entropy-regularised L0 gates: weights and hard-concrete gates, trained together under a density constraint.

Huthasana, Olama, Lundell: Federated Learning With L0 Constraint Via Probabilistic Gates For Sparsity, arXiv 2512.23071; and
the entropy term of arXiv 2607.00275, whose abstract alone was available.

The network runs with ``w * z``, with a hard-concrete gate z for each parameter (:mod:`fedgates.nn.hard_concrete`). The problem
is

    min over w, a  max over lambda >= 0 of  E[loss(w * z)] + lambda * (mean P - rho) - tau * mean H2(P),

with a = log alpha and ``P = P(z != 0) = sigmoid(a + 1.599)``. In each round

    client: w <- w - rate * dloss/dw per batch, a fixed, a new sample of z;  sends w and g, the mean of dloss/da over batches
    server: w <- the clients' mean, a <- a - gate rate * Adam(the clients' mean g + c),  then lambda by dual ascent

where means are weighted by examples, and c is the gradient of the other two terms with respect to a. c depends only on a,
lambda and tau, so the server computes it. Adam runs on the server: with Adam on clients, the updates would be little more than
the signs of gradients, and their mean would lose the magnitudes in which gates differ.

c bypasses Adam's first moment. Averaged into that moment, lambda would keep pushing for about ten rounds after its restart: on
digits, 2 classes per client, 4 of 20 clients, 30 rounds, rho = .1, mean P then ended at .085 instead of .100.

eta, gate rate and the number of rounds must match. A gate needs about 9 / gate rate rounds from open to shut, and lambda must
have grown by then. For 30 rounds use .4 and the default eta = .25 / rho, with which lambda follows the relative excess; for 300
rounds of one step use .03 and eta = .1 or .2 (benchmarks/tuning). A larger eta shuts gates before the weights show which ones
matter.

The default learning rate is the best of .1, .3 and .5 on digits, 2 classes per client, 4 of 20 clients, 30 rounds, rho = .1:
61.6, 79.4 and 81.7 % over seeds 1 to 3. Over seeds 4 to 8 it reaches 76.0 +- 6.8 %.

The evaluated model has the median of each gate, which is nonzero if and only if P > 1/2, and keeps at most rho d such gates,
those of largest P (`entropy-gates.cut`). (Louizos et al. omit the temperature, so that their gate is nonzero from P = .31 on.)
Without the cut, up to 2 rho d gates with P slightly above 1/2 remain when mean P = rho, and more while lambda is growing. In
early rounds, most gates are open, and a model that is cut to rho d of them is inaccurate.

According to the abstract, the entropy term keeps gates uncertain and prevents early commitment to a support; its form, strength
and schedule are not public. Here tau is linear in the round. Gates start with a high probability of being open
(`entropy-gates.initial-density`): with P = .5, most are shut before the weights show which ones matter.
"""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates.config import DensityConfig, Table, WeightConfig, key
from fedgates.methods import WeightMethod, finite_copy, mean_values, to_float32
from fedgates.methods.base import Spec
from fedgates.methods.density import constraint_gradient
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Task, train_epochs
from fedgates.nn import hard_concrete
from fedgates.nn.optimizers import SGD
from fedgates.types import Update, Weights


class EntropyGatesTable(Table):
    """Entropy-regularised L0 gates."""

    gate_learning_rate: float = key(
        0.4, "Step size of the server's Adam on the gates; learning-rate is that of the clients' SGD on the weights.", gt=0
    )
    initial_density: float = key(0.9, "Probability P(z != 0) of every gate before the first round.", ge=0.001, le=0.999)
    cut: bool = key(
        default=True,
        description="Whether the model keeps at most round(density.target * d) gates, those of largest P, instead of all with"
        " P > 1/2.",
    )


class EntropyGatesConfig(DensityConfig, WeightConfig):
    """Keys of entropy gates: those of weight methods, of density control, and ``entropy-gates``."""

    entropy_gates: EntropyGatesTable = EntropyGatesTable()

    unused = WeightConfig.unused | {"uplink", "density.penalty"}
    default_learning_rate = 0.5

    @property
    def default_dual_learning_rate(self) -> float:
        """Proportional to 1 / target, so that lambda follows the excess relative to the target."""
        return 0.25 / self.density.target


EntropyGatesCfg = TypeVar("EntropyGatesCfg", bound=EntropyGatesConfig)


class EntropyGates(WeightMethod[EntropyGatesCfg], Generic[EntropyGatesCfg]):
    """Entropy-regularised L0 gates, described in the module docstring.

    A state has the array ``[w, a]``, the scalar lambda, and Adam's two moments of a in the server's memory. An update is the
    trained w, followed by the mean gradient of a.

    Raises
    ------
    ConfigError
        `density.target` is not set.
    """

    Config = EntropyGatesConfig
    spec = Spec("values", arrays=("weights", "gates"), scalars=("multiplier",), server_memory=("mean", "square"))

    def initial_state(self) -> Weights:
        """Return the network's initial weights, gates with P = `entropy-gates.initial-density`, and zeros for the rest."""
        gates = np.full_like(self.initial, hard_concrete.parameter_of(self.config.entropy_gates.initial_density))
        moments = {name: np.zeros_like(gates) for name in self.spec.server_memory}
        return Weights(np.concatenate([self.initial, gates]), (0.0,), moments)

    def weights(self, state: Weights) -> Tensor:
        """Return the weights times the medians of their gates; with `entropy-gates.cut`, cut to the target density."""
        weights, gates = self.tensor(state.values).chunk(2)
        weights.mul_(hard_concrete.median(gates))
        if self.config.entropy_gates.cut:
            count = round(self.config.density.target * len(gates))
            weights[gates.argsort(descending=True, stable=True)[count:]] = 0
        return weights

    def evaluate(self, state: Weights, task: Task) -> dict[str, float]:
        """Return the metrics of the base class, and ``expected_density``, the mean of P."""
        return {**super().evaluate(state, task), "expected_density": expected_density(state.values)}

    def round_metrics(self, before: Weights, after: Weights, masks: MaskCounts) -> dict[str, float]:
        """Return the metrics of the base class, and ``multiplier``, lambda for the next round."""
        return {**super().round_metrics(before, after, masks), "multiplier": after.scalars[0]}

    # --- the client's rule

    def local_update(self, state: Weights, task: Task) -> Update:
        """Train the weights with fixed gates; return an update with the weights and the mean gradient of the gates."""
        weights, gates = self.tensor(state.values).chunk(2)
        gradient, loss = self._descend(weights, gates, task)
        values = finite_copy(torch.cat([weights, gradient]))
        return Update(mask=None, values=values, num_examples=len(task.y), metrics={"loss": loss})

    def _descend(self, weights: Tensor, gates: Tensor, task: Task) -> tuple[Tensor, float]:
        """Run SGD on weights ``[d]``, in place; return the mean gradient of the gates ``[d]`` and the mean loss."""
        config, network = self.config, self.network
        draws = task.generator(config.seed, "gates", network.device)
        gradient, total, sample = torch.zeros_like(weights), torch.zeros_like(gates), torch.empty_like(gates)
        steps = 0
        sgd = SGD(
            weights,
            gradient,
            learning_rate=config.rate(task.server_round),
            momentum=config.sgd.momentum,
            weight_decay=config.sgd.weight_decay,
        )

        def load() -> None:
            uniform = torch.rand(len(gates), generator=draws, device=gates.device)
            sample.copy_(hard_concrete.stretched(gates, uniform))
            torch.mul(weights, sample.clamp(0, 1), out=network.weights)

        def convert() -> None:
            nonlocal steps
            steps += 1
            torch.mul(network.gradient, sample.clamp(0, 1), out=gradient)
            total.add_(network.gradient.mul_(weights).mul_(hard_concrete.slope(sample)))

        loss = train_epochs(network, task, config, sgd, before_forward=load, after_backward=convert)
        return total.div_(steps), loss

    # --- the server's rule

    def change(self, state: Weights, update: Update) -> NDArray[np.float32]:
        """Return the change of the weights, ``[d]``, followed by the gradient of the gates, ``[d]``."""
        weights, gradient = np.split(update.dense(state.size), 2)
        return np.concatenate([weights - np.split(state.values, 2)[0], gradient])

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:
        """Return the mean of the clients' weights, the gates after an Adam step, and lambda after a dual step on mean P.

        Means are weighted by examples. Each round that changes the state takes one Adam step, so `server_round` is its number.
        """
        mean = mean_values(updates, state.size, self.config.server.trim)
        if mean is None:
            return state
        weights, gradient = np.split(mean, 2)
        gates = np.split(state.values, 2)[1].astype(np.float64)
        logits = hard_concrete.logit_of(torch.from_numpy(gates))
        constraint = constraint_gradient(logits, state.scalars[0], self.config.bonus(server_round)).numpy()
        change, moments = adam(gradient, constraint, state.server_memory, server_round)
        values = to_float32(np.concatenate([weights, gates - self.config.entropy_gates.gate_learning_rate * change]))
        return Weights(values, (self.config.dual_step(state.scalars[0], expected_density(values)),), moments)


def adam(
    gradient: NDArray[np.float64], constraint: NDArray[np.float64], moments: Mapping[str, NDArray[np.float32]], step: int
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float32]]]:
    """Return the direction ``[d]`` of an Adam step, and the new moments, ``[d]`` each.

    This is Adam (Kingma and Ba, ICLR 2015, betas .9 and .999) on ``gradient + constraint``, except that `constraint` is added
    to the first moment instead of averaged into it. Epsilon is far below the constraint's gradient, which is of the order of
    1/d.

    Parameters
    ----------
    gradient, constraint : numpy.ndarray
        Gradients of the loss and of the other terms, ``[d]`` each.
    moments : mapping
        First moment ``mean`` and second moment ``square``, ``[d]`` each.
    step : int
        Number of the step, from 1.
    """
    mean = 0.9 * moments["mean"] + 0.1 * gradient
    square = 0.999 * moments["square"] + 0.001 * np.square(gradient + constraint)
    direction = (mean / (1 - 0.9**step) + constraint) / (np.sqrt(square / (1 - 0.999**step)) + 1e-12)
    return direction, {"mean": to_float32(mean), "square": to_float32(square)}


def expected_density(values: NDArray[np.float32]) -> float:
    """Return the mean of P for a state's array ``[2 d]``, rounded to 2^-20 so that all machines agree."""
    logits = hard_concrete.logit_of(torch.from_numpy(values[len(values) // 2 :]).double())
    return round(float(torch.sigmoid(logits).mean()) * 2**20) / 2**20
