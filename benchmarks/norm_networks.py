"""Networks for benchmarks/norms.py: two convolutions on small images, each followed by a norm."""

from collections.abc import Callable

from torch import nn

Shape = tuple[int, int, int]


def _network(shape: Shape, outputs: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(shape[0], 32, 3, padding=1, bias=False),
        norm(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, bias=False),
        norm(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (shape[1] // 2) * (shape[2] // 2), outputs),
    )


def batch_norm(shape: Shape, outputs: int) -> nn.Module:
    """Batch norm with scale and shift."""
    return _network(shape, outputs, nn.BatchNorm2d)


def group_norm(shape: Shape, outputs: int) -> nn.Module:
    """Group norm, eight channels a group, with scale and shift."""
    return _network(shape, outputs, lambda channels: nn.GroupNorm(channels // 8, channels))


def no_norm(shape: Shape, outputs: int) -> nn.Module:
    """No norm."""
    return _network(shape, outputs, lambda _: nn.Identity())
