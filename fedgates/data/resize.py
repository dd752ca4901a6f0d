"""Images of a data set scaled to one size."""

from dataclasses import replace

import numpy as np

from fedgates.data.dataset import Array, Dataset, Examples, is_image
from fedgates.data.inputs import by_name, mapped

_BATCH = 1024
"""Number of images that are scaled together."""


def resized(dataset: Dataset, size: tuple[int, int]) -> Dataset:
    """Return the data set with its images scaled to a height and a width, ignoring proportions; other inputs are as they were.

    Scaling is bilinear with antialiasing: that of torchvision, and so the same within rounding as Pillow's, which scales
    pictures in folders (:func:`fedgates.data.pictures.decode`).

    Raises
    ------
    ValueError
        No input is an image, or labels belong to pixels; the message continues a line that ends with "expected".
    """
    images = [array for array in by_name(dataset.train.x).values() if is_image(array)]
    if not images or dataset.support is not None:
        raise ValueError("empty: the data have no images")
    if dataset.train.task == "positions":
        raise ValueError("empty: labels of positions are not scaled with the images")
    train, test = (Examples(mapped(part.x, lambda x: _scaled(x, size)), part.y) for part in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test)


def _scaled(array: Array, size: tuple[int, int]) -> Array:
    if not is_image(array) or array.shape[1:3] == size:
        return array
    import torch  # noqa: PLC0415  # a second, and only scaling needs it
    from torchvision.transforms.v2 import functional  # noqa: PLC0415  # as above

    found = np.empty((len(array), *size, array.shape[3]), array.dtype)
    for start in range(0, len(array), _BATCH):
        part = torch.from_numpy(np.ascontiguousarray(array[start : start + _BATCH].transpose(0, 3, 1, 2)))
        found[start : start + _BATCH] = functional.resize(part, list(size), antialias=True).permute(0, 2, 3, 1).numpy()
    return found
