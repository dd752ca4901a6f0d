"""The public data sets that torchvision reads, and downloads if they are absent."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedgates.data.dataset import Dataset, Examples
from fedgates.errors import ConfigError


class _Source(NamedTuple):
    reader: str
    """The class in torchvision.datasets."""
    place: str
    """The folder that it reads, under the data folder."""


PUBLIC = {
    "mnist": _Source("MNIST", "MNIST/raw"),
    "fashion-mnist": _Source("FashionMNIST", "FashionMNIST/raw"),
    "emnist": _Source("EMNIST", "EMNIST/raw"),
    "cifar10": _Source("CIFAR10", "cifar-10-batches-py"),
    "cifar100": _Source("CIFAR100", "cifar-100-python"),
}


def public(name: str, root: Path) -> Dataset:
    """Read a data set of :data:`PUBLIC` under `root`, and download it if it is not there.

    CIFAR's files are pickles. torchvision compares each with its published digest before it opens it, so
    nothing is unpickled but the one content that everybody has.

    Raises
    ------
    ConfigError
        It is not there and cannot be downloaded, or its files are damaged; names the folder.
    """
    from torchvision import datasets  # noqa: PLC0415 - a second, and only these data sets need it

    source = PUBLIC[name]
    reader = getattr(datasets, source.reader)
    options = {"split": "byclass"} if name == "emnist" else {}
    try:
        train = reader(root, train=True, download=True, **options)
        test = reader(root, train=False, **options)
        names = tuple(map(str, train.classes))
        transposed = name == "emnist"
        return Dataset(name, _examples(train, transposed=transposed), _examples(test, transposed=transposed), len(names), names)
    except Exception as error:  # a network, a disk and foreign formats: OSError, RuntimeError, AssertionError, ...
        reason = (str(error).splitlines() or [""])[0].strip(": ")
        expected = f"its files in {root / source.place}, or a network to download them from ({type(error).__name__}: {reason})"
        raise ConfigError("dataset", name, expected) from error


def _examples(read: Any, *, transposed: bool) -> Examples:  # noqa: ANN401 - torchvision has no types
    images = np.asarray(read.data)
    if images.ndim == 3:
        images = images[..., None]
    if transposed:  # EMNIST's files hold every image column by column
        images = images.transpose(0, 2, 1, 3)
    return Examples(np.ascontiguousarray(images), np.asarray(read.targets, dtype=np.int64))
