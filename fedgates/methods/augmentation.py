"""Random changes of the images of a training batch, those of torchvision.transforms.v2 (key `data.augment`)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fedgates.errors import ConfigError
from fedgates.types import InputSpec, Problem

_PADDING, _DEGREES = 8, 10
"""A crop pads by an eighth of the height; rotations are of at most so many degrees."""


def check_augmentation(names: str, problem: Problem) -> None:
    """Check that there are images to change.

    Raises
    ------
    ConfigError
        No input is an image, labels are of positions in it, or a change is for uint8 images alone; names `data.augment`.
    """
    if not names:
        return
    images = [spec for spec in problem.inputs if spec.is_image]
    if not images:
        raise ConfigError("data.augment", names, "empty: no input is an image")
    if problem.task == "positions":
        raise ConfigError("data.augment", names, "empty: the labels are of positions in the image, and would not move with it")
    if "trivial" in names.split(",") and any(spec.dtype != "uint8" for spec in images):
        raise ConfigError("data.augment", names, "no trivial, which is for uint8 images alone")
    if "trivial" in names.split(",") and any(spec.shape[0] not in {1, 3} for spec in images):
        raise ConfigError("data.augment", names, "no trivial, which is for images of one or three channels alone")


def augmented(x: Tensor, names: str) -> Tensor:
    """Return images ``[n, C, H, W]``, each changed by a draw of its own from torch's global generator."""
    change = _transform(names, x.shape[2], x.shape[3])
    return torch.stack([change(image) for image in x])


def is_image(x: Tensor) -> bool:
    """Return whether a tensor is of images, as :attr:`InputSpec.is_image` of its spec."""
    return InputSpec("x", tuple(x.shape[1:]), "int64" if x.dtype == torch.int64 else "float32").is_image


def _transform(names: str, height: int, width: int) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2  # noqa: PLC0415  # a second, and only runs that change images need it

    makers: dict[str, Callable[[], Any]] = {
        "flip": v2.RandomHorizontalFlip,
        "crop": lambda: v2.RandomCrop((height, width), padding=max(1, height // _PADDING)),
        "rotate": lambda: v2.RandomRotation(_DEGREES),
        "trivial": v2.TrivialAugmentWide,
    }
    composed: Callable[[Tensor], Tensor] = v2.Compose([makers[name]() for name in names.split(",")])
    return composed
