"""Data sets in memory: inputs with labels or targets, validated on construction."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgates.data.inputs import by_name, take
from fedgates.types import PIXELS, InputSpec, Problem, TaskKind
from fedgates.util.text import one_line

DECILES = 10
IGNORED = -100
"""Label of a position to ignore in loss and metrics, the default ``ignore_index`` of torch."""
Array = NDArray[Any]
"""An array of uint8, float32 or int64."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs with labels, or with targets for regression.

    Attributes
    ----------
    x : numpy.ndarray or mapping
        Shape ``[n, ...]``, dtype uint8, float32 (finite) or int64; images are uint8 or float32 ``[n, H, W, C]``. Several inputs
        are a mapping of names to arrays.
    y : numpy.ndarray
        Labels or targets; dtype and shape determine the task. Classes: int64 ``[n]``, not negative. Regression: float32 ``[n]``
        or ``[n, k]``, finite. Multi-label: uint8 ``[n, k]``, each 0 or 1. Positions: int64 ``[n, *positions]``, with -100 for
        positions to ignore.

    Raises
    ------
    ValueError
        A shape or dtype is wrong, lengths differ, or a value is out of range. The message continues a line that ends with
        "expected".
    """

    x: Array | Mapping[str, Array]
    y: Array

    def __post_init__(self) -> None:
        for name, array in by_name(self.x).items():
            if array.dtype not in (np.uint8, np.float32, np.int64) or array.ndim < 2 or 0 in array.shape[1:]:
                raise ValueError(f"uint8, float32 or int64 [n, ...] in {name}, images [n, H, W, C], not {describe(array)}")
            if len(array) != len(self.y):
                raise ValueError(f"as many examples in {name} as labels, not {len(array)} and {len(self.y)}")
            if array.dtype == np.float32 and not np.isfinite(array).all():
                raise ValueError(f"finite numbers in {name}, but some are not")
        _check_labels(self.y)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def task(self) -> TaskKind:
        """The task that dtype and shape of `y` determine."""
        if self.y.dtype == np.int64:
            return "classes" if self.y.ndim == 1 else "positions"
        return "regression" if self.y.dtype == np.float32 else "multi-label"

    def take(self, indices: NDArray[np.int64]) -> "Examples":
        """Return a copy of the examples at `indices`, in the given order."""
        return Examples(take(self.x, indices), self.y[indices])

    @property
    def strata(self) -> NDArray[np.int64]:
        """Strata for a partition, ``[n]``: labels of classes, deciles (0 to 9) of the first target, otherwise zeros."""
        if self.task == "classes":
            return self.y.astype(np.int64, copy=False)
        ranks = np.zeros(len(self), np.int64)
        if self.task == "regression":
            first = self.y if self.y.ndim == 1 else self.y[:, 0]
            ranks[np.argsort(first, kind="stable")] = np.arange(len(self))
        return ranks * DECILES // max(1, len(self))

    @property
    def largest_label(self) -> int:
        """The largest class label; -1 if there is none."""
        return int(self.y.max()) if self.y.dtype == np.int64 and self.y.size else -1


def _check_labels(y: Array) -> None:
    kind, ndim = y.dtype, y.ndim
    if kind not in (np.int64, np.float32, np.uint8) or not ndim or (kind == np.uint8 and ndim != 2):
        raise ValueError(
            "int64 labels [n], float32 targets [n] or [n, k], uint8 labels [n, k] of 0 and 1, or int64 labels of positions"
            f" [n, ...], not {describe(y)}"
        )
    if 0 in y.shape[1:] or (kind == np.float32 and ndim > 2):
        raise ValueError(f"labels or targets of at least one and, if they are numbers, at most two axes, not {describe(y)}")
    if kind == np.float32 and not np.isfinite(y).all():
        raise ValueError("finite targets, but some are not")
    if kind == np.uint8 and y.size and y.max() > 1:
        raise ValueError(f"labels 0 and 1, not {y.max()}")
    if kind == np.int64 and y.size:
        counted = y if ndim == 1 else y[y != IGNORED]
        if counted.size and counted.min() < 0:
            more = "" if ndim == 1 else f", or {IGNORED} for a position to ignore"
            raise ValueError(f"labels of at least 0{more}, not {counted.min()}")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples of one task.

    Attributes
    ----------
    name : str
        Name in the configuration.
    train, test : Examples
        Training and test examples. Both may be empty; the data of a device may have no test examples.
    num_classes : int
        Number of classes, or of labels per example if the task is "multi-label"; 0 for regression.
    class_names : tuple of str
        Unique names of the classes or labels.
    support : numpy.ndarray or None
        Features with a nonzero true weight, bool ``[features]``, in the order of a flattened input; None if unknown.
    named : bool
        Whether the class names come from the data, so that the names of two data sets can be compared.
    standardised : mapping
        Names of standardised float32 inputs to the mean and the standard deviation that were used.

    Raises
    ------
    ValueError
        There is no training example, the two parts differ in inputs or task, a label is out of range, the number of names is
        wrong, a name occurs twice, or the support has a wrong shape. The message continues a line that ends with "expected".
    """

    name: str
    train: Examples
    test: Examples
    num_classes: int
    class_names: tuple[str, ...]
    support: NDArray[np.bool_] | None = None
    named: bool = False
    standardised: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.train) and len(self.test):
            raise ValueError("at least one training example, but there is none")
        _check_alike(self.train, self.test)
        if bool(self.num_classes) == (self.train.task == "regression"):
            wanted = "labels" if self.num_classes else "float32 targets, without classes"
            raise ValueError(f"{wanted}, not {describe(self.train.y)}")
        largest = max(self.train.largest_label, self.test.largest_label)
        if largest >= self.num_classes > 0:
            raise ValueError(f"labels below {self.num_classes}, the number of classes, not {largest}")
        if self.train.task == "multi-label" and self.train.y.shape[1] != self.num_classes:
            raise ValueError(f"{self.num_classes} labels per example, not {self.train.y.shape[1]}")
        features = sum(spec.size for spec in self.problem.inputs)
        if self.support is not None and (self.support.dtype != np.bool_ or self.support.shape != (features,)):
            raise ValueError(f"a support of dtype bool, [{features}], not {describe(self.support)}")
        if len(self.class_names) != self.num_classes:
            raise ValueError(f"{self.num_classes} class names, not {len(self.class_names)}")
        if twice := [name for name, times in Counter(self.class_names).items() if times > 1]:
            raise ValueError(f"unique class names, but {one_line(twice[0], 40)} occurs twice")

    @cached_property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 digest of all examples and class names; empty without examples."""
        if not len(self.train):
            return ""
        found = hashlib.sha256(json.dumps([self.num_classes, self.class_names]).encode())
        for part in (self.train, self.test):
            for array in (*by_name(part.x).values(), part.y):
                found.update(f"{array.dtype.str} {array.shape} ".encode())
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:16]

    @cached_property
    def problem(self) -> Problem:
        """Inputs, task and outputs of this data set."""
        task, y = self.train.task, self.train.y
        numbers = y.shape[1] if y.ndim == 2 else 1
        positions = y.shape[1:] if task == "positions" else ()
        inputs = tuple(self._spec(name, array) for name, array in by_name(self.train.x).items())
        return Problem(inputs, task, self.num_classes or numbers, positions)

    def _spec(self, name: str, array: Array) -> InputSpec:
        shape = array.shape[1:]
        if is_image(array):
            shape = (shape[2], *shape[:2])
        mean, std = PIXELS if array.dtype == np.uint8 else self.standardised.get(name, ((), ()))
        return InputSpec(name, shape, array.dtype.name, mean, std)  # type: ignore[arg-type]  # one of the three


def _check_alike(train: Examples, test: Examples) -> None:
    shapes = [{name: (a.dtype, a.shape[1:]) for name, a in by_name(part.x).items()} for part in (train, test)]
    for name in shapes[0] | shapes[1]:
        if shapes[0].get(name) != shapes[1].get(name):
            found = " and ".join(f"{each[name][0]} {list(each[name][1])}" if name in each else "none" for each in shapes)
            raise ValueError(f"training and test examples of the same shape, not {found} ({name})")
    if train.task != test.task or train.y.shape[1:] != test.y.shape[1:]:
        raise ValueError(f"training and test labels of the same kind, not {describe(train.y)} and {describe(test.y)}")


def standardise(dataset: Dataset, inputs: tuple[InputSpec, ...] = ()) -> Dataset:
    """Return a copy of a data set with each float32 input replaced by ``(x - mean) / std``.

    Parameters
    ----------
    dataset : Dataset
        The data set; it is not modified.
    inputs : tuple of InputSpec
        Inputs with the mean and standard deviation to use. By default these are computed for each feature (entry of the last
        axis) over the training examples; a constant feature gets a standard deviation of 1.
    """
    given = {spec.name: (spec.mean, spec.std) for spec in inputs if spec.dtype == "float32"}
    used = given if inputs else {n: _moments(a) for n, a in by_name(dataset.train.x).items() if a.dtype == np.float32}
    used = {name: both for name, both in used.items() if both[0]}
    if not used:
        return dataset
    parts = [Examples(_shifted(part.x, used), part.y) for part in (dataset.train, dataset.test)]
    return replace(dataset, train=parts[0], test=parts[1], standardised=used)


def _moments(array: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    rows = array.reshape(-1, array.shape[-1])
    mean, std = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    std[std < 1e-12 * np.maximum(1, np.abs(mean))] = 1
    return tuple(mean.tolist()), tuple(std.tolist())


def _shifted(x: Any, used: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]) -> Any:  # noqa: ANN401  # as Examples.x
    arrays = {
        name: ((a - np.array(used[name][0])) / np.array(used[name][1])).astype(np.float32) if name in used else a
        for name, a in by_name(x).items()
    }
    return arrays if isinstance(x, Mapping) else next(iter(arrays.values()))


def is_image(array: NDArray[Any]) -> bool:
    """Return whether an array holds images ``[n, H, W, C]``: uint8 or float32 with four axes."""
    return array.ndim == 4 and array.dtype in (np.uint8, np.float32)


def describe(array: NDArray[Any]) -> str:
    """Return the dtype and shape of an array for messages."""
    return f"{array.dtype} {list(array.shape)}"
