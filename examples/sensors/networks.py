"""A convolutional network for windows of several channels."""

from torch import nn


def cnn(input_shape: tuple[int, int], num_outputs: int) -> nn.Module:
    """Return a network from windows ``[n, channels, samples]`` to logits."""
    channels, _ = input_shape
    return nn.Sequential(
        nn.BatchNorm1d(channels, affine=False),  # the channels have different units
        nn.Conv1d(channels, 64, 9, padding=4, bias=False),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Conv1d(64, 64, 5, padding=2, bias=False),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(64, num_outputs),
    )
