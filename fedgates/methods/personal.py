"""A personal last layer: trained on each client before it is used, and never sent.

Arivazhagan, Aggarwal, Singh, Choudhary: Federated Learning with Personalization Layers (FedPer), arXiv 1912.00818. Collins,
Hassani, Mokhtari, Shakkottai: Exploiting Shared Representations for Personalized Federated Learning (FedRep), ICML 2021, arXiv
2102.07078.

As in FedRep, a client that gets a state first trains its head, on the weights that the state represents, and then the shared
part, with the head as it is. The head is dense whatever the method: nothing is gained by masking what does not travel.
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
"""Step size of Adam on the head."""


def train_head(network: Network, weights: Tensor, kept: NDArray[np.float32] | None, task: Task, config: RunConfig) -> None:
    """Load the shared weights and a client's head, and train the head for `personal-epochs`.

    Parameters
    ----------
    network : Network
        It has a personal last layer; it holds `weights` and the trained head afterwards.
    weights : Tensor
        Shape ``[d]``.
    kept : numpy.ndarray, optional
        The head that the client keeps, ``[h]`` float32. None, and what is no such head, counts as the initial one.
    task : Task
        The client's own training examples.
    config : RunConfig
        `personal-epochs`, `batch-size`, `precision`, `loss`, `data.augment` and `seed`.
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
