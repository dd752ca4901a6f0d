"""LIPS: transient sparsity against the inertia of middle layers.

Xiao et al.: arXiv 2506.00932.

If clients' data differ, their updates of the middle layers cancel in the mean, and these layers hardly move (all weight methods
log this as ``inertia_<parameter>``, :mod:`fedgates.methods.inertia`). LIPS is FedAvg, except that in every `lips.every`-th of T
rounds, client k starts round i from weights with sparse middle layers:

    d_i = d0 + (1 - d0) i / T,    keep the top d_i of |g_k * w| over the middle layers together,    zero the rest,

where w are the server's weights, g_k is the client's last gradient, and d0 is `lips.density`. Zeroed weights are trained like
the others and grow back. Traffic is as dense as in FedAvg: here sparsity improves accuracy, not traffic.

The paper trains on 100 clients with 100 images each (Dirichlet .1), F = 5, 300 rounds of 5 local epochs, batches of 100, SGD
with learning rate .1 and momentum .9, d0 = .5 (VGG-11, CIFAR-10) or .3 (ResNet-8, CIFAR-100). It reports the mean over clients
of the accuracy on their own test images, which is ``train_accuracy`` before aggregation and ``client_accuracy`` after it, both
with `fraction-evaluate`.

Choices here: the middle layers are all matrices and kernels, including those of shortcuts, except the first and the last in the
order of the module; biases are not zeroed. The gradient is the mean over the client's images of their gradients in its last
local epoch, without weight decay; with one batch per epoch, as in the paper, it is the gradient of the last step. It is kept in
Flower's client state. A client without a gradient (it has not trained yet, lost its state, or the run was resumed) uses the
gradient of its first batch at the server's weights, because with few clients per round, most clients would otherwise have none
for many rounds.
"""

from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates.config import RunConfig, Table, key
from fedgates.errors import ConfigError
from fedgates.methods import largest
from fedgates.methods.training import Task, batches, train_backward
from fedgates.nn.network import Network
from fedgates.types import Update, Weights

from .fedavg import FedAvg, FedAvgConfig

_GRADIENT = "gradient"


class LIPSTable(Table):
    """LIPS."""

    every: int = key(5, "Number of rounds F after which the middle layers start sparse again.", ge=1, le=1_000_000)
    density: float = key(
        0.5, "Density d0 of the middle layers' weights at first, which rises linearly to 1 in the last round.", ge=0, le=1
    )


class LIPSConfig(FedAvgConfig):
    """Keys of LIPS."""

    lips: LIPSTable = LIPSTable()

    unused = FedAvgConfig.unused | {"density.target"}


LIPSCfg = TypeVar("LIPSCfg", bound=LIPSConfig)


class LIPS(FedAvg[LIPSCfg], Generic[LIPSCfg]):
    """LIPS, described in the module docstring.

    Attributes
    ----------
    middle : numpy.ndarray
        Mask of the weights of middle layers, bool ``[d]``.

    Raises
    ------
    ConfigError
        The network has fewer than three matrices and kernels.
    """

    Config = LIPSConfig
    spec = replace(FedAvg.spec, memory=("gradient",))

    def __init__(self, config: LIPSCfg, network: Network) -> None:
        super().__init__(config, network)
        matrices = [slot for slot in network.slices if slot.is_matrix]
        if len(matrices) < 3:
            expected = "a network with at least one layer between its first and last layers, for strategy lips"
            raise ConfigError("model", config.model, expected)
        self.middle = np.zeros(network.size, dtype=np.bool_)
        for slot in matrices[1:-1]:
            self.middle[slot.offset : slot.offset + slot.size] = True

    def density(self, server_round: int) -> float | None:
        """Return the density ``d_i`` of the middle layers at the start of a round; None for a dense start."""
        config = self.config
        if server_round % config.lips.every:
            return None
        return config.lips.density + (1 - config.lips.density) * server_round / config.num_server_rounds

    # --- the client's rule

    def local_update(self, state: Weights, task: Task) -> Update:
        """Run SGD from the server's weights; in every `lips.every`-th round, start with sparse middle layers."""
        density = self.density(task.server_round)
        start = state if density is None else self.sparse(state, self.gradient(state, task), density)
        last = LastEpoch(self.network.gradient, len(task.y), self.config)
        values, metrics = self.train(start, task, after_step=last.add)
        memory = {_GRADIENT: last.mean.cpu().numpy()[self.middle]}
        return Update(mask=None, values=values, num_examples=len(task.y), metrics=metrics, memory=memory)

    def sparse(self, state: Weights, gradient: NDArray[np.float32], density: float) -> Weights:
        """Return the state with only the top `density` of the middle weights by ``|gradient * weight|``, the rest zero."""
        middle = state.values[self.middle]
        kept = largest(gradient * middle, round(density * len(middle)))
        values = state.values.copy()
        values[self.middle] = np.where(kept, middle, np.float32(0))
        return Weights(values)

    def gradient(self, state: Weights, task: Task) -> NDArray[np.float32]:
        """Return the gradient of the middle weights from the client's memory, or from its first batch."""
        known = task.memory.get(_GRADIENT)
        size = int(self.middle.sum())
        if known is not None and known.shape == (size,) and known.dtype == np.float32 and np.isfinite(known).all():
            return known
        self.network.weights.copy_(self.tensor(state.values))
        batch = next(batches(task, self.config))
        train_backward(self.network, task, batch, self.config, self.config.class_prior)
        return self.network.gradient.cpu().numpy()[self.middle]


class LastEpoch:
    """Mean gradient over a client's images in its last local epoch.

    Parameters
    ----------
    gradient : Tensor
        The tensor that has the gradient of the last step, a mean over its batch, when :meth:`add` is called; ``[d]``.
    images : int
        Number of images that the client trains on.
    config : RunConfig
        The keys `local-epochs` and `batch-size` are used.
    """

    def __init__(self, gradient: Tensor, images: int, config: RunConfig) -> None:
        self.mean = torch.zeros_like(gradient)
        self._gradient, self._images, self._batch = gradient, images, config.batch_size
        self._epochs, self._left = config.local_epochs, images

    def add(self) -> None:
        """Add the gradient of the last step, if it belongs to the last epoch."""
        size = min(self._batch, self._left)
        if self._epochs == 1:
            self.mean.add_(self._gradient, alpha=size / self._images)
        self._left -= size
        if not self._left:
            self._epochs, self._left = self._epochs - 1, self._images
