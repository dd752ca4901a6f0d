"""Public data sets, downloaded and read by torchvision."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedgates.data.dataset import Dataset, Examples
from fedgates.errors import ConfigError


class _Source(NamedTuple):
    reader: str
    """Name of the class in torchvision.datasets."""
    place: str
    """Folder that the class reads, under the data folder."""


PUBLIC = {
    "mnist": _Source("MNIST", "MNIST/raw"),
    "fashion-mnist": _Source("FashionMNIST", "FashionMNIST/raw"),
    "emnist": _Source("EMNIST", "EMNIST/raw"),
    "cifar10": _Source("CIFAR10", "cifar-10-batches-py"),
    "cifar100": _Source("CIFAR100", "cifar-100-python"),
}


def public(name: str, root: Path) -> Dataset:
    """Read a data set of :data:`PUBLIC` from `root`, and download it if it is missing.

    The files of CIFAR are pickles. torchvision verifies the published digest of each file before opening it, so only the
    published content is unpickled.

    Raises
    ------
    ConfigError
        The data set is missing and cannot be downloaded, or its files are damaged; the message names the folder.
    """
    from torchvision import datasets  # noqa: PLC0415  # takes a second, and only these data sets need it

    source = PUBLIC[name]
    reader = getattr(datasets, source.reader)
    options = {"split": "byclass"} if name == "emnist" else {}
    try:
        train = reader(root, train=True, download=True, **options)
        test = reader(root, train=False, **options)
        names = tuple(map(str, train.classes))
        transposed = name == "emnist"
        return Dataset(name, _examples(train, transposed=transposed), _examples(test, transposed=transposed), len(names), names)
    except Exception as error:  # network, disk and formats: OSError, RuntimeError, AssertionError, ...
        reason = (str(error).splitlines() or [""])[0].strip(": ")
        expected = f"its files in {root / source.place}, or a network to download them ({type(error).__name__}: {reason})"
        raise ConfigError("dataset", name, expected) from error


def _examples(read: Any, *, transposed: bool) -> Examples:  # noqa: ANN401  # torchvision has no types
    images = np.asarray(read.data)
    if images.ndim == 3:
        images = images[..., None]
    if transposed:  # EMNIST's files store images column by column
        images = images.transpose(0, 2, 1, 3)
    return Examples(np.ascontiguousarray(images), np.asarray(read.targets, dtype=np.int64))
