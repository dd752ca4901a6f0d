"""SignSGD with majority vote: clients send the sign of each weight's change, and the server moves all weights by one step size.

Bernstein, Wang, Azizzadenesheli, Anandkumar: signSGD: Compressed Optimisation for Non-Convex Problems, ICML 2018,
arXiv 1802.04434. Bernstein, Zhao, Azizzadenesheli, Anandkumar: signSGD with Majority Vote is Communication Efficient and Fault
Tolerant, ICLR 2019, arXiv 1810.05291. The papers vote on the signs of gradients. Here clients vote on the signs of the changes
made by a round's local training, which is the same for one local step.

A client trains as in FedAvg, from the server's weights ``w`` to ``w_k``, and sends the mask ``[w_k > w]``. The server takes a
majority vote in which each client has one vote, regardless of its number of examples:

    w += rate * sign(sum_k sign(w_k - w));    ties do not move a weight.

Choices here: rate is `signsgd.server-learning-rate` times the factor by which `learning-rate-final` has lowered the clients'
learning rate. One bit cannot encode "no change", so for an unchanged weight a client votes by a fair coin. The coin is the same
for all clients of a round but inverted for clients with odd names, so that such votes cancel if even and odd names are
balanced. The remainder is a random step of weights that no client trains.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedgates import rng
from fedgates.config import Table, WeightConfig, key
from fedgates.methods import Together, WeightMethod, add_votes, finite_copy, to_float32
from fedgates.methods.training import Task
from fedgates.types import Update, Votes, Weights, pack


class SignSGDTable(Table):
    """SignSGD with majority vote."""

    server_learning_rate: float = key(
        0.003, "Step of every weight in a round; it falls like the clients' learning rate with learning-rate-final.", gt=0
    )


class SignSGDConfig(WeightConfig):
    """Keys of signSGD, which sends masks but no values."""

    signsgd: SignSGDTable = SignSGDTable()

    unused = (WeightConfig.unused - {"privacy.flip-probability"}) | {"wire.value-type", "server.trim", "server.max-norm"}
    default_learning_rate = 0.1  # as in benchmarks/study/methods_digits.toml


SignSGDCfg = TypeVar("SignSGDCfg", bound=SignSGDConfig)


class SignSGD(Together[SignSGDCfg, Weights], WeightMethod[SignSGDCfg], Generic[SignSGDCfg]):
    """SignSGD with majority vote, described in the module docstring."""

    Config = SignSGDConfig
    spec = replace(WeightMethod.spec, update="mask")

    def train_clients(self, state: Weights, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train as in FedAvg; return weights, ``[copies, d]``, and mean losses."""
        losses = self.descend(state, tasks)
        return self.network.weights, losses

    def client_update(self, state: Weights, trained: Tensor, task: Task, loss: float) -> Update:
        """Return an update with the signs of the weights' changes; 1 means an increase."""
        coins = rng.bits(state.size, self.config.seed, "signs", server_round=task.server_round) ^ np.uint8(task.client & 1)
        mask = signs(finite_copy(trained) - state.values, coins)
        return Update(pack(mask), num_examples=len(task.y), metrics=self.update_metrics(trained, task, loss))

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:
        """Move every weight one step in the direction of the majority."""
        votes = add_votes(Votes(np.zeros(state.size, dtype=np.uint32), trials=0), updates)
        step = np.float32(self.rate(server_round)) * majority(votes)
        return Weights(to_float32(state.values.astype(np.float64) + step)) if votes.trials else state

    def rate(self, server_round: int) -> float:
        """Return the server's step size in a round."""
        config = self.config
        return config.signsgd.server_learning_rate * config.rate(server_round) / config.learning_rate


def signs(change: NDArray[np.float32], coins: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return whether each change is positive, bool ``[d]``; for zero changes, whether the coin is 1.

    Examples
    --------
    >>> signs(np.array([0.1, -0.2, 0.0], np.float32), coins=np.array([0, 0, 1], np.uint8)).tolist()
    [True, False, True]
    """
    return np.where(change == 0, coins.astype(np.bool_), change > 0)


def majority(votes: Votes) -> NDArray[np.float32]:
    """Return the majority of the votes at each position, ``[d]``: 1, -1, or 0 for a tie.

    Examples
    --------
    >>> majority(Votes(np.array([3, 2, 0], np.uint32), trials=4)).tolist()
    [1.0, 0.0, -1.0]
    """
    lead: NDArray[np.float32] = np.sign(2.0 * votes.votes - votes.trials).astype(np.float32)
    return lead
