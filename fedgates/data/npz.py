"""A user's own examples from one NumPy file: ``x_train, y_train, x_test, y_test``, and optionally ``classes``."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedgates.data.dataset import Dataset, Examples, describe

MOST_CLASSES = 1 << 16
"""Limit of labels: a larger one is a mistake, and would make a last layer and a list of names of that size."""


def read_npz(name: str, path: Path, *, complete: bool = True) -> Dataset:
    """Read an ``.npz`` file. Nothing in it is unpickled.

    Parameters
    ----------
    name : str
        The data set's name.
    path : Path
        Images are uint8 ``[n, H, W, C]`` or ``[n, H, W]``, labels integers ``[n]``. The optional ``classes`` is a
        one-dimensional array of names; without it the number of classes is the largest label plus one.
    complete : bool
        Whether ``x_test`` and ``y_test`` are required.

    Raises
    ------
    ValueError
        The file is missing, not an npz file, or has other arrays; the message continues a line that ends with "expected".
    """
    arrays = _read(path)
    wanted = ["x_train", "y_train"]
    if complete or "x_test" in arrays or "y_test" in arrays:
        wanted += ["x_test", "y_test"]
    for key in wanted:
        if key not in arrays:
            raise ValueError(f"an array {key} in {path}, which has {', '.join(arrays) or 'none'}")
    train = _examples(arrays, "x_train", "y_train")
    test = _examples(arrays, "x_test", "y_test") if "x_test" in wanted else train.take(np.empty(0, np.int64))
    if not len(train):
        raise ValueError("at least one training example, and there is none")
    names = _names(arrays, max([0, *(int(part.y.max()) + 1 for part in (train, test) if len(part))]))
    return Dataset(name, train, test, len(names), names)


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    if not path.is_file():
        raise ValueError(f"a file {path}, and there is none")
    known = ("x_train", "y_train", "x_test", "y_test", "classes")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in known if key in stored.files}
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged file, all meaning the same
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path} to be an .npz file of plain arrays, without pickled objects ({reason})") from error


def _examples(arrays: dict[str, NDArray[np.generic]], x: str, y: str) -> Examples:
    images, labels = _images(arrays, x), _labels(arrays, y)
    if len(images) != len(labels):
        raise ValueError(f"as many images in {x} as labels in {y}, not {len(images)} and {len(labels)}")
    return Examples(images, labels)


def _images(arrays: dict[str, NDArray[np.generic]], key: str) -> NDArray[np.uint8]:
    images = arrays[key]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(f"uint8 images [n, H, W] or [n, H, W, C] in {key}, not {describe(images)}")
    if images.ndim == 4 and images.shape[1] <= 4 < images.shape[3]:
        raise ValueError(f"images with the channels last, [n, H, W, C], in {key}, not {describe(images)}")
    return np.ascontiguousarray(images if images.ndim == 4 else images[..., None], dtype=np.uint8)


def _labels(arrays: dict[str, NDArray[np.generic]], key: str) -> NDArray[np.int64]:
    labels = arrays[key]
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"integer labels [n] in {key}, not {describe(labels)}")
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) >= MOST_CLASSES):
        raise ValueError(f"labels from 0 to {MOST_CLASSES - 1} in {key}, not {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)


def _names(arrays: dict[str, NDArray[np.generic]], num_classes: int) -> tuple[str, ...]:
    names = arrays.get("classes")
    if names is None:
        return tuple(map(str, range(num_classes)))
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ValueError(f"text [number of classes] in classes, not {describe(names)}")
    return tuple(map(str, names))
