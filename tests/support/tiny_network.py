"""Networks for tests of the protocol, which exercise messages and not learning: `model` = "tiny_network:build"."""

from math import prod

from torch import nn

TINY_SIZE, SMALL_SIZE = 64 * 8 + 8 + 8 * 10 + 10, 64 * 64 + 64 + 64 * 10 + 10
"""Numbers of parameters for digits: 610 and 4,810."""


def build(input_shape, num_classes):
    """Return a network of 610 parameters."""
    return _perceptron(input_shape, num_classes, width=8)


def small(input_shape, num_classes):
    """Return a network of 4,810 parameters: coded updates are smaller than a coded state, so they are relayed."""
    return _perceptron(input_shape, num_classes, width=64)


def _perceptron(input_shape, num_classes, width):
    features = prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, width), nn.ReLU(), nn.Linear(width, num_classes))
