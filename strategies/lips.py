"""LIPS: transient sparsity, against the inertia of middle layers.

Xiao et al.: arXiv 2506.00932.

Where clients' data differ, their updates of the middle layers cancel in the mean, and those layers hardly move (every weight
method's log has by how much: ``inertia_<parameter>``, :mod:`fedgates.methods.inertia`). LIPS is FedAvg, but in every
`lips.every`-th of T rounds, round i, a client k starts from weights of which the middle ones are sparse:

    d_i = d0 + (1 - d0) i / T,    keep the top d_i of |g_k * w| over the middle layers together,    zero the rest,

where w are the server's weights, g_k is the client's last gradient, and d0 is `lips.density`. What was zeroed is trained like
the rest and grows back. Traffic is as dense as FedAvg's: sparsity serves accuracy here, not bytes. The paper trains on 100
clients of 100 images (Dirichlet .1), F = 5, 300 rounds of 5 local epochs, batches of 100, SGD with learning rate .1 and
momentum .9, d0 = .5 (VGG-11, CIFAR-10) or .3 (ResNet-8, CIFAR-100), and reports the mean over clients of their accuracy on
their own test images: before aggregation ``train_accuracy``, after it ``client_accuracy``, both with `fraction-evaluate`.

Choices here: layers are counted as the module lists them, and those in the middle are all matrices and kernels but the first
and the last, shortcuts' included; biases stay as they are. The gradient is the mean over the client's images of those that
they had in its last local epoch, weight decay apart; with one batch an epoch, as in the paper, it is the last step's. It is
kept in Flower's own client state. A client without one (it never trained, its device lost it, or the run was resumed) takes
the gradient of its first batch at the server's weights, because with few clients a round most would have none for long.
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
    """LIPS; described in the module's docstring.

    Attributes
    ----------
    middle : numpy.ndarray
        Which parameters are weights of middle layers, bool ``[d]``.
    """

    Config = LIPSConfig
    spec = replace(FedAvg.spec, memory=("gradient",))

    def __init__(self, config: LIPSCfg, network: Network) -> None:
        super().__init__(config, network)
        matrices = [slot for slot in network.slices if slot.is_matrix]
        if len(matrices) < 3:
            expected = "a network with a layer of weights between its first and its last, which lips makes sparse"
            raise ConfigError("model", config.model, expected)
        self.middle = np.zeros(network.size, dtype=np.bool_)
        for slot in matrices[1:-1]:
            self.middle[slot.offset : slot.offset + slot.size] = True

    def density(self, server_round: int) -> float | None:
        """``d_i`` of a round that makes weights sparse, None of any other."""
        config = self.config
        if server_round % config.lips.every:
            return None
        return config.lips.density + (1 - config.lips.density) * server_round / config.num_server_rounds

    # --- the client's rule

    def local_update(self, state: Weights, task: Task) -> Update:
        """SGD from the server's weights, in some rounds with the least important of the middle ones at zero at first."""
        density = self.density(task.server_round)
        start = state if density is None else self.sparse(state, self.gradient(state, task), density)
        last = LastEpoch(self.network.gradient, len(task.y), self.config)
        values, metrics = self.train(start, task, after_step=last.add)
        memory = {_GRADIENT: last.mean.cpu().numpy()[self.middle]}
        return Update(mask=None, values=values, num_examples=len(task.y), metrics=metrics, memory=memory)

    def sparse(self, state: Weights, gradient: NDArray[np.float32], density: float) -> Weights:
        """The state with the middle weights at zero that are not in the top `density` of ``|gradient * weight|``."""
        middle = state.values[self.middle]
        kept = largest(gradient * middle, round(density * len(middle)))
        values = state.values.copy()
        values[self.middle] = np.where(kept, middle, np.float32(0))
        return Weights(values)

    def gradient(self, state: Weights, task: Task) -> NDArray[np.float32]:
        """The gradient of the middle weights that the client remembers, or that of its first batch at the state's weights."""
        known = task.memory.get(_GRADIENT)
        size = int(self.middle.sum())
        if known is not None and known.shape == (size,) and known.dtype == np.float32 and np.isfinite(known).all():
            return known
        self.network.weights.copy_(self.tensor(state.values))
        batch = next(batches(task, self.config))
        train_backward(self.network, task, batch, self.config, self.config.class_prior)
        return self.network.gradient.cpu().numpy()[self.middle]


class LastEpoch:
    """The mean over a client's images of the gradients that they have in its last local epoch.

    Parameters
    ----------
    gradient : Tensor
        Shape ``[d]``: where each step's gradient, a mean over its batch, is when :meth:`add` is called after the step.
    images : int
        How many the client trains on.
    config : RunConfig
        `local-epochs` and `batch-size`.
    """

    def __init__(self, gradient: Tensor, images: int, config: RunConfig) -> None:
        self.mean = torch.zeros_like(gradient)
        self._gradient, self._images, self._batch = gradient, images, config.batch_size
        self._epochs, self._left = config.local_epochs, images

    def add(self) -> None:
        """Take note of the step that was just done."""
        size = min(self._batch, self._left)
        if self._epochs == 1:
            self.mean.add_(self._gradient, alpha=size / self._images)
        self._left -= size
        if not self._left:
            self._epochs, self._left = self._epochs - 1, self._images
