"""Dense FedAvg: the comparison.

McMahan, Moore, Ramage, Hampson, Aguera y Arcas: Communication-Efficient Learning of Deep Networks from Decentralized
Data, AISTATS 2017, arXiv 1602.05629.

A client starts from the server's weights, takes `local-epochs` of SGD on its own images, and sends all d weights as
float32; the server's new weights are the mean of the clients', weighted by their numbers of examples:
``w <- sum_k n_k w_k / sum_k n_k``. On the wire this is the gated update whose mask is all ones.

A mean has no defence against a client that lies: finite values of any size, and whatever number of examples it claims, go into
it. A vote is one vote.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedgates.config import RunConfig, number
from fedgates.flower import GateStrategy
from fedgates.network import Network
from fedgates.state import Update, Weights
from fedgates.training import Task, backward, batches, predict, score


@dataclass(frozen=True)
class FedAvgConfig(RunConfig):
    """The key FedAvg adds."""

    momentum: float = number(0.0, 0, 0.9999)

    unused = frozenset({"density_penalty", "target_density", "entropy_bonus", "uplink", "sampled_extra_bits"})


class FedAvg(GateStrategy[FedAvgConfig, Weights]):
    """Dense FedAvg; see the module's text."""

    Config = FedAvgConfig
    sends = "values"

    def __init__(self, config: FedAvgConfig, network: Network) -> None:
        super().__init__(config, network)
        self.digest = network.digest(b"dense")
        self._initial = network.weights.cpu().numpy().copy()

    def initial_state(self) -> Weights:
        """The network's own initial weights."""
        return Weights(self._initial)

    def local_update(self, state: Weights, task: Task) -> Update:
        """SGD from the server's weights on the client's own images."""
        network, config = self.network, self.config
        self._load(state)
        network.weights.grad = network.gradient
        optimizer = torch.optim.SGD([network.weights], lr=config.learning_rate, momentum=config.momentum)
        losses = []
        for batch in batches(task, config):
            losses.append(backward(network, task, batch, config.precision))
            optimizer.step()
        return Update(
            mask=None,
            values=network.weights.cpu().numpy().copy(),
            num_examples=len(task.y),
            metrics={"loss": float(torch.stack(losses).mean())},
        )

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:  # noqa: ARG002
        """The mean of the clients' weights, weighted by examples, summed in float64 in the order of the clients' names."""
        total, examples = np.zeros(state.size, dtype=np.float64), 0
        for update in updates:
            total += update.num_examples * update.dense(state.size).astype(np.float64)
            examples += update.num_examples
        return Weights((total / examples).astype(np.float32)) if examples else state

    def evaluate(self, state: Weights, x: Tensor, y: Tensor, server_round: int) -> dict[str, float]:  # noqa: ARG002
        """Accuracy and loss of the server's weights."""
        self._load(state)
        accuracy, loss = score(predict(self.network, x, self.config.precision), y)
        return {"accuracy": accuracy, "loss": loss}

    def _load(self, state: Weights) -> None:
        self.network.weights.copy_(torch.from_numpy(state.values))
