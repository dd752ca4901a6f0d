"""Scaling of images in arrays."""

from dataclasses import replace

import numpy as np

from fedgates.data.dataset import Array, Dataset, Examples, is_image
from fedgates.data.inputs import by_name, mapped

_BATCH = 1000
"""Number of images to scale at once."""


def resized(dataset: Dataset, size: tuple[int, int] | None) -> Dataset:
    """Return a data set with its images scaled to (height, width), bilinearly with antialiasing; unchanged if `size` is None.

    Raises
    ------
    ValueError
        No input is an image, or the labels are of positions in the image.
    """
    if size is None:
        return dataset
    if not any(is_image(array) for array in by_name(dataset.train.x).values()):
        raise ValueError("data.resize to be empty: no input is an image")
    if dataset.train.task == "positions":
        raise ValueError("data.resize to be empty: the labels are of positions in the image, and would not be scaled")
    train, test = (
        Examples(mapped(part.x, lambda array: scaled(array, size) if is_image(array) else array), part.y)
        for part in (dataset.train, dataset.test)
    )
    return replace(dataset, train=train, test=test)


def scaled(images: Array, size: tuple[int, int]) -> Array:
    """Scale images ``[n, H, W, C]`` to ``[n, *size, C]`` of the same dtype."""
    import torch  # noqa: PLC0415  # takes a second, and only resizing needs it
    from torch.nn import functional as F  # noqa: PLC0415

    out = np.empty((len(images), *size, images.shape[3]), images.dtype)
    for start in range(0, len(images), _BATCH):
        x = torch.from_numpy(np.array(images[start : start + _BATCH].transpose(0, 3, 1, 2), np.float32, order="C"))
        small = F.interpolate(x, size, mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()
        out[start : start + _BATCH] = np.round(small).clip(0, 255) if images.dtype == np.uint8 else small
    return out
