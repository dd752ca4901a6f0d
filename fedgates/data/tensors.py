"""Conversion of examples to tensors, and normalisation of pixels."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedgates.data.dataset import Examples, is_image
from fedgates.data.inputs import mapped
from fedgates.types import PIXELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    Tensors = torch.Tensor | Mapping[str, torch.Tensor]
    """A single input of a network, or several by name."""


def to_tensors(examples: Examples, device: "torch.device | str") -> "tuple[Tensors, torch.Tensor]":
    """Copy examples to a device as tensors; uint8 images stay uint8, which takes a quarter of the memory of float32.

    Returns
    -------
    x : torch.Tensor or dict
        Contiguous input of unchanged dtype, images ``[n, C, H, W]``; a dictionary if there are several inputs.
    y : torch.Tensor
        Labels or targets, with the shape and dtype of ``Examples.y``.
    """
    import torch  # noqa: PLC0415  # takes a second, and commands that only count labels do not need it

    x = mapped(examples.x, lambda each: torch.from_numpy(channels_first(each)).to(device))
    return x, torch.from_numpy(examples.y.copy()).to(device)


def channels_first(array: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous copy of an input with images ``[n, H, W, C]`` permuted to ``[n, C, H, W]``."""
    return np.array(array.transpose(0, 3, 1, 2) if is_image(array) else array, order="C")


def normalise(x: "Tensors") -> Any:  # noqa: ANN401  # as x
    """Normalise inputs for a network: uint8 becomes float32 ``(x / 255 - .5) / .5``, from -1 to 1; others are unchanged."""
    return mapped(x, _normalised)


def _normalised(x: "torch.Tensor") -> "torch.Tensor":
    import torch  # noqa: PLC0415  # as above

    if x.dtype != torch.uint8:
        return x
    (mean,), (std,) = PIXELS
    return x.float().div_(255).sub_(mean).div_(std)
