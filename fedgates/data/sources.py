"""Loading of data sets by their names in the configuration, and of a device's own data by path."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fedgates.config.devices import devices_problem
from fedgates.config.libraries import expect_libraries
from fedgates.config.names import DATASETS, OWN_DATASETS, OWN_KINDS, SYNTHETIC, folder, image_size
from fedgates.data.dataset import Dataset, Examples, standardise
from fedgates.data.digits import digits
from fedgates.data.folders import read_folder
from fedgates.data.inputs import SINGLE
from fedgates.data.labels import AUTO
from fedgates.data.npz import read_npz
from fedgates.data.public import PUBLIC, public
from fedgates.data.resizing import resized
from fedgates.data.synthetic import synthetic
from fedgates.data.tables import SUFFIXES, read_table
from fedgates.errors import ClassesError, ConfigError
from fedgates.types import InputSpec, Problem
from fedgates.util.text import name_list, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from fedgates.config import RunConfig
    from fedgates.config.tables import DataTable

_LONGEST = 1000
"""Largest length of the expected part of an error message, which contains paths."""


def source(config: "RunConfig") -> "RunConfig":
    """Return a configuration where all keys that :func:`load` does not read have their defaults.

    Two configurations with equal results load the same data, so the result is the key of a cache.
    """
    from fedgates.config import RunConfig  # noqa: PLC0415  # pydantic, which programs that only load a model do not need

    used = ("task", "standardise", "label", "features", "test_fraction", "resize")
    keys = type(config.data)(**{name: getattr(config.data, name) for name in used})
    if config.dataset in SYNTHETIC:
        return RunConfig(dataset=config.dataset, seed=config.data_seed, synthetic=config.synthetic, data=keys)
    seed = config.data_seed if config.dataset.startswith("table:") else 1
    return RunConfig(dataset=config.dataset, data_dir=config.data_dir, data=keys, seed=seed)


def load(config: "RunConfig") -> Dataset:
    """Load the data set that the config names.

    Parameters
    ----------
    config : RunConfig
        Configuration whose ``dataset`` is ``digits`` (bundled); ``synthetic-linear`` or ``synthetic-logistic``, drawn from
        ``data.seed`` and the table ``synthetic``; ``mnist``, ``fashion-mnist``, ``emnist`` (62 classes), ``cifar10`` or
        ``cifar100``, in ``data-dir`` and downloaded if missing; ``"npz:/abs/file.npz"``, ``"folder:/abs/dir"`` or
        ``"table:/abs/file.csv"``; or ``"devices:SHAPE:OUTPUT"`` (:func:`fedgates.config.devices_problem`), which has no
        examples on this machine.

    Returns
    -------
    Dataset
        Training and test examples; for "devices:...", both are empty.

    Raises
    ------
    ConfigError
        The data set is unknown, is missing and cannot be downloaded, or cannot be used.
    """
    expect_libraries()
    dataset, keys = config.dataset, config.data
    loaded = _load(config)
    task, inputs = loaded.train.task, loaded.problem.inputs
    if keys.task not in (AUTO, task):
        raise ConfigError("data.task", keys.task, f"auto or {task}, the task of the labels of {one_line(dataset)}")
    if not len(loaded.train):
        size = image_size(keys.resize)
        if size is not None and any(spec.shape[1:] != size for spec in inputs if spec.is_image):
            raise ConfigError("data.resize", keys.resize, "empty, or height and width as in dataset")
    if keys.standardise:
        if not len(loaded.train):
            raise ConfigError("data.standardise", True, "false: the server has no training examples to measure")  # noqa: FBT003
        if all(spec.dtype != "float32" for spec in inputs):
            raise ConfigError("data.standardise", True, "false: no input of the data is float32")  # noqa: FBT003
        return standardise(loaded)
    return loaded


def _load(config: "RunConfig") -> Dataset:
    """Load the data set and scale its images."""
    dataset, size = config.dataset, image_size(config.data.resize)
    if dataset == "digits":
        return resized(digits(), size)
    if (problem := devices_problem(dataset)) is not None:
        return _absent(dataset, problem)
    if dataset in SYNTHETIC:
        return synthetic(config)
    if dataset in PUBLIC:
        return resized(public(dataset, folder(config.data_dir)), size)
    return _load_own(config)


def _load_own(config: "RunConfig") -> Dataset:
    dataset = config.dataset
    kind, _, path = dataset.partition(":")
    if kind not in OWN_KINDS:
        expected = f"one of {', '.join(DATASETS)}, {OWN_DATASETS}"
        raise ConfigError("dataset", dataset, expected)
    with _refusing("dataset", dataset):
        loaded = _read(kind, dataset, folder(path), config.data, task=config.data.task, seed=config.data_seed)
    if not len(loaded.test):
        raise ConfigError("dataset", dataset, "at least one test example, but there is none")
    if loaded.num_classes == 1 and loaded.train.task != "multi-label":  # a network with one output is a regression
        raise ConfigError("dataset", dataset, "at least two classes, but there is one")
    return loaded


def _read(
    kind: str, name: str, path: "Path", keys: "DataTable | None", *, problem: Problem | None = None, task: str, seed: int = 0
) -> Dataset:
    """Read a user's own data: a server's without `problem`, or a device's with the `problem` of the run.

    Raises
    ------
    ValueError, OSError
        The data cannot be used or read.
    """
    from fedgates.config.tables import DataTable  # noqa: PLC0415  # pydantic, which programs that only load a model do not need

    keys = keys or DataTable()
    complete = problem is None
    match kind:
        case "table":
            return read_table(name, path, keys, seed=seed, problem=problem)
        case "folder":
            if task not in {AUTO, "classes"}:
                raise ValueError(f"data.task to be auto or classes for an image folder, not {task}")
            return read_folder(name, path, complete=complete, size=image_size(keys.resize))
    return resized(read_npz(name, path, complete=complete, task=task), image_size(keys.resize))


def _absent(name: str, problem: Problem) -> Dataset:
    """Return a data set without examples that has a given problem."""
    (spec,) = problem.inputs
    shape = (*spec.shape[1:], spec.shape[0]) if spec.is_image else spec.shape
    labels = {"classes": (), "regression": (problem.outputs,) if problem.outputs > 1 else (), "multi-label": (problem.outputs,)}
    dtypes = {"regression": np.float32, "multi-label": np.uint8}
    y = np.empty((0, *labels.get(problem.task, problem.positions)), dtypes.get(problem.task, np.int64))
    none = Examples(np.empty((0, *shape), spec.dtype), y)
    classes = 0 if problem.task == "regression" else problem.outputs
    return Dataset(name, none, none, classes, tuple(map(str, range(classes))))


_last = lru_cache(maxsize=1)(load)


def load_once(config: "RunConfig") -> Dataset:
    """Load a data set with :func:`load`, or return the last one if its :func:`source` is the same; do not modify it."""
    return _last(source(config))


def own(path: str, problem: Problem, keys: "DataTable | None" = None) -> Dataset:
    """Load a device's own data from the ``data-path`` of its node config.

    Parameters
    ----------
    path : str
        An ``.npz``, ``.csv`` or ``.parquet`` file or an image folder, absolute or under ``~``. A folder needs a class folder
        for each class, which may be empty, because labels are the positions of the sorted class folders.
    problem : Problem
        Inputs, task and outputs of the run, which the data must fit.
    keys : DataTable, optional
        The run's keys for columns of tables and sizes of images; by default, all keys have their defaults.

    Returns
    -------
    Dataset
        The device's examples; ``test`` may be empty.

    Raises
    ------
    ConfigError
        The data are missing, cannot be used, or do not fit the run.
    ClassesError
        The data name another number of classes than the run has.
    """
    place = folder(path)
    if not place.is_absolute():
        raise ConfigError(
            "data-path", path, "an absolute path, or one under ~ (the app does not run in your working directory)"
        )
    with _refusing("data-path", path):
        is_folder = place.is_dir()
        kind = "folder" if is_folder else "table" if place.suffix.lower() in SUFFIXES else "npz"
        loaded = _read(kind, path, place, keys, problem=problem, task=problem.task)
    found, classes = len(loaded.class_names), 0 if problem.task == "regression" else problem.outputs
    if loaded.named and classes and found != classes:  # a missing class would shift the labels of all classes after it
        of = {
            "folder": "class folders in train/ (empty for a class without images)",
            "table": "labels in the column of data.label, or integers from 0 where some are missing",
            "npz": "names in classes",
        }
        expected = f"{classes} {of[kind]}, not {found}: {name_list(loaded.class_names)}"
        raise ClassesError("data-path", path, expected, loaded.class_names)
    if misfit := _misfit(loaded.problem, problem):
        raise ConfigError("data-path", path, misfit)
    # a device's labels may lack the last classes
    names = loaded.class_names if found == classes else tuple(map(str, range(classes)))
    with _refusing("data-path", path):
        fitting = Dataset(path, loaded.train, loaded.test, classes, names, named=loaded.named)
        return standardise(fitting, problem.inputs)


def _misfit(own: Problem, wanted: Problem) -> str:
    """Describe how a device's data should be to fit the run, to follow "expected"; empty if they fit."""
    mine, theirs = ({spec.name: spec for spec in each.inputs} for each in (own, wanted))
    if set(mine) != set(theirs):
        return f"inputs {name_list(list(theirs))}, not {name_list(list(mine))}"
    differences = [_difference(mine[name], spec) for name, spec in theirs.items()]
    if own.task != wanted.task:
        differences.append(f"labels of the task {wanted.task}, not {own.task}")
    if own.positions != wanted.positions:
        differences.append(f"labels of the shape {list(wanted.positions)} in an example, not {list(own.positions)}")
    if wanted.task == "regression" and own.outputs != wanted.outputs:
        differences.append(f"{wanted.outputs} targets per example, not {own.outputs}")
    return next(filter(None, differences), "")


def _difference(own: InputSpec, wanted: InputSpec) -> str:
    if (own.dtype, own.shape) == (wanted.dtype, wanted.shape):
        return ""
    if wanted.is_image and own.is_image and own.dtype == wanted.dtype:
        return f"images of shape (C, H, W) = {wanted.shape}, not {own.shape}"
    what = "images" if wanted.is_image else "examples" if wanted.name == SINGLE else f"an input {wanted.name}"
    return f"{what} of {wanted.kind}, not {own.kind}"


@contextmanager
def _refusing(key: str, value: str) -> Iterator[None]:
    """Convert exceptions of a reader to a ConfigError with a one-line message, with file names escaped."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise ConfigError(key, value, one_line(f"data that can be read ({where}{error.strerror})", _LONGEST)) from error
    except ValueError as error:
        raise ConfigError(key, value, one_line(error, _LONGEST)) from error
