"""Conversion of a file's labels to those of :class:`fedgates.data.Examples`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgates.data.dataset import IGNORED, describe

AUTO = "auto"
MOST_CLASSES = 1 << 16
"""Largest number of classes; a larger label is a mistake, and would make the last layer and the list of names as large."""
_ACCEPTED = {
    "classes": "integer labels [n] or [n, 1]",
    "regression": "numbers [n] or [n, k]",
    "multi-label": "labels 0 and 1, [n, k]",
    "positions": "integer labels [n, ...], one for each position",
}


def read_labels(array: NDArray[Any], key: str, task: str = AUTO) -> NDArray[Any]:
    """Convert labels to the dtype and shape of their task.

    Parameters
    ----------
    array : numpy.ndarray
        Labels. With the task "auto", integers or bools ``[n]`` are "classes", floats are "regression", bools or uint8 0 and 1
        ``[n, k]`` are "multi-label", and other integers ``[n, ...]`` are "positions".
    key : str
        Name of the array, for messages.
    task : str
        "auto", or a task (:data:`fedgates.types.TaskKind`).

    Raises
    ------
    ValueError
        The labels do not fit the task; the message continues a line that ends with "expected".
    """
    task = _task(array) if task == AUTO else task
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and task != "multi-label" else array
    numbers = array.dtype.kind in "biuf"
    whole = numbers and (array.dtype.kind != "f" or bool((array == np.floor(array)).all()))
    fits = {
        "classes": whole and array.ndim == 1,
        "regression": numbers and array.ndim in (1, 2),
        "multi-label": numbers and array.ndim == 2 and bool(np.isin(array, (0, 1)).all()),
        "positions": whole and array.ndim > 1,
    }
    if not fits[task]:
        raise ValueError(f"{_ACCEPTED[task]} in {key} for the task {task}, not {describe(array)}")
    if task == "regression":
        return array.astype(np.float32)
    if task == "multi-label":
        return array.astype(np.uint8)
    classes = array.astype(np.int64)
    counted = classes if task == "classes" else classes[classes != IGNORED]
    if counted.size and (counted.min() < 0 or counted.max() >= MOST_CLASSES):
        raise ValueError(f"labels from 0 to {MOST_CLASSES - 1} in {key}, not {counted.min()} to {counted.max()}")
    return classes


def _task(array: NDArray[Any]) -> str:
    if array.dtype.kind == "f":
        return "regression"
    if array.ndim < 2 or array.shape[1:] == (1,):
        return "classes"
    several = array.ndim == 2 and array.dtype in (np.bool_, np.uint8) and (not array.size or array.max() <= 1)
    return "multi-label" if several else "positions"
