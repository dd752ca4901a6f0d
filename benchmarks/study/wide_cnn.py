"""The network ``cnn`` with twice as many channels: `model` = "wide_cnn:build"."""

from torch import nn


def build(input_shape: tuple[int, int, int], num_outputs: int) -> nn.Module:
    """Return two 3x3 convolutions of 64 and 128 channels, each with ReLU and 2x2 max-pooling, and a linear layer."""
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128 * (height // 4) * (width // 4), num_outputs),
    )
