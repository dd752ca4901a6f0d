"""Measurements that clients make in one pass over their examples and upload as sums: "norms" and "features"."""

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
    """The functions of one measurement."""

    number: int
    """Identifier of the measurement in messages."""
    size: Callable[[Network], int]
    """Return the number m of sums for a network."""
    sums: Callable[[Network, Task, str], Sums]
    """Return the sums ``[m]`` of a network, a client's examples and a precision."""
    counts: Callable[[Network, Sums], Sums]
    """Return the number of values that each sum was taken over, ``[m]``, given the network and the sums."""
    problem: Callable[[Network, Sums], str]
    """Return the reason why sums cannot come from any examples, or an empty string if they can."""


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
"""Measurements by name: "norms", inputs of the batch norms per channel; "features", inputs of the last layer per class."""
