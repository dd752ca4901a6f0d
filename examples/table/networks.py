"""A network for the rows of a table."""

from torch import nn


def layers(input_shape: tuple[int], num_outputs: int) -> nn.Module:
    """Return a network from rows ``[n, features]`` to logits."""
    (features,) = input_shape
    return nn.Sequential(nn.Linear(features, 128), nn.LayerNorm(128), nn.GELU(), nn.Linear(128, num_outputs))
