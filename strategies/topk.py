"""Top-K with error feedback: clients send the largest changes and accumulate the rest.

Stich, Cordonnier, Jaggi: Sparsified SGD with Memory, NeurIPS 2018, arXiv 1809.07599. Aji, Heafield: Sparse Communication for
Distributed Gradient Descent, EMNLP 2017, arXiv 1704.05021. The papers send sparse gradients. Here clients send sparse changes
of the weights by a round's local training, which is the same for one local step.

A client trains as in FedAvg, from the server's weights ``w`` to ``w_k``, and keeps an error ``e_k``, initially zero:

    e_k += w_k - w;    send v_k = TopK(e_k);    e_k -= decoded(v_k);    server: w += sum_k n_k v_k / sum_k n_k.

TopK keeps the ``round(density.target * d)`` numbers of largest magnitude over all layers, at least one. The error also
accumulates the loss from rounding to float16. A client sends ``32 * density + H2(density)`` bits per parameter and round, or
``16 * density + H2(density)`` with float16.

`server.trim` slows Top-K down: a weight does not move if no more clients send it than are trimmed. Use `server.max-norm`
instead.

Choices here: the error is kept in Flower's client state. It is reset to zero if it is lost or invalid, and on all clients of a
resumed run. If an update does not reach the server or is not counted, its changes are lost, because the client has already
subtracted them from its error. A client whose training diverges fails and keeps its previous error. The accuracy that a client
reports (``train_accuracy``) is that of its trained weights before Top-K.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedgates.config import TARGET_ONLY, DensityTable, WeightConfig
from fedgates.errors import DIVERGED
from fedgates.methods import Together, WeightMethod, finite_copy, largest, mean_values, to_float32
from fedgates.methods.base import Spec
from fedgates.methods.training import Task
from fedgates.nn.network import Network
from fedgates.types import Update, Weights, pack
from fedgates.wire.values import VALUE_TYPES, decode, encode

ERROR = "error"
"""Name of the array in a client's memory."""


class TopKConfig(WeightConfig):
    """Keys of Top-K: ``density.target`` is the share of the weights that a client sends."""

    density: DensityTable = DensityTable()

    unused = WeightConfig.unused | TARGET_ONLY
    requires_density = True


TopKCfg = TypeVar("TopKCfg", bound=TopKConfig)


class TopK(Together[TopKCfg, Weights], WeightMethod[TopKCfg], Generic[TopKCfg]):
    """Top-K with error feedback, described in the module docstring."""

    Config = TopKConfig
    spec = Spec("mask and values", arrays=("weights",), memory=("error",))

    def __init__(self, config: TopKCfg, network: Network) -> None:
        super().__init__(config, network)
        self._count = max(1, round(config.density.target * network.size))

    def train_clients(self, state: Weights, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train as in FedAvg; return weights, ``[copies, d]``, and mean losses."""
        losses = self.descend(state, tasks)
        return self.network.weights, losses

    def client_update(self, state: Weights, trained: Tensor, task: Task, loss: float) -> Update:
        """Return an update with the largest accumulated changes, and keep the rest as the new error."""
        values = finite_copy(trained)
        metrics = self.update_metrics(trained, task, loss)
        error = remembered(task.memory, state.size) + (values - state.values)  # in this order, or a tiny error would be lost
        if not np.isfinite(error).all():
            raise FloatingPointError(f"the change of the weights is not finite: {DIVERGED}")
        kept = largest(error, self._count)
        sent = error[kept]
        error[kept] -= as_read(sent, self.config.wire.value_type)
        return Update(pack(kept), sent, num_examples=len(task.y), metrics=metrics, memory={ERROR: error})

    def change(self, state: Weights, update: Update) -> NDArray[np.float32]:
        """Return the change of the weights in an update, ``[d]``."""
        return update.dense(state.size)

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:  # noqa: ARG002
        """Add the mean of the changes, weighted by examples, to the weights; changes that were not sent count as zero."""
        mean = mean_values(updates, state.size, self.config.server.trim)
        return state if mean is None else Weights(to_float32(state.values + mean))


def remembered(memory: Mapping[str, NDArray[np.float32]], size: int) -> NDArray[np.float32]:
    """Return the error in a client's memory, ``[size]``; zeros if it is missing or invalid."""
    error = memory.get(ERROR)
    if error is None or error.shape != (size,) or error.dtype != np.float32 or not np.isfinite(error).all():
        return np.zeros(size, dtype=np.float32)
    return error


def as_read(values: NDArray[np.float32], value_type: str) -> NDArray[np.float32]:
    """Return finite values as the server decodes them: float16 rounds, and clips at 65504."""
    number = VALUE_TYPES[value_type]
    return decode(memoryview(encode(values, number)), len(values), number)
