"""Residual networks for small images: He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016.

Both have a 3x3 convolution of stride 1 without max-pool as their stem, stages of basic blocks (two 3x3 convolutions) of which
all but the first begin with stride 2, 1x1 convolutions as shortcuts where the shape changes, and the mean over the last maps.

- ``resnet8``: the paper's CIFAR family of 6n + 2 layers (section 4.2) with n = 1: one block in each of the stages 16, 32, 64.
  Other code calls wider networks of eight layers by the same name.
- ``resnet18``: two blocks in each of the stages 64, 128, 256, 512.

Normalisation is by batch statistics alone (:class:`fedgates.models.batch_norm.BatchNorm`); convolutions before it have no bias,
which it would subtract.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from fedgates.models.batch_norm import BatchNorm
from fedgates.models.shapes import Shape, check_size

BLOCKS = {"resnet8": (16, 32, 64), "resnet18": (64, 64, 128, 128, 256, 256, 512, 512)}
"""The width of each block."""


def residual(name: str, input_shape: Shape, num_classes: int) -> nn.Sequential:
    """Build the residual network of this name; images have at least a pixel a side left in the last stage."""
    widths = BLOCKS[name]
    check_size(name, input_shape, 2 ** (len(set(widths)) - 1))
    before = widths[0]
    layers: list[nn.Module] = [_convolution(input_shape[0], before), BatchNorm(before), nn.ReLU()]
    for width in widths:
        layers.append(Block(before, width))
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))


class Block(nn.Module):
    """``relu(f(x) + x)`` with f two convolutions; a wider one halves the image, and has a 1x1 convolution for a shortcut."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.body = nn.Sequential(
            _convolution(before, width, stride), BatchNorm(width), nn.ReLU(), _convolution(width, width), BatchNorm(width)
        )
        self.shortcut = nn.Sequential()
        if before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), BatchNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[n, before, H, W]`` to ``[n, width, H, W]``, or half that size."""
        return F.relu(self.body(x) + self.shortcut(x))


def _convolution(before: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
