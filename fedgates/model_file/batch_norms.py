"""Running statistics of the batch norms in a finished model."""

import numpy as np
import torch
from torch import nn

from fedgates.errors import ModelFileError
from fedgates.nn.batch_norms import norms_of


def fix_statistics(module: nn.Module, statistics: bytes) -> None:
    """Set the running statistics of each batch norm in place; do nothing if `statistics` is empty.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    statistics : bytes
        Little-endian float32: means, then variances of the channels, for each batch norm in turn.

    Raises
    ------
    ModelFileError
        The number of statistics does not match the network's batch norms, or a value is invalid.
    """
    if not statistics:
        return
    norms = norms_of(module)
    wanted = sum(2 * layer.num_features for _, layer in norms)
    if len(statistics) != 4 * wanted:
        raise ModelFileError(f"{len(statistics)} bytes of statistics, expected {4 * wanted}")
    values = torch.from_numpy(np.frombuffer(statistics, dtype="<f4").astype(np.float32))
    if not bool(values.isfinite().all()):
        raise ModelFileError("its statistics are not finite")
    at = 0
    for name, layer in norms:
        layer.running_mean = values[at : at + layer.num_features].clone()
        layer.running_var = values[at + layer.num_features : at + 2 * layer.num_features].clone()
        layer.num_batches_tracked, layer.track_running_stats = torch.tensor(0), True
        if bool((layer.running_var < 0).any()):
            raise ModelFileError(f"a variance of the batch norm {name!r} is below zero")
        at += 2 * layer.num_features
