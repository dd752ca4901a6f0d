"""FedAvg: dense, or pruned after the fact; the comparison.

McMahan, Moore, Ramage, Hampson, Aguera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data, AISTATS 2017, arXiv 1602.05629.

A client starts from the server's weights, takes `local-epochs` of SGD on its own images, and sends all d weights; the server's
new weights are the mean of the clients', weighted by their numbers of examples: ``w <- sum_k n_k w_k / sum_k n_k``. On the wire
this is the gated update whose mask is all ones.

With `density.target` rho above 0 the model of a state has only the ``round(rho * d)`` weights of largest
magnitude, over all layers: post-hoc magnitude pruning. Training and traffic stay dense, as if only the last model had been
pruned; every round says what its own would reach.

A mean has no defence against a dishonest client. `server.trim` takes the coordinate-wise trimmed mean in its place, and
`server.max-norm` rejects weights that are too far from those that the client started from.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor

from fedgates.config import TARGET_ONLY, DensityTable, WeightConfig
from fedgates.methods import Together, WeightMethod, finite_copy, largest, mean_values, to_float32
from fedgates.methods.training import Task
from fedgates.types import Update, Weights


class FedAvgConfig(WeightConfig):
    """Keys of FedAvg."""

    density: DensityTable = DensityTable()

    unused = WeightConfig.unused | TARGET_ONLY | {"uplink"}


FedAvgCfg = TypeVar("FedAvgCfg", bound=FedAvgConfig)


class FedAvg(Together[FedAvgCfg, Weights], WeightMethod[FedAvgCfg], Generic[FedAvgCfg]):
    """FedAvg; described in the module's docstring."""

    Config = FedAvgConfig

    def train_clients(self, state: Weights, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Run SGD from the server's weights on each client's own examples."""
        losses = self.descend(state, tasks)
        return self.network.weights, losses

    def client_update(self, state: Weights, trained: Tensor, task: Task, loss: float) -> Update:  # noqa: ARG002
        """Send the weights."""
        values = finite_copy(trained)
        return Update(mask=None, values=values, num_examples=len(task.y), metrics=self.update_metrics(trained, task, loss))

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:  # noqa: ARG002
        """Return the mean of the clients' weights, weighted by examples, summed in float64 in the order of their names."""
        mean = mean_values(updates, state.size, self.config.server.trim)
        return state if mean is None else Weights(to_float32(mean))

    def weights(self, state: Weights) -> Tensor:
        """Return the weights, or with `density.target` the largest of them."""
        if not self.config.density.target:
            return super().weights(state)
        kept = largest(state.values, round(self.config.density.target * state.size))
        return self.tensor(np.where(kept, state.values, np.float32(0)))
