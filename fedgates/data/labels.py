"""Labels of each task from an array of a file."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedgates.data.dataset import IGNORED, describe
from fedgates.types import TaskKind

AnyTask = Literal["auto", "classes", "regression", "multi-label", "positions"]
"""A value of the key `data.task`."""
MOST_CLASSES = 1 << 16
"""Limit of labels: a larger one is a mistake, and would make a last layer and a list of names of that size."""
_FORMS: dict[TaskKind, tuple[str, str]] = {
    "classes": ("iub", "integer labels [n] or [n, 1]"),
    "regression": ("iuf", "numbers [n] or [n, k]"),
    "multi-label": ("iub", "labels 0 and 1, or bool, [n, k]"),
    "positions": ("iub", "integer labels [n, ...] of two axes or more"),
}
"""For each task the kinds of dtype that its labels may have, and what they are in a message."""


def task_of(labels: NDArray[Any]) -> TaskKind:
    """Return the task of labels of this dtype and shape: that of ``data.task = "auto"``."""
    if labels.dtype.kind == "f":
        return "regression"
    if labels.ndim < 2 or labels.shape[1:] == (1,):
        return "classes"
    return "multi-label" if labels.dtype == np.bool_ and labels.ndim == 2 else "positions"


def as_labels(labels: NDArray[Any], task: TaskKind, where: str) -> NDArray[Any]:
    """Return labels in the form of :class:`~fedgates.data.dataset.Examples`.

    Parameters
    ----------
    labels : numpy.ndarray
        As a file has them.
    task : str
        What they are.
    where : str
        Name of the array, for a message.

    Raises
    ------
    ValueError
        They are not labels of this task; the message continues a line that ends with "expected".
    """
    kinds, form = _FORMS[task]
    axes = {"classes": labels.ndim == 1 or labels.shape[1:] == (1,), "regression": labels.ndim in (1, 2)}
    fits = axes.get(task, labels.ndim == 2 if task == "multi-label" else labels.ndim > 1)
    if labels.dtype.kind not in kinds or not fits:
        raise ValueError(f"{form} in {where}, not {describe(labels)} (task {task})")
    if task == "regression":
        targets = to_float32(labels, where)
        return targets.reshape(-1) if targets.shape[1:] == (1,) else targets
    least, most = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if task == "multi-label":
        if least < 0 or most > 1:
            raise ValueError(f"labels 0 and 1 in {where}, not {least} to {most}")
        return labels.astype(np.uint8)
    if task == "positions":
        counted = labels[labels != IGNORED]
        least = int(counted.min()) if counted.size else 0
    if least < 0 or most >= MOST_CLASSES:
        more = f", or {IGNORED} for a position to ignore," if task == "positions" else ""
        raise ValueError(f"labels from 0 to {MOST_CLASSES - 1}{more} in {where}, not {least} to {most}")
    return labels.astype(np.int64).reshape(-1) if task == "classes" else labels.astype(np.int64)


def to_float32(numbers: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Return numbers as float32.

    Raises
    ------
    ValueError
        Some are not finite, or beyond float32.
    """
    with np.errstate(over="ignore"):
        found = numbers.astype(np.float32)
    if bad := found.size - int(np.isfinite(found).sum()):
        raise ValueError(f"finite float32 numbers in {where}, and {bad:,} of {found.size:,} are not")
    return found
