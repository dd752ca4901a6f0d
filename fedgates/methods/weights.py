"""What methods share that train the weights themselves: a start, local SGD, a weighted mean, and evaluation."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates.config import RunConfig, number
from fedgates.flower.strategy import GateStrategy
from fedgates.methods.inertia import inertia
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Task, train_epochs
from fedgates.nn.network import Network
from fedgates.types import Update, UpdateKind, Weights


@dataclass(frozen=True)
class WeightConfig(RunConfig):
    """The keys of every method that trains weights by SGD."""

    momentum: float = number(0.0, 0, 0.9999)
    weight_decay: float = number(0.0, 0)
    final_learning_rate: float = number(0.0, 0)

    unused = RunConfig.unused | {"density_penalty", "target_density", "entropy_bonus", "sampled_extra_bits"}

    def rate(self, server_round: int) -> float:
        """The learning rate of a round: `learning-rate`, or with `final-learning-rate` exponentially from one to the other."""
        if not self.final_learning_rate or self.num_server_rounds == 1:
            return self.learning_rate
        done = min(1.0, (server_round - 1) / (self.num_server_rounds - 1))
        return float(self.learning_rate * (self.final_learning_rate / self.learning_rate) ** done)


WeightCfg = TypeVar("WeightCfg", bound=WeightConfig)


class WeightMethod(GateStrategy[WeightCfg, Weights], Generic[WeightCfg]):
    """A method whose state is the network's weights; it adds ``local_update`` and ``aggregate``.

    Attributes
    ----------
    initial : numpy.ndarray
        The weights that the network came with, ``[d]`` float32.
    """

    Config = WeightConfig
    sends: ClassVar[UpdateKind] = "values"

    def __init__(self, config: WeightCfg, network: Network) -> None:
        super().__init__(config, network)
        self.digest = network.digest(b"dense")
        self.initial = network.weights.cpu().numpy().copy()

    def initial_state(self) -> Weights:
        """The network's own initial weights."""
        return Weights(self.initial)

    def model(self, state: Weights) -> Tensor:
        """The state's weights as they are."""
        return self.tensor(state.values)

    def tensor(self, values: NDArray[np.float32]) -> Tensor:
        """A copy of values ``[d]`` where the network lives."""
        return torch.tensor(values, device=self.network.device)

    def train(
        self, state: Weights, task: Task, *, after_step: Callable[[], None] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Local SGD from the state's weights: the trained ones, ``[d]``, and the metrics to report.

        The network holds the weights while they are trained, when `after_step` is called, and afterwards.

        Raises
        ------
        FloatingPointError
            Training diverged: nothing is to be sent.
        """
        network, config = self.network, self.config
        network.weights.copy_(self.tensor(state.values))
        network.weights.grad = network.gradient
        optimizer = torch.optim.SGD(
            [network.weights],
            lr=config.rate(task.server_round),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        if after_step:
            optimizer.register_step_post_hook(lambda *_: after_step())
        loss = train_epochs(network, task, config, optimizer)
        return finite(network.weights), {"loss": loss, **self.own_score(task)}

    def measure(self, before: Weights, after: Weights, masks: MaskCounts) -> dict[str, float]:
        """What the base says of a round, and how far each layer's weights moved."""
        return super().measure(before, after, masks) | inertia(self.network.slices, before.values, after.values)

    def own_score(self, task: Task) -> dict[str, float]:
        """The accuracy of the network as it is on the client's held-out images, where it has some and a class to find."""
        if task.held_out is None:
            return {}
        found = self.measured(self.network.weights, *task.held_out)
        return {"accuracy": found["accuracy"]} if "accuracy" in found else {}


def finite(trained: Tensor) -> NDArray[np.float32]:
    """A copy of what a client trained, for sending.

    Raises
    ------
    FloatingPointError
        Not all of it is finite.
    """
    values: NDArray[np.float32] = trained.cpu().numpy().copy()
    if not np.isfinite(values).all():
        raise FloatingPointError("the weights are not finite: training diverged")
    return values


def rounded(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Float64 to float32; what is beyond its range is held at its largest, so that no sum of finite updates ends a run."""
    largest_of_all = float(np.finfo(np.float32).max)
    return np.clip(values, -largest_of_all, largest_of_all).astype(np.float32)


def weighted_mean(updates: Iterable[Update], size: int) -> NDArray[np.float64] | None:
    """The mean ``[size]`` of updates' values, weighted by examples: ``sum_k n_k v_k / sum_k n_k``; None of no updates.

    A value whose mask is 0 counts as 0. The sum is float64, in the order in which the updates come.
    """
    total, examples = np.zeros(size, dtype=np.float64), 0
    for update in updates:
        total += update.num_examples * update.dense(size).astype(np.float64)
        examples += update.num_examples
    return total / examples if examples else None


def largest(values: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """The mask ``[d]`` of the `count` values of largest magnitude; of equal ones at the edge the first are kept."""
    mask = np.zeros(len(values), dtype=np.bool_)
    if count >= len(values):
        mask[:] = True
    elif count > 0:
        size = np.abs(values)
        edge = np.partition(size, len(size) - count)[len(size) - count]
        mask[size > edge] = True
        mask[np.flatnonzero(size == edge)[: count - int(mask.sum())]] = True
    return mask
