"""FedAvg: dense federated averaging, with optional magnitude pruning of the final model; the baseline.

McMahan, Moore, Ramage, Hampson, Aguera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data, AISTATS 2017, arXiv 1602.05629.

A client starts from the server's weights, trains for `local-epochs` of SGD on its examples, and sends all d weights. The
server's new weights are the mean of the clients' weights, weighted by numbers of examples: ``w <- sum_k n_k w_k / sum_k n_k``.

With `density.target` rho above 0, the evaluated model keeps only the ``round(rho * d)`` weights of largest magnitude over all
layers (post-hoc magnitude pruning). Training and traffic stay dense; the metrics of each round are those of the pruned model.

A mean offers no protection against dishonest clients. `server.trim` replaces it by the coordinate-wise trimmed mean, and
`server.max-norm` rejects updates that are too far from the weights that the client started from.
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
    """FedAvg, described in the module docstring."""

    Config = FedAvgConfig

    def train_clients(self, state: Weights, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Run SGD from the server's weights on each client's examples; return weights ``[copies, d]`` and mean losses."""
        losses = self.descend(state, tasks)
        return self.network.weights, losses

    def client_update(self, state: Weights, trained: Tensor, task: Task, loss: float) -> Update:  # noqa: ARG002
        """Return an update with the trained weights."""
        values = finite_copy(trained)
        return Update(mask=None, values=values, num_examples=len(task.y), metrics=self.update_metrics(trained, task, loss))

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:  # noqa: ARG002
        """Return the mean of the clients' weights, weighted by examples; sums are float64."""
        mean = mean_values(updates, state.size, self.config.server.trim)
        return state if mean is None else Weights(to_float32(mean))

    def weights(self, state: Weights) -> Tensor:
        """Return the weights; with `density.target`, only the largest are nonzero."""
        if not self.config.density.target:
            return super().weights(state)
        kept = largest(state.values, round(self.config.density.target * state.size))
        return self.tensor(np.where(kept, state.values, np.float32(0)))
