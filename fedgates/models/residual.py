"""Residual networks for small images: He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016.

Both networks have a stem of one 3x3 convolution with stride 1 and no max-pool, stages of basic blocks (two 3x3 convolutions),
1x1 convolutions as shortcuts where the shape changes, and global average pooling. All stages but the first begin with stride 2.

- ``resnet8``: the paper's CIFAR family of 6n + 2 layers (section 4.2) with n = 1: one block in each of the stages with 16, 32
  and 64 channels. In other code, ``resnet8`` may be a wider network.
- ``resnet18``: two blocks in each of the stages with 64, 128, 256 and 512 channels.

Normalisation uses batch statistics only (:class:`fedgates.models.batch_norm.BatchNorm`). Convolutions have no bias, because the
norm after them would subtract it.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from fedgates.models.batch_norm import BatchNorm
from fedgates.models.shapes import Shape, check_size

BLOCKS = {"resnet8": (16, 32, 64), "resnet18": (64, 64, 128, 128, 256, 256, 512, 512)}
"""Number of channels of each block."""


def residual(name: str, input_shape: Shape, num_classes: int) -> nn.Sequential:
    """Build a residual network by name.

    Raises
    ------
    ConfigError
        The images are too small to leave a pixel in the last stage.
    """
    widths = BLOCKS[name]
    check_size(name, input_shape, 2 ** (len(set(widths)) - 1))
    before = widths[0]
    layers: list[nn.Module] = [_convolution(input_shape[0], before), BatchNorm(before), nn.ReLU()]
    for width in widths:
        layers.append(Block(before, width))
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))


class Block(nn.Module):
    """Basic block ``relu(f(x) + x)``, where f has two convolutions.

    If `width` differs from `before`, the block halves the image and its shortcut is a 1x1 convolution.
    """

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
        """Map images ``[n, before, H, W]`` to ``[n, width, H, W]``, or to half that size if the width changes."""
        return F.relu(self.body(x) + self.shortcut(x))


def _convolution(before: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
