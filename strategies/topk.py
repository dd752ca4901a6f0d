"""Top-K with error feedback: the largest changes are sent, the rest is kept for later.

Stich, Cordonnier, Jaggi: Sparsified SGD with Memory, NeurIPS 2018, arXiv 1809.07599. Aji, Heafield: Sparse Communication for
Distributed Gradient Descent, EMNLP 2017, arXiv 1704.05021. They send sparse gradients; here it is the change of a round's local
training, which is their form with one local step.

A client trains as in FedAvg, from the server's weights ``w`` to ``w_k``, and remembers an error ``e_k``, at first zero:

    e_k += w_k - w;    send v_k = TopK(e_k);    e_k -= v_k as the server reads it;    server: w += sum_k n_k v_k / sum_k n_k.

TopK keeps the ``round(density.target * d)`` numbers of largest magnitude, over all layers, at least one. What rounding to
float16 loses stays in the error as well. A round costs a client ``32 * density + H2(density)`` bits a parameter, with float16
``16 * density + H2(density)``.

`server.trim` slows Top-K down: a weight that no more clients send than are dropped stays as it is. Use `server.max-norm`.

Choices here: the error is kept in Flower's own client state. A client that has lost it, or keeps something else in its place,
starts again from zero; so do all clients of a run that is resumed. An answer that the server did not hear or count is lost,
because its client has taken it for sent. A client whose training diverges fails and keeps the error that it had. The accuracy
that a client reports (``train_accuracy``) is that of its trained weights, before Top-K.
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
"""Name of what a client remembers."""


class TopKConfig(WeightConfig):
    """Keys of Top-K: ``density.target`` is the share of the weights that a client sends."""

    density: DensityTable = DensityTable()

    unused = WeightConfig.unused | TARGET_ONLY
    requires_density = True


TopKCfg = TypeVar("TopKCfg", bound=TopKConfig)


class TopK(Together[TopKCfg, Weights], WeightMethod[TopKCfg], Generic[TopKCfg]):
    """Top-K with error feedback; described in the module's docstring."""

    Config = TopKConfig
    spec = Spec("mask and values", arrays=("weights",), memory=("error",))

    def __init__(self, config: TopKCfg, network: Network) -> None:
        super().__init__(config, network)
        self._count = max(1, round(config.density.target * network.size))

    def train_clients(self, state: Weights, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train as in FedAvg."""
        losses = self.descend(state, tasks)
        return self.network.weights, losses

    def client_update(self, state: Weights, trained: Tensor, task: Task, loss: float) -> Update:
        """Send the largest of the accumulated changes, and keep the rest."""
        values = finite_copy(trained)
        metrics = self.update_metrics(trained, task, loss)
        error = remembered(task.memory, state.size) + (values - state.values)  # the change first: the error may be tiny
        if not np.isfinite(error).all():
            raise FloatingPointError(f"the change of the weights is not finite: {DIVERGED}")
        kept = largest(error, self._count)
        sent = error[kept]
        error[kept] -= as_read(sent, self.config.wire.value_type)
        return Update(pack(kept), sent, num_examples=len(task.y), metrics=metrics, memory={ERROR: error})

    def change(self, state: Weights, update: Update) -> NDArray[np.float32]:
        """Return the change that an update is."""
        return update.dense(state.size)

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:  # noqa: ARG002
        """Add the mean of the changes, weighted by examples; what a client did not send is no change."""
        mean = mean_values(updates, state.size, self.config.server.trim)
        return state if mean is None else Weights(to_float32(state.values + mean))


def remembered(memory: Mapping[str, NDArray[np.float32]], size: int) -> NDArray[np.float32]:
    """Return the error ``[size]`` that a client kept; zeros if it kept none, or something that cannot be one."""
    error = memory.get(ERROR)
    if error is None or error.shape != (size,) or error.dtype != np.float32 or not np.isfinite(error).all():
        return np.zeros(size, dtype=np.float32)
    return error


def as_read(values: NDArray[np.float32], value_type: str) -> NDArray[np.float32]:
    """Return finite values as their receiver decodes them: float16 rounds, and clips at 65504."""
    number = VALUE_TYPES[value_type]
    return decode(memoryview(encode(values, number)), len(values), number)
