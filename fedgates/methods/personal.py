"""Personal last layer (head): trained by each client before use, and never sent.

Arivazhagan, Aggarwal, Singh, Choudhary: Federated Learning with Personalization Layers (FedPer), arXiv 1912.00818. Collins,
Hassani, Mokhtari, Shakkottai: Exploiting Shared Representations for Personalized Federated Learning (FedRep), ICML 2021, arXiv
2102.07078.

As in FedRep, a client that receives a state first trains its head, with the shared weights fixed, and then trains the shared
weights, with the head fixed. The head is dense in every method, because masking it would save no traffic.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates.config import RunConfig
from fedgates.methods.training import Task, batches, train_backward
from fedgates.nn.network import Network
from fedgates.nn.optimizers import Adam

LEARNING_RATE = 0.003
"""Learning rate of Adam on the head."""


def train_head(network: Network, weights: Tensor, kept: NDArray[np.float32] | None, task: Task, config: RunConfig) -> None:
    """Load the shared weights and a client's head into the network, and train the head for `personal-epochs`.

    Parameters
    ----------
    network : Network
        Network with a personal last layer; afterwards it holds `weights` and the trained head.
    weights : Tensor
        Shared weights, ``[d]``.
    kept : numpy.ndarray, optional
        The head that the client kept, ``[h]`` float32. None, an array of another shape or dtype, and values that are not finite
        are replaced by the initial head.
    task : Task
        The client's training examples.
    config : RunConfig
        The keys `personal-epochs`, `batch-size`, `precision`, `loss`, `data.augment` and `seed` are used.
    """
    network.weights.copy_(weights)
    network.head.values.copy_(_head(network, kept))
    optimizer = Adam(network.head.values, network.head.gradient, learning_rate=LEARNING_RATE)
    with network.only_head():
        for batch in batches(task, config, config.personal_epochs, "personal batches"):
            train_backward(network, task, batch, config)
            optimizer.step()


def _head(network: Network, kept: NDArray[np.float32] | None) -> Tensor:
    initial = network.head.initial
    if kept is None or kept.shape != initial.shape or kept.dtype != np.float32 or not np.isfinite(kept).all():
        return initial
    return torch.tensor(kept, device=network.device)
