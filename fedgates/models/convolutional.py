"""Feed-forward networks: stacks of convolutions, max-pooling and fully connected layers, and a multilayer perceptron.

``cnn``, ``conv4``, ``conv6``, ``conv10`` and ``leaf-cnn`` have same-padded convolutions with bias, ReLU, 2x2 max-pooling and
fully connected layers, without normalisation. ``vgg11`` (Simonyan and Zisserman, ICLR 2015, configuration A) is the usual
variant for CIFAR: convolutions without bias, each followed by batch normalisation, and a single fully connected layer. Its last
max-pool covers the whole remaining image, which is the usual 2x2 for images of 32x32.
"""

import itertools
import math
from dataclasses import dataclass

from torch import nn

from fedgates.models.batch_norm import BatchNorm
from fedgates.models.shapes import Shape, check_size

M = "M"
"""A 2x2 max-pool in a plan of layers; a number is a convolution with that number of output channels."""
REST = "rest"
"""A max-pool over the whole image."""


@dataclass(frozen=True)
class Plan:
    """Convolutions, max-pools, and widths of the hidden fully connected layers of a network."""

    layers: tuple[int | str, ...]
    hidden: tuple[int, ...] = ()
    kernel: int = 3
    normalised: bool = False


PLANS = {
    "cnn": Plan((32, M, 64, M)),
    "conv4": Plan((64, 64, M, 128, 128, M), (256, 256)),
    "conv6": Plan((64, 64, M, 128, 128, M, 256, 256, M), (256, 256)),
    "conv10": Plan(tuple(step for width in (64, 128, 256, 512, 1024) for step in (width, width, M)), (256, 256)),
    "leaf-cnn": Plan((32, M, 64, M), (2048,), kernel=5),
    "vgg11": Plan((64, M, 128, M, 256, 256, M, 512, 512, M, 512, 512, REST), normalised=True),
}


def convolutional(name: str, input_shape: Shape, num_classes: int) -> nn.Sequential:
    """Build a network from its plan.

    Raises
    ------
    ConfigError
        The images are too small for the max-pools.
    """
    plan = PLANS[name]
    check_size(name, input_shape, 2 ** plan.layers.count(M))
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for step in plan.layers:
        if isinstance(step, int):
            layers.append(nn.Conv2d(channels, step, plan.kernel, padding=plan.kernel // 2, bias=not plan.normalised))
            layers += [BatchNorm(step), nn.ReLU()] if plan.normalised else [nn.ReLU()]
            channels = step
        else:
            pooled = (2, 2) if step == M else (height, width)
            layers.append(nn.MaxPool2d(pooled))
            height, width = height // pooled[0], width // pooled[1]
    return nn.Sequential(*layers, *_dense([channels * height * width, *plan.hidden], num_classes))


def mlp(input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Build a multilayer perceptron with two hidden layers of 256 units."""
    return _dense([math.prod(input_shape), 256, 256], num_classes)


def _dense(widths: list[int], num_classes: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
