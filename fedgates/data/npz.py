"""A user's own examples from one NumPy file: ``x_train, y_train, x_test, y_test``, and optionally ``classes``."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedgates.data.archive import Archive, check_channels
from fedgates.data.dataset import Dataset, Examples, describe
from fedgates.util.text import name_list, one_line

log = logging.getLogger("fedgates")
MOST_CLASSES = 1 << 16
"""Limit of labels: a larger one is a mistake, and would make a last layer and a list of names of that size."""
_PARTS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(name: str, path: Path, *, complete: bool = True) -> Dataset:
    """Read an ``.npz`` file. Nothing in it is unpickled.

    Parameters
    ----------
    name : str
        The data set's name.
    path : Path
        Images are uint8 ``[n, H, W, C]`` or ``[n, H, W]``, labels integers ``[n]`` or ``[n, 1]``. The optional ``classes`` is a
        one-dimensional array of names; without it the number of classes is the largest label plus one. Arrays may have other
        common names (:data:`fedgates.data.archive.SPELLINGS`).
    complete : bool
        Whether ``x_test`` and ``y_test`` are required, and a training example of every class.

    Raises
    ------
    ValueError
        The file is missing, not an npz file, or has other arrays; the message continues a line that ends with "expected".
    OSError
        The file cannot be read.
    """
    archive = Archive(path)
    found = {key: own for key in (*_PARTS, "classes") if (own := archive.find(key)) is not None}
    has_test = complete or "x_test" in found or "y_test" in found
    for key in _PARTS if has_test else _PARTS[:2]:
        if key not in found:
            raise ValueError(f"an array {key} in the file, which has {archive.contents}")
    stored = archive.read(found.values())
    arrays = {key: stored[own] for key, own in found.items()}
    train = _examples(arrays, "x_train", "y_train")
    test = _examples(arrays, "x_test", "y_test") if has_test else train.take(np.empty(0, np.int64))
    if not len(train):
        raise ValueError("at least one training example, and there is none")
    names = _names(arrays, max([0, *(int(part.y.max()) + 1 for part in (train, test) if len(part))]))
    loaded = Dataset(name, train, test, len(names), names, named="classes" in arrays)
    if complete:
        _check_every_class(loaded)
        if unused := [each for each in archive.headers if each not in found.values()]:
            log.info("arrays of %s that are not used: %s", one_line(path), one_line(", ".join(unused)))
    return loaded


def _check_every_class(dataset: Dataset) -> None:
    """Raise a ValueError if a class has no training example: labels start at 1, or have gaps."""
    missing = np.setdiff1d(np.arange(dataset.num_classes), dataset.train.y)
    if len(missing) == 1 and missing[0] == 0 and not dataset.named:
        largest = dataset.num_classes - 1
        raise ValueError(f"labels from 0 up in y_train, and they start at 1 (subtract 1 from labels 1 to {largest})")
    if len(missing):
        names = name_list([dataset.class_names[label] for label in missing])
        found = f"{len(missing):,} of {dataset.num_classes:,} classes have none: {names}"
        raise ValueError(f"a training example of each class (labels from 0 without gaps), and {found}")


def _examples(arrays: dict[str, NDArray[np.generic]], x: str, y: str) -> Examples:
    images, labels = _images(arrays, x), _labels(arrays, y)
    if len(images) != len(labels):
        raise ValueError(f"as many images in {x} as labels in {y}, not {len(images)} and {len(labels)}")
    return Examples(images, labels)


def _images(arrays: dict[str, NDArray[np.generic]], key: str) -> NDArray[np.uint8]:
    images = arrays[key]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(f"uint8 images [n, H, W] or [n, H, W, C] in {key}, not {describe(images)}")
    check_channels(key, images)
    return np.ascontiguousarray(images if images.ndim == 4 else images[..., None], dtype=np.uint8)


def _labels(arrays: dict[str, NDArray[np.generic]], key: str) -> NDArray[np.int64]:
    labels = arrays[key]
    if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2) or labels.shape[1:] not in ((), (1,)):
        raise ValueError(f"integer labels [n] or [n, 1] in {key}, not {describe(labels)}")
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) >= MOST_CLASSES):
        raise ValueError(f"labels from 0 to {MOST_CLASSES - 1} in {key}, not {labels.min()} to {labels.max()}")
    return labels.reshape(-1).astype(np.int64)


def _names(arrays: dict[str, NDArray[np.generic]], num_classes: int) -> tuple[str, ...]:
    names = arrays.get("classes")
    if names is None:
        return tuple(map(str, range(num_classes)))
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) > MOST_CLASSES:
        raise ValueError(f"text [number of classes] in classes, not {describe(names)}")
    return tuple(map(str, names))
