"""A 1D convolutional network for windows of several channels."""

from torch import Tensor, nn


class ChannelsFirst(nn.Module):
    """Turns ``[n, samples, channels]`` into ``[n, channels, samples]``."""

    def forward(self, x: Tensor) -> Tensor:
        """Swap the last two axes."""
        return x.transpose(1, 2)


def build(input_shape: tuple[int, int], num_outputs: int) -> nn.Module:
    """Return the network for windows (samples, channels)."""
    _, channels = input_shape
    return nn.Sequential(
        ChannelsFirst(),
        nn.Conv1d(channels, 64, 7, padding=3),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Conv1d(64, 64, 5, padding=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(4),
        nn.Flatten(),
        nn.Linear(256, num_outputs),
    )
