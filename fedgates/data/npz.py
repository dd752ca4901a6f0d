"""A user's own examples from one NumPy file: ``x_train, y_train, x_test, y_test``, and optionally ``classes``."""

import keyword
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgates.data.archive import Archive, check_channels
from fedgates.data.dataset import Array, Dataset, Examples, describe, is_image
from fedgates.data.inputs import SINGLE
from fedgates.data.labels import MOST_CLASSES, AnyTask, as_labels, task_of, to_float32
from fedgates.types import TaskKind
from fedgates.util.text import name_list, one_line

log = logging.getLogger("fedgates")


def read_npz(name: str, path: Path, *, complete: bool = True, task: AnyTask = "auto") -> Dataset:
    """Read an ``.npz`` file. Nothing in it is unpickled.

    Parameters
    ----------
    name : str
        The data set's name.
    path : Path
        ``x_train`` is uint8, floats (which become float32) or other integers (int64) of two axes or more; uint8 of three axes
        are grey images ``[n, H, W]``. Several inputs are ``x_train_NAME``. ``y_train`` is what :func:`as_labels` accepts. The
        optional ``classes`` is a one-dimensional array of the names of classes or labels; without it the number of classes is
        the largest label plus one. Arrays may have other common names (:data:`fedgates.data.archive.SPELLINGS`).
    complete : bool
        Whether ``x_test`` and ``y_test`` are required, and a training example of every class.
    task : str
        What the labels are; "auto" decides by their dtype and shape (:func:`task_of`).

    Raises
    ------
    ValueError
        The file is missing, not an npz file, or has other arrays; the message continues a line that ends with "expected".
    OSError
        The file cannot be read.
    """
    archive = Archive(path)
    x_train, x_test = (_inputs(archive, key) for key in ("x_train", "x_test"))
    others = {key: own for key in ("y_train", "y_test", "classes") if (own := archive.find(key)) is not None}
    has_test = complete or bool(x_test) or "y_test" in others
    present = {"x_train": x_train, "y_train": others.get("y_train"), "x_test": x_test, "y_test": others.get("y_test")}
    for key in list(present) if has_test else ["x_train", "y_train"]:
        if not present[key]:
            raise ValueError(f"an array {key} in the file, which has {archive.contents}")
    used = [*x_train.values(), *x_test.values(), *others.values()]
    stored = archive.read(used)
    arrays = {key: stored[own] for key, own in others.items()}
    found = task_of(arrays["y_train"]) if task == "auto" else task
    if found == "regression" and "classes" in arrays:
        kind = describe(arrays["y_train"])
        raise ValueError(f"no array classes beside the numbers of a regression, or integer labels in y_train, not {kind}")
    train = _examples(x_train, stored, arrays, "train", found)
    test = _examples(x_test, stored, arrays, "test", found) if has_test else train.take(np.empty(0, np.int64))
    if not len(train):
        raise ValueError("at least one training example, and there is none")
    outputs = train.y.shape[1] if found == "multi-label" else 1 + max(0, train.largest_label, test.largest_label)
    names = () if found == "regression" else _names(arrays, outputs)
    loaded = Dataset(name, train, test, len(names), names, named="classes" in arrays)
    if complete:
        if found == "classes":
            check_every_class(loaded)
        if unused := [each for each in archive.headers if each not in used]:
            log.info("arrays of %s that are not used: %s", one_line(path), one_line(", ".join(unused)))
    return loaded


def check_every_class(dataset: Dataset) -> None:
    """Raise a ValueError if a class has no training example: labels start at 1, or have gaps."""
    missing = np.setdiff1d(np.arange(dataset.num_classes), dataset.train.y)
    if len(missing) == 1 and missing[0] == 0 and not dataset.named:
        largest = dataset.num_classes - 1
        raise ValueError(f"labels from 0 up in y_train, and they start at 1 (subtract 1 from labels 1 to {largest})")
    if len(missing):
        names = name_list([dataset.class_names[label] for label in missing])
        found = f"{len(missing):,} of {dataset.num_classes:,} classes have none: {names}"
        raise ValueError(f"a training example of each class (labels from 0 without gaps), and {found}")


def _inputs(archive: Archive, key: str) -> dict[str, str]:
    """Return the names of the arrays of a part's inputs: of the only one under "x", or of several under their own names."""
    if (single := archive.find(key)) is not None:
        return {SINGLE: single}
    found: dict[str, str] = {}
    for array in sorted(archive.headers):
        if not array.lower().startswith(f"{key}_"):
            continue
        name = array[len(key) + 1 :]
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"the name of an argument in Python after {key}_, not {one_line(name, 40)!r}")
        if name in found:
            raise ValueError(f"one array {key}_{name}, not both {one_line(found[name], 40)} and {one_line(array, 40)}")
        found[name] = array
    if len(found) == 1:
        (array,) = found.values()
        raise ValueError(f"{key} for a single input, or two or more arrays {key}_NAME, not {one_line(array, 40)}")
    return found


def _examples(
    inputs: Mapping[str, str],
    stored: Mapping[str, NDArray[np.generic]],
    arrays: Mapping[str, NDArray[np.generic]],
    part: str,
    task: TaskKind,
) -> Examples:
    key = f"y_{part}"
    y = as_labels(arrays[key], task, key)
    x = {}
    for name, array in inputs.items():
        where = f"x_{part}" if name == SINGLE else f"x_{part}_{name}"
        x[name] = as_input(stored[array], where)
        if len(x[name]) != len(y):
            raise ValueError(f"as many examples in {where} as labels in {key}, not {len(x[name])} and {len(y)}")
    return Examples(x[SINGLE] if list(x) == [SINGLE] else x, y)


def as_input(array: NDArray[Any], where: str) -> Array:
    """Return an input in the form of :class:`~fedgates.data.dataset.Examples`.

    Raises
    ------
    ValueError
        It is none; the message, which names the array `where`, continues a line that ends with "expected".
    """
    if array.ndim < 2 or array.dtype.kind not in "uif":
        raise ValueError(f"uint8, other integers or floats [n, ...] of two axes or more in {where}, not {describe(array)}")
    if array.dtype.kind == "f":
        found: Array = to_float32(array, where)
    elif array.dtype == np.uint8:
        found = np.ascontiguousarray(array[..., None] if array.ndim == 3 else array)
    else:
        if array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise ValueError(f"integers of 64 bits with a sign in {where}, not {array.max()}")
        found = array.astype(np.int64)
    if is_image(found):
        check_channels(where, array)
    return found


def _names(arrays: Mapping[str, NDArray[np.generic]], outputs: int) -> tuple[str, ...]:
    names = arrays.get("classes")
    if names is None:
        return tuple(map(str, range(outputs)))
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) > MOST_CLASSES:
        raise ValueError(f"text [number of classes] in classes, not {describe(names)}")
    return tuple(map(str, names))
