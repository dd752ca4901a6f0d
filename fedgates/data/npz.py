"""Reader of a user's own NumPy file with ``x_train, y_train, x_test, y_test``, and optionally ``classes``."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgates.data.archive import Archive, check_channels
from fedgates.data.dataset import Dataset, Examples, describe, is_image
from fedgates.data.labels import AUTO, MOST_CLASSES, read_labels
from fedgates.util.text import name_list, one_line

log = logging.getLogger("fedgates")
_PARTS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(name: str, path: Path, *, complete: bool = True, task: str = AUTO) -> Dataset:
    """Read an ``.npz`` file. Nothing in it is unpickled.

    Parameters
    ----------
    name : str
        Name of the data set.
    path : Path
        The file. Inputs ``[n, ...]`` are uint8, other integers (converted to int64) or floats (converted to float32). Images
        are uint8 or floats ``[n, H, W, C]``; uint8 ``[n, H, W]`` are images with one channel. Several inputs are arrays
        ``x_train_NAME`` and ``x_test_NAME``. For labels see :func:`fedgates.data.labels.read_labels`. The optional ``classes``
        is a one-dimensional array of names; without it, the number of classes is the largest label plus one. Arrays may have
        other common names (:data:`fedgates.data.archive.SPELLINGS`).
    complete : bool
        Whether to require ``x_test``, ``y_test`` and a training example of every class.
    task : str
        "auto", or the task of the labels.

    Raises
    ------
    ValueError
        The file is missing or not an ``.npz`` file, or its arrays cannot be used; the message continues a line that ends with
        "expected".
    OSError
        The file cannot be read.
    """
    archive = Archive(path)
    inputs = {part: _inputs_of(archive, part) for part in ("x_train", "x_test")}
    found = {key: own for key in ("y_train", "y_test", "classes") if (own := archive.find(key)) is not None}
    present = {**{part: True for part, names in inputs.items() if names}, **found}
    has_test = complete or "x_test" in present or "y_test" in present
    for key in _PARTS if has_test else _PARTS[:2]:
        if key not in present:
            raise ValueError(f"an array {key} in the file, which has {archive.contents}")
    used = [*(own for names in inputs.values() for own in names.values()), *found.values()]
    stored = archive.read(used)
    arrays = {key: stored[own] for key, own in found.items()}
    train = _examples(_read(stored, inputs["x_train"], "x_train"), arrays, "y_train", task)
    if has_test:
        test = _examples(_read(stored, inputs["x_test"], "x_test"), arrays, "y_test", task)
    else:
        test = train.take(np.empty(0, np.int64))
    if not len(train):
        raise ValueError("at least one training example, but there is none")
    names = _names(arrays, train, test)
    loaded = Dataset(name, train, test, len(names), names, named="classes" in arrays and train.task != "regression")
    if complete:
        if train.task == "classes":
            _check_every_class(loaded)
        if train.task == "regression" and task == AUTO and "classes" not in arrays:
            log.info("y_train has floats, so the task is a regression (data.task sets another)")
        if unused := [each for each in archive.headers if each not in used]:
            log.info("unused arrays in %s: %s", one_line(path), one_line(", ".join(unused)))
    return loaded


def _inputs_of(archive: Archive, part: str) -> dict[str, str]:
    """Return the array names of the inputs in "x_train" or "x_test", by input name; a single input is named ""."""
    if (single := archive.find(part)) is not None:
        return {"": single}
    several = {}
    for own in archive.headers:
        if own.lower().startswith(f"{part}_"):
            name = own[len(part) + 1 :]
            if not name.isidentifier():
                raise ValueError(f"{part}_ followed by an input's name, as in {part}_left, not {one_line(own, 40)}")
            several[name] = own
    return dict(sorted(several.items()))


def _read(stored: Mapping[str, NDArray[Any]], names: Mapping[str, str], part: str) -> Any:  # noqa: ANN401  # as Examples.x
    read = {name: read_input(stored[own], f"{part}_{name}" if name else part) for name, own in names.items()}
    return read.get("", read)


def _check_every_class(dataset: Dataset) -> None:
    """Raise a ValueError if a class has no training example, because labels start at 1 or have gaps."""
    missing = np.setdiff1d(np.arange(dataset.num_classes), dataset.train.y)
    if len(missing) == 1 and missing[0] == 0 and not dataset.named:
        largest = dataset.num_classes - 1
        raise ValueError(f"labels from 0 in y_train, but they start at 1 (subtract 1 from labels 1 to {largest})")
    if len(missing):
        names = name_list([dataset.class_names[label] for label in missing])
        found = f"{len(missing):,} of {dataset.num_classes:,} classes have none: {names}"
        raise ValueError(f"a training example of each class (labels from 0 without gaps), but {found}")


def _examples(x: Any, arrays: dict[str, NDArray[Any]], key: str, task: str) -> Examples:  # noqa: ANN401  # as Examples.x
    y = read_labels(arrays[key], key, task)
    for name, array in x.items() if isinstance(x, dict) else [("", x)]:
        if len(array) != len(y):
            part = key.replace("y", "x", 1) + (f"_{name}" if name else "")
            kind = "images" if is_image(array) else "examples"
            raise ValueError(f"as many {kind} in {part} as labels in {key}, not {len(array)} and {len(y)}")
    return Examples(x, y)


def read_input(array: NDArray[Any], key: str) -> NDArray[Any]:
    """Convert an input to the dtype and shape of :class:`fedgates.data.Examples`.

    Raises
    ------
    ValueError
        The array is not numeric, or its channels are first; the message continues a line that ends with "expected".
    """
    if array.dtype.kind not in "biuf" or not array.ndim:
        raise ValueError(f"integers or floats [n, ...] in {key}, images [n, H, W, C], not {describe(array)}")
    dtype = np.uint8 if array.dtype == np.uint8 else np.int64 if array.dtype.kind in "iu" else np.float32
    if array.ndim == 1 or (array.ndim == 3 and dtype == np.uint8):
        array = array[..., None]
    converted = np.ascontiguousarray(array, dtype=dtype)
    if is_image(converted):
        check_channels(key, array)
    return converted


def _names(arrays: dict[str, NDArray[Any]], train: Examples, test: Examples) -> tuple[str, ...]:
    names = arrays.get("classes")
    if train.task == "regression":
        return ()
    if names is None:
        count = train.y.shape[1] if train.task == "multi-label" else max(train.largest_label, test.largest_label) + 1
        return tuple(map(str, range(count)))
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) > MOST_CLASSES:
        raise ValueError(f"text [number of classes] in classes, not {describe(names)}")
    return tuple(map(str, names))
