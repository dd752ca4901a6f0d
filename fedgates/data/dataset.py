"""Images and labels in memory: what every source gives, checked once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Examples:
    """Images with their labels.

    Attributes
    ----------
    x : numpy.ndarray
        Shape ``[n, H, W, C]``, dtype uint8.
    y : numpy.ndarray
        Shape ``[n]``, dtype int64, none negative.

    Raises
    ------
    ValueError
        Another shape or dtype, different lengths, or a negative label. The message reads on from "expected".
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.x.dtype != np.uint8 or self.x.ndim != 4 or 0 in self.x.shape[1:]:
            raise ValueError(f"uint8 images [n, H, W, C], not {describe(self.x)}")
        if self.y.dtype != np.int64 or self.y.ndim != 1:
            raise ValueError(f"int64 labels [n], not {describe(self.y)}")
        if len(self.x) != len(self.y):
            raise ValueError(f"as many images as labels, not {len(self.x)} and {len(self.y)}")
        if len(self.y) and self.y.min() < 0:
            raise ValueError(f"labels from 0 up, not {self.y.min()}")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, indices: NDArray[np.int64]) -> "Examples":
        """Copy the examples at these indices, in their order."""
        return Examples(self.x[indices], self.y[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples of one task.

    Attributes
    ----------
    name : str
        As in the config.
    train, test : Examples
        At least one training example; a device's own data may have no test examples.
    num_classes : int
        Labels are below it.
    class_names : tuple of str
        One for each class.

    Raises
    ------
    ValueError
        No training example, images of two shapes, a label out of range, or too few or too many names. The message
        reads on from "expected".
    """

    name: str
    train: Examples
    test: Examples
    num_classes: int
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.train):
            raise ValueError("at least one training example, and there is none")
        if self.train.x.shape[1:] != self.test.x.shape[1:]:
            shapes = f"{list(self.train.x.shape[1:])} and {list(self.test.x.shape[1:])}"
            raise ValueError(f"training and test images of one shape, not {shapes}")
        largest = max(int(part.y.max()) for part in (self.train, self.test) if len(part))
        if largest >= self.num_classes:
            raise ValueError(f"labels below {self.num_classes}, the number of classes, not {largest}")
        if len(self.class_names) != self.num_classes:
            raise ValueError(f"{self.num_classes} names of classes, not {len(self.class_names)}")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image, as a network takes it."""
        height, width, channels = self.train.x.shape[1:]
        return channels, height, width


def describe(array: NDArray[np.generic]) -> str:
    """Name an array's dtype and shape for a message."""
    return f"{array.dtype} {list(array.shape)}"
