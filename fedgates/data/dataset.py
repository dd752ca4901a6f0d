"""Data sets in memory: images with labels or targets, validated once."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedgates.util.text import one_line

DECILES = 10


@dataclass(frozen=True, eq=False)
class Examples:
    """Images with labels, or with targets in a regression.

    Attributes
    ----------
    x : numpy.ndarray
        Shape ``[n, H, W, C]``, dtype uint8.
    y : numpy.ndarray
        Shape ``[n]``: int64 labels, none negative, or float32 targets, all finite.

    Raises
    ------
    ValueError
        A shape or dtype is wrong, lengths differ, a label is negative, or a target is not finite. The message continues a line
        that ends with "expected".
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64] | NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.x.dtype != np.uint8 or self.x.ndim != 4 or 0 in self.x.shape[1:]:
            raise ValueError(f"uint8 images [n, H, W, C], not {describe(self.x)}")
        if self.y.dtype not in (np.int64, np.float32) or self.y.ndim != 1:
            raise ValueError(f"int64 labels [n] or float32 targets [n], not {describe(self.y)}")
        if len(self.x) != len(self.y):
            raise ValueError(f"as many images as labels, not {len(self.x)} and {len(self.y)}")
        if self.y.dtype == np.float32 and not np.isfinite(self.y).all():
            raise ValueError("finite targets, and some are not")
        if self.y.dtype == np.int64 and len(self.y) and self.y.min() < 0:
            raise ValueError(f"labels from 0 up, not {self.y.min()}")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, indices: NDArray[np.int64]) -> "Examples":
        """Return a copy of the examples at these indices, in this order."""
        return Examples(self.x[indices], self.y[indices])

    @property
    def strata(self) -> NDArray[np.int64]:
        """Strata of a partition, ``[n]``: the labels, or the decile of each target, 0 to 9."""
        if self.y.dtype == np.int64:
            return self.y.astype(np.int64, copy=False)
        ranks = np.empty(len(self), np.int64)
        ranks[np.argsort(self.y, kind="stable")] = np.arange(len(self))
        return ranks * DECILES // max(1, len(self))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples of one task.

    Attributes
    ----------
    name : str
        Name in the configuration.
    train, test : Examples
        At least one training example, unless both are empty; a device's own data may have no test examples.
    num_classes : int
        Number of classes; 0 in a regression, whose examples have targets.
    class_names : tuple of str
        One name per class, all different.
    support : numpy.ndarray or None
        Features with a nonzero true weight, ``[C*H*W]`` bool, in the order of a flattened image; None if unknown.
    named : bool
        Whether the data themselves name their classes, so that the names of two data sets can be compared.

    Raises
    ------
    ValueError
        There is no training example, images have two shapes, a regression has labels or a classification targets, a label is
        out of range, the number of names is wrong, a name occurs twice, or the
        support has another shape. The message continues a line that ends with "expected".
    """

    name: str
    train: Examples
    test: Examples
    num_classes: int
    class_names: tuple[str, ...]
    support: NDArray[np.bool_] | None = None
    named: bool = False

    def __post_init__(self) -> None:
        if not len(self.train) and len(self.test):
            raise ValueError("at least one training example, and there is none")
        if self.train.x.shape[1:] != self.test.x.shape[1:]:
            shapes = f"{list(self.train.x.shape[1:])} and {list(self.test.x.shape[1:])}"
            raise ValueError(f"training and test images of one shape, not {shapes}")
        kind, wanted = (np.int64, "int64 labels") if self.num_classes else (np.float32, "float32 targets, without classes")
        for part in (self.train, self.test):
            if part.y.dtype != kind:
                raise ValueError(f"{wanted}, not {describe(part.y)}")
        largest = max((int(part.y.max()) for part in (self.train, self.test) if len(part)), default=0)
        if self.num_classes and largest >= self.num_classes:
            raise ValueError(f"labels below {self.num_classes}, the number of classes, not {largest}")
        if self.support is not None and (self.support.dtype != np.bool_ or self.support.shape != (self.train.x[0].size,)):
            raise ValueError(f"a support of dtype bool, [{self.train.x[0].size}], not {describe(self.support)}")
        if len(self.class_names) != self.num_classes:
            raise ValueError(f"{self.num_classes} names of classes, not {len(self.class_names)}")
        if twice := [name for name, count in Counter(self.class_names).items() if count > 1]:
            raise ValueError(f"a name of its own for each class, and two have the name {one_line(twice[0], 40)}")

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of all examples and class names; empty without examples."""
        if not len(self.train):
            return ""
        found = hashlib.sha256(json.dumps([self.num_classes, self.class_names]).encode())
        for array in (self.train.x, self.train.y, self.test.x, self.test.y):
            found.update(f"{array.dtype.str} {array.shape} ".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:16]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        height, width, channels = self.train.x.shape[1:]
        return channels, height, width


def describe(array: NDArray[np.generic]) -> str:
    """Return an array's dtype and shape for a message."""
    return f"{array.dtype} {list(array.shape)}"
