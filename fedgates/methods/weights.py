"""Base class of methods that train the weights themselves, with local SGD and weighted means."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates.config import WeightConfig
from fedgates.errors import DIVERGED
from fedgates.methods.base import Method, Spec
from fedgates.methods.evaluation import predict, score
from fedgates.methods.inertia import inertia
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.together import train_together
from fedgates.methods.training import Task
from fedgates.methods.trimming import trimmed_mean
from fedgates.nn.network import Network
from fedgates.nn.optimizers import SGD
from fedgates.types import Update, Weights

WeightCfg = TypeVar("WeightCfg", bound=WeightConfig)


class WeightMethod(Method[WeightCfg, Weights], Generic[WeightCfg]):
    """Base class of methods whose state is the network's weights.

    A subclass implements ``local_update`` and ``aggregate``.

    Attributes
    ----------
    initial : numpy.ndarray
        The network's initial weights, ``[d]`` float32.
    """

    Config = WeightConfig
    spec = Spec("values", arrays=("weights",))

    def __init__(self, config: WeightCfg, network: Network) -> None:
        super().__init__(config, network)
        self.digest = network.digest(b"dense")
        self.initial = network.weights.cpu().numpy().copy()

    def initial_state(self) -> Weights:
        """Return the network's initial weights."""
        return Weights(self.initial)

    def weights(self, state: Weights) -> Tensor:
        """Return the state's weights, ``[d]``."""
        return self.tensor(state.values)

    def change(self, state: Weights, update: Update) -> NDArray[np.float32]:
        """Return the difference, ``[d]``, between an update's weights and the state that the client started from."""
        return update.dense(state.size) - state.values

    def tensor(self, values: NDArray[np.float32]) -> Tensor:
        """Return a copy of values ``[d]`` on the network's device."""
        return torch.tensor(values, device=self.network.device)

    def train(
        self, state: Weights, task: Task, *, after_step: Callable[[], None] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Run local SGD from the state's weights; return the trained weights, ``[d]``, and the metrics of the update.

        The weights are trained in place in ``network.weights``; `after_step`, called after each step, may modify them there.

        Raises
        ------
        FloatingPointError
            Training diverged: a weight is not finite.
        """
        (loss,) = self.descend(state, [task], after_step=after_step)
        weights = self.network.weights
        return finite_copy(weights), self.update_metrics(weights, task, loss)

    def descend(self, state: Weights, tasks: Sequence[Task], *, after_step: Callable[[], None] | None = None) -> list[float]:
        """Run local SGD from the state's weights, in ``network.weights`` (``[d]`` or ``[copies, d]``); return mean losses."""
        network, config = self.network, self.config
        network.weights.copy_(self.tensor(state.values))
        optimizer = SGD(
            network.weights,
            network.gradient,
            learning_rate=config.rate(tasks[0].server_round),
            momentum=config.sgd.momentum,
            weight_decay=config.sgd.weight_decay,
        )
        return train_together(network, tasks, config, optimizer, after_step=after_step)

    def update_metrics(self, weights: Tensor, task: Task, loss: float) -> dict[str, float]:
        """Return the metrics of an update: the mean loss, and the accuracy of `weights` ``[d]`` on the held-out examples."""
        return {"loss": loss, **self.held_out_accuracy(weights, task)}

    def round_metrics(self, before: Weights, after: Weights, masks: MaskCounts) -> dict[str, float]:
        """Return the metrics of the base class, and the inertia of each layer (:func:`fedgates.methods.inertia.inertia`)."""
        return super().round_metrics(before, after, masks) | inertia(self.network.slices, before.values, after.values)

    def held_out_accuracy(self, weights: Tensor, task: Task) -> dict[str, float]:
        """Return the ``accuracy`` of weights ``[d]`` on the client's held-out examples, or nothing if it has none."""
        if task.held_out is None:
            return {}
        x, y = task.held_out
        self.network.weights.copy_(weights)
        metrics = score(predict(self.network, x, self.config.precision), y)
        return {"accuracy": metrics["accuracy"]} if "accuracy" in metrics else {}


def finite_copy(trained: Tensor) -> NDArray[np.float32]:
    """Return a copy of trained weights, ``[d]`` float32, after checking that they are finite.

    Raises
    ------
    FloatingPointError
        A weight is not finite.
    """
    values: NDArray[np.float32] = trained.cpu().numpy().copy()
    if not np.isfinite(values).all():
        raise FloatingPointError(f"the weights are not finite: {DIVERGED}")
    return values


def to_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Convert float64 values to float32, clipped to its range, so that sums of finite updates stay finite."""
    largest_of_all = float(np.finfo(np.float32).max)
    return np.clip(values, -largest_of_all, largest_of_all).astype(np.float32)


def mean_values(updates: Iterable[Update], size: int, trim: float = 0.0) -> NDArray[np.float64] | None:
    """Return the mean ``[size]`` of updates' values weighted by examples, ``sum_k n_k v_k / sum_k n_k``, or None if empty.

    A value whose mask bit is 0 counts as 0. Sums are float64, in the order of the updates. With `trim` above 0 the result is
    the unweighted :func:`~fedgates.methods.trimming.trimmed_mean`, which needs all updates in memory.

    Examples
    --------
    >>> updates = [Update(None, np.full(2, value, np.float32), num_examples=n) for value, n in ((1, 30), (5, 10))]
    >>> mean_values(updates, size=2).tolist()
    [2.0, 2.0]
    """
    if trim:
        values = [update.dense(size) for update in updates]
        return trimmed_mean(values, trim) if values else None
    total, examples = np.zeros(size, dtype=np.float64), 0
    for update in updates:
        total += update.num_examples * update.dense(size).astype(np.float64)
        examples += update.num_examples
    return total / examples if examples else None


def largest(values: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Return the mask ``[d]`` of the `count` values of largest magnitude; among ties, the first are kept.

    Examples
    --------
    >>> largest(np.array([0.5, -2.0, 1.0], np.float32), 2).tolist()
    [False, True, True]
    """
    mask = np.zeros(len(values), dtype=np.bool_)
    if count >= len(values):
        mask[:] = True
    elif count > 0:
        size = np.abs(values)
        edge = np.partition(size, len(size) - count)[len(size) - count]
        mask[size > edge] = True
        mask[np.flatnonzero(size == edge)[: count - int(mask.sum())]] = True
    return mask
