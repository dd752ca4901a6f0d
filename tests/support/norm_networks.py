"""Small networks with batch norms of every kind: `model` = "norm_networks:NAME"."""

import math

from torch import nn


def image_norms(shape, outputs):
    """Convolutions with affine norms, as torchvision has them, and a norm of features."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, 2, bias=False),
        nn.BatchNorm2d(8, affine=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(10),
        nn.BatchNorm1d(10),
        nn.ReLU(),
        nn.Linear(10, outputs),
    )


def with_statistics(shape, outputs):
    """The same with norms in evaluation mode, which keep the statistics that they have."""
    network = image_norms(shape, outputs)
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.eval()
    return network


def plain(shape, outputs):
    """Two linear layers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 24), nn.ReLU(), nn.Linear(24, outputs))
