"""Federated iterative hard thresholding: FedAvg with weights cut to the k largest.

Tong, Liang, Zhu, Bi: Federated Nonconvex Sparse Learning, arXiv 2101.00052, which has two methods, Fed-HT and FedIter-HT.

Let ``H_k(w)`` keep the k weights of largest magnitude over all layers and set the others to zero. Then

    client: w <- w - rate * g per batch (Fed-HT), or w <- H_k(w - rate * g) (FedIter-HT)
    server: w <- H_k(sum_k n_k w_k / sum_k n_k)

Zero weights are not sent: messages in both directions have a mask and the nonzero values, at most k of them to clients from
round 2 on.

Choices here: ``k = round(density.target * d)``, at least 1. The run starts from the network's dense initial weights, as in
FedAvg. `fediht.clients` selects when clients cut their weights: "never" (Fed-HT, the default), after every "step" (FedIter-HT),
or once per "round" before sending. The last is our addition: local training as in Fed-HT with the traffic of FedIter-HT.

The first cut of a network depends on the initial scales of its layers. With a cut after every step, a weight at zero must
exceed the smallest kept weight within one step, so steps must be large: on digits with a tenth of the default network kept,
FedIter-HT ends at 19 % with a learning rate of .1 and at 95 % with .3. If a whole layer is cut, the network no longer learns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Generic, Literal, TypeVar

import numpy as np
from torch import Tensor

from fedgates.config import TARGET_ONLY, DensityTable, Table, WeightConfig, key
from fedgates.methods import Together, WeightMethod, finite_copy, largest, mean_values, to_float32
from fedgates.methods.metrics import MaskCounts, regrown_share_of_ones
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Weights, pack


class FedIHTTable(Table):
    """Federated iterative hard thresholding."""

    clients: Literal["never", "round", "step"] = key(
        "never", "When a client cuts its weights to the largest: never, once a round before it sends them, or after every step."
    )


class FedIHTConfig(WeightConfig):
    """Keys of FedIHT: ``density.target`` is k / d."""

    density: DensityTable = DensityTable()
    fediht: FedIHTTable = FedIHTTable()

    unused = WeightConfig.unused | TARGET_ONLY
    requires_density = True


FedIHTCfg = TypeVar("FedIHTCfg", bound=FedIHTConfig)


class FedIHT(Together[FedIHTCfg, Weights], WeightMethod[FedIHTCfg], Generic[FedIHTCfg]):
    """Fed-HT and FedIter-HT, described in the module docstring.

    Raises
    ------
    ConfigError
        `density.target` is not set.
    """

    Config = FedIHTConfig
    spec = replace(WeightMethod.spec, update="mask and values")

    def __init__(self, config: FedIHTCfg, network: Network) -> None:
        super().__init__(config, network)
        self._count = max(1, round(config.density.target * network.size))

    def train_clients(self, state: Weights, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Run SGD from the server's weights, with a cut after every step if `fediht.clients` is "step"."""
        losses = self.descend(state, tasks, after_step=self._cut if self.config.fediht.clients == "step" else None)
        return self.network.weights, losses

    def client_update(self, state: Weights, trained: Tensor, task: Task, loss: float) -> Update:  # noqa: ARG002
        """Return an update with the nonzero weights, or only the k largest if `fediht.clients` is "round"."""
        values = finite_copy(trained)
        kept = values != 0
        if self.config.fediht.clients == "round":
            kept &= largest(values, self._count)
        metrics = self.update_metrics(trained, task, loss)
        return Update(pack(kept), values[kept], num_examples=len(task.y), metrics=metrics)

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:  # noqa: ARG002
        """Return the mean of the clients' weights, weighted by examples and cut to the k largest."""
        mean = mean_values(updates, state.size, self.config.server.trim)
        if mean is None:
            return state
        values = to_float32(mean)
        return Weights(np.where(largest(values, self._count), values, np.float32(0)))

    def round_metrics(self, before: Weights, after: Weights, masks: MaskCounts) -> dict[str, float]:
        """Return the metrics of the base class, and the share of sent weights that were zero in the broadcast."""
        metrics = super().round_metrics(before, after, masks)
        return {**metrics, "regrown_share_of_ones": regrown_share_of_ones(before.values, masks)} if masks.masks else metrics

    def _cut(self) -> None:
        hard_threshold(self.network.weights, self._count)


def hard_threshold(weights: Tensor, count: int) -> None:
    """Set all but the `count` weights of largest magnitude to zero in place, in ``[d]`` or in each row of ``[copies, d]``.

    Examples
    --------
    >>> import torch
    >>> weights = torch.tensor([0.5, -2.0, 1.0])
    >>> hard_threshold(weights, 2)
    >>> weights.tolist()
    [0.0, -2.0, 1.0]
    """
    kept = weights.abs().topk(count).indices
    values = weights.gather(-1, kept)
    weights.zero_().scatter_(-1, kept, values)
