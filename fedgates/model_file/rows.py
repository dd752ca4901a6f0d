"""Examples that are no pictures, from an npz file or a table, in the form of a model's inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedgates.data.archive import Archive
from fedgates.data.dataset import Array, describe
from fedgates.data.inputs import SINGLE
from fedgates.data.npz import as_input
from fedgates.data.tables import SUFFIXES, read_features
from fedgates.data.tensors import channels_first
from fedgates.types import InputSpec, Problem
from fedgates.util.text import one_line


class ExampleError(ValueError):
    """Examples are missing or do not fit the model; the message says what is expected."""


@dataclass(frozen=True)
class Rows:
    """Examples in the form of a model's inputs."""

    names: Sequence[str]
    inputs: Mapping[str, Array]
    """Each ``[n, *shape]``, of the dtype of the model's input."""


def read_rows(path: Path, problem: Problem, features: str = "") -> Rows:
    """Read examples.

    Parameters
    ----------
    path : Path
        An npz file with ``x`` or ``x_test`` (several inputs: ``x_NAME`` or ``x_test_NAME``), or a table as in training.
    problem : Problem
        The model's problem.
    features : str
        Columns of a table, with commas; empty uses every column of numbers.

    Raises
    ------
    ExampleError
        The file cannot be used.
    """
    try:
        inputs = _inputs(path, problem, features)
    except OSError as error:
        raise ExampleError(f"{path}: expected a file that can be read ({error.strerror})") from error
    except ValueError as error:
        raise ExampleError(f"{path}: expected {error}") from error
    count = len(next(iter(inputs.values())))
    return Rows([f"example {i}" for i in range(count)], inputs)


def _inputs(path: Path, problem: Problem, features: str) -> dict[str, Array]:
    if path.suffix.lower() == ".npz":
        return _from_npz(Archive(path), problem)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a file of {', '.join((*SUFFIXES, '.npz'))}: the model's inputs are no pictures")
    if len(problem.inputs) > 1:
        raise ValueError(f"an npz file: the model has {len(problem.inputs)} inputs")
    (spec,) = problem.inputs
    return {spec.name: _fitting(read_features(path, features), spec, "the table")}


def _from_npz(archive: Archive, problem: Problem) -> dict[str, Array]:
    found = {spec.name: _find(archive, spec.name, single=len(problem.inputs) == 1) for spec in problem.inputs}
    for spec in problem.inputs:
        header = archive.headers[found[spec.name]]
        sizes = sorted(size for size in header.shape[1:] if size > 1)
        if sizes != sorted(size for size in spec.shape if size > 1):  # before a larger array is unpacked
            raise ValueError(f"examples of {spec.kind} in {one_line(found[spec.name], 40)}, not {header}")
    stored = archive.read(found.values())
    arrays = {}
    for spec in problem.inputs:
        where = one_line(found[spec.name], 40)
        arrays[spec.name] = _fitting(as_input(stored[found[spec.name]], where), spec, where)
    counts = {len(each) for each in arrays.values()}
    if len(counts) > 1:
        raise ValueError(f"as many examples in each input, not {' and '.join(map(str, sorted(counts)))}")
    return arrays


def _find(archive: Archive, name: str, *, single: bool) -> str:
    """Return the name in the file of the array of an input."""
    wanted = ["x", "x_test"] if single else [f"x_{name}", f"x_test_{name}"]
    for key in wanted:
        found = archive.find(key) if single else key
        if found in archive.headers:
            return str(found)
    raise ValueError(f"an array {' or '.join(wanted)} in the file, which has {archive.contents}")


def _fitting(array: Array, spec: InputSpec, where: str) -> Array:
    found = channels_first(array)
    if not len(found):
        raise ValueError(f"at least one example in {where}, and there is none")
    if found.dtype != np.dtype(spec.dtype) or found.shape[1:] != spec.shape:
        name = "" if spec.name == SINGLE else f" of {spec.name}"
        raise ValueError(f"examples{name} of {spec.kind} in {where}, not {describe(found)}")
    return found
