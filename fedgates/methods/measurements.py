"""What clients measure in one pass over their examples, and answer with sums: "norms" or "features"."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedgates.methods.class_means import check_feature_sums, feature_counts, feature_sums, feature_sums_size
from fedgates.methods.evaluation import predict
from fedgates.methods.training import Task
from fedgates.nn import batch_norms
from fedgates.nn.network import Network
from fedgates.wire.sums import BATCH_NORM, CLASS_FEATURES

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """One measurement."""

    number: int
    """Its number on the wire."""
    size: Callable[[Network], int]
    """From a network to the number of sums m."""
    sums: Callable[[Network, Task, str], Sums]
    """From a network, a client's examples and the precision to its sums, ``[m]``."""
    counts: Callable[[Network, Sums], Sums]
    """From a network and sums to the number of values that each was summed over, ``[m]``."""
    problem: Callable[[Network, Sums], str]
    """From a network and sums to the reason why they cannot be those of examples; empty if they can."""


def _norm_sums(network: Network, task: Task, precision: str) -> Sums:
    with batch_norms.channel_sums(network.module) as sums:
        predict(network, task.x, precision)
        return sums()


MEASURES = {
    "norms": Measure(
        BATCH_NORM,
        lambda network: batch_norms.sums_size(network.module),
        _norm_sums,
        lambda network, sums: batch_norms.counts_of(network.module, sums),
        lambda network, sums: batch_norms.check_sums(network.module, sums),
    ),
    "features": Measure(CLASS_FEATURES, feature_sums_size, feature_sums, feature_counts, check_feature_sums),
}
"""The measurements by name: of the inputs of batch norms by channel, and of the last layer's inputs by class."""
