"""Reader of a user's own table with one example per row: a CSV file with a header, or a Parquet file."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.data.dataset import Array, Dataset, Examples
from fedgates.data.labels import MOST_CLASSES
from fedgates.types import Problem, TaskKind
from fedgates.util.text import name_list, one_line

if TYPE_CHECKING:
    from fedgates.config.tables import DataTable

log = logging.getLogger("fedgates")
SUFFIXES = (".csv", ".parquet")
_NAMELESS = "Unnamed: "
"""Prefix of the name that pandas gives to an unnamed column of a CSV file, which often holds row numbers."""
_Labels = tuple[Array, tuple[str, ...], bool]
"""Labels, class names, and whether the names come from the table."""


def read_table(name: str, path: Path, keys: "DataTable", *, seed: int = 0, problem: Problem | None = None) -> Dataset:
    """Read a table.

    Parameters
    ----------
    name : str
        Name of the data set.
    path : Path
        A file with one of the :data:`SUFFIXES`.
    keys : DataTable
        Configuration keys ``label``, ``features``, ``test_fraction`` and ``task``.
    seed : int
        Seed for choosing the test examples.
    problem : Problem, optional
        Problem of the run, for a device's table: all rows are training examples, and numeric labels need not cover all classes.

    Returns
    -------
    Dataset
        Inputs are float32 ``[n, features]``, in the order of ``features`` or sorted by column name. A label column of text,
        bools or integers gives classes, one of floats a regression. Several label columns are multi-label if all values are 0
        or 1, otherwise a regression.

    Raises
    ------
    ValueError
        The file is missing or not a table, a column is missing or cannot be used, or cells are empty; the message continues a
        line that ends with "expected".
    OSError
        The file cannot be read.
    """
    frame = _read(path)
    columns = list(frame.columns)
    labels = _chosen(keys.label, "data.label", columns)
    if not labels:
        raise ValueError(f"the label column in data.label: one of {name_list(columns)}")
    features = _features(frame, keys.features, labels)
    _check_cells(frame, [*labels, *features])
    least = 2 if problem is None else 1
    if len(frame) < least:
        raise ValueError(f"at least {least} rows, not {len(frame)}")
    x = _inputs(frame, features)
    task = problem.task if problem and keys.task == "auto" else keys.task
    y, names, named = _labels(frame, labels, task, problem)
    everything = Examples(x, y)
    rows = np.arange(len(frame))
    test = rows[:0] if problem else _test_rows(y, keys.test_fraction, seed)
    return Dataset(name, everything.take(np.setdiff1d(rows, test)), everything.take(test), len(names), names, named=named)


def read_features(path: Path, listed: str = "") -> NDArray[np.float32]:
    """Read columns of a table as float32 ``[n, features]``.

    Parameters
    ----------
    path : Path
        A file with one of the :data:`SUFFIXES`.
    listed : str
        Names of columns, separated by commas, in order; empty reads all numeric columns, sorted by name.

    Raises
    ------
    ValueError, OSError
        As for :func:`read_table`.
    """
    frame = _read(path)
    features = _features(frame, listed, [])
    _check_cells(frame, features)
    return _inputs(frame, features)


def _inputs(frame: Any, features: list[str]) -> NDArray[np.float32]:  # noqa: ANN401  # a pandas.DataFrame, which has no types
    return _to_float32(np.stack([_numbers(frame[each]) for each in features], axis=1), "the features")


def _read(path: Path) -> Any:  # noqa: ANN401  # as above
    if not path.is_file():
        raise ValueError(f"a file, but {'this is a folder' if path.is_dir() else 'there is none'}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"a file with the suffix {' or '.join(SUFFIXES)}")
    try:
        import pandas as pd  # noqa: PLC0415  # takes half a second, and devices without tables need not install it

        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more cells than the header
            if suffix == ".csv":
                frame = pd.read_csv(path, encoding="utf-8-sig", low_memory=False, index_col=False)
            else:
                frame = pd.read_parquet(path)
    except ImportError as error:
        packages = "pandas" if suffix == ".csv" else "pandas and pyarrow"
        raise ValueError(
            f"a Python environment with {packages} to read tables: uv pip install {packages.replace(' and', '')}"
        ) from error
    except Exception as error:  # pandas and pyarrow raise many types of exceptions for a damaged file
        if isinstance(error, OSError) and error.strerror:
            raise
        kind = "CSV" if suffix == ".csv" else "Parquet"
        raise ValueError(f"a {kind} file ({one_line(f'{type(error).__name__}: {error}', 120)})") from error
    frame.columns = [str(each) for each in frame.columns]
    if not frame.columns.is_unique:
        raise ValueError(f"unique column names, but {one_line(frame.columns[frame.columns.duplicated()][0], 40)} occurs twice")
    return frame


def _chosen(listed: str, key: str, columns: list[str]) -> list[str]:
    """Return the columns that a key lists, separated by commas; raise a ValueError for unknown or repeated ones."""
    chosen = [each.strip() for each in listed.split(",")] if listed.strip() else []
    for each in chosen:
        if each not in columns:
            raise ValueError(f"{key} to name columns of {name_list(columns)}, not {one_line(each, 40)!r}")
        if chosen.count(each) > 1:
            raise ValueError(f"{key} to name each column once, not {one_line(each, 40)} twice")
    return chosen


def _features(frame: Any, listed: str, labels: list[str]) -> list[str]:  # noqa: ANN401  # as above
    columns = list(frame.columns)
    chosen = _chosen(listed, "data.features", columns)
    for each in chosen:
        if each in labels:
            raise ValueError(f"data.features without the column {one_line(each, 40)} of data.label")
        if not _is_numeric(frame[each]):
            raise ValueError(f"numbers in the column {one_line(each, 40)} of data.features, not {_kind(frame[each])}")
    if not chosen:
        others = sorted(each for each in columns if each not in labels)
        chosen = [each for each in others if _is_numeric(frame[each]) and not each.startswith(_NAMELESS)]
        if not chosen:
            raise ValueError(f"a numeric column besides the labels, but there is none ({name_list(others) or 'no column'})")
        if passed_over := [each for each in others if each not in chosen]:
            log.info("unused columns, without a name or not numeric: %s", name_list(passed_over))
    return chosen


def _check_cells(frame: Any, columns: list[str]) -> None:  # noqa: ANN401  # as above
    counts = {each: int(frame[each].isna().sum()) for each in columns}
    if empty := [f"{one_line(each, 40)} has {count:,}" for each, count in counts.items() if count]:
        more = f" ({len(empty) - 1:,} more columns have some)" if len(empty) > 1 else ""
        raise ValueError(f"no empty cells (nor NA, NaN, None or null), but column {empty[0]} of {len(frame):,}{more}")


def _labels(frame: Any, columns: list[str], task: str, problem: Problem | None) -> _Labels:  # noqa: ANN401  # as above
    if len(columns) > 1 or task == "multi-label":
        return _several(frame, columns, task)
    (column,) = columns
    values, where = frame[column], f"the column {one_line(column, 40)} of data.label"
    found: TaskKind = "regression" if _kind(values) == "numbers with a fraction" else "classes"
    if task == "regression" and _kind(values) == "integers":
        found = "regression"
    if task not in ("auto", found):
        forms = {"classes": "integers, text, or true and false", "regression": "numbers"}
        wanted = forms.get(task, "classes or numbers; a table has no labels of positions,")
        raise ValueError(f"{wanted} in {where}, not {_kind(values)} (task {task})")
    if found == "regression":
        return _to_float32(_numbers(values), where), (), False
    return _classes(values, where, problem)


def _several(frame: Any, columns: list[str], task: str) -> _Labels:  # noqa: ANN401  # as above
    for each in columns:
        if not _is_numeric(frame[each]):
            raise ValueError(f"numbers in the column {one_line(each, 40)} of several labels, not {_kind(frame[each])}")
    if task not in ("auto", "regression", "multi-label"):
        raise ValueError(f"one column in data.label for the task {task}, not {len(columns)}")
    numbers = np.stack([_numbers(frame[each]) for each in columns], axis=1)
    is_on_off = bool(np.isin(numbers, (0, 1)).all())
    if task == "multi-label" and not is_on_off:
        raise ValueError(f"0 and 1 in the columns {name_list(columns)}, but there are other numbers (task multi-label)")
    if task != "regression" and is_on_off:
        return numbers.astype(np.uint8), tuple(columns), True
    return _to_float32(numbers, "the labels"), (), False


def _classes(values: Any, where: str, problem: Problem | None) -> _Labels:  # noqa: ANN401  # as above
    kind = _kind(values)
    if kind == "true and false":
        return values.to_numpy(np.int64), ("False", "True"), True
    if kind not in ("integers", "text"):
        raise ValueError(f"integers, text, true and false, or numbers in {where}, not {kind}")
    names, labels = np.unique(values.to_numpy(np.int64 if kind == "integers" else object), return_inverse=True)
    if len(names) > MOST_CLASSES:
        raise ValueError(f"at most {MOST_CLASSES} classes in {where}, not {len(names):,}")
    if kind == "integers":
        classes = problem.outputs if problem else len(names)
        if names[0] >= 0 and names[-1] < classes:
            return names[labels], tuple(map(str, range(classes))), True
        text = '%d different integers in %s are used as class names (data.task = "regression" uses them as numbers)'
        log.info(text, len(names), where)
    return labels.astype(np.int64), tuple(map(str, names)), True


def _test_rows(y: Array, fraction: float, seed: int) -> NDArray[np.int64]:
    """Choose the rows of the test examples, the same share of each class; at least one example per class stays for training."""
    order = np.argsort(rng.words(len(y), seed, "test-rows"), kind="stable")
    classes = y if y.dtype == np.int64 else np.zeros(len(y), np.int64)
    place = np.empty(len(y))
    kept = 0
    for label in np.unique(classes):
        rows = order[classes[order] == label]
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        place[rows[-1]] = 1
        kept += 1
    count = min(max(1, round(fraction * len(y))), len(y) - kept)
    return np.sort(order[np.argsort(place[order], kind="stable")[:count]])


def _is_numeric(values: Any) -> bool:  # noqa: ANN401  # a pandas.Series
    return _kind(values) in {"integers", "numbers with a fraction", "true and false"}


def _kind(values: Any) -> str:  # noqa: ANN401  # as above
    """Describe the type of a column's values."""
    from pandas.api import types  # noqa: PLC0415  # as above

    if types.is_bool_dtype(values.dtype):
        return "true and false"
    if types.is_integer_dtype(values.dtype):
        return "integers"
    if types.is_float_dtype(values.dtype):
        return "numbers with a fraction"
    text = isinstance(values.dtype, types.CategoricalDtype) or types.is_string_dtype(values.dropna())
    return "text" if text else one_line(values.dtype, 40)


def _numbers(values: Any) -> NDArray[np.float64]:  # noqa: ANN401  # as above
    return np.asarray(values.to_numpy(np.float64))


def _to_float32(numbers: NDArray[np.float64], where: str) -> NDArray[np.float32]:
    """Convert numbers to float32.

    Raises
    ------
    ValueError
        A number is not finite, or out of the range of float32.
    """
    with np.errstate(over="ignore"):
        found = numbers.astype(np.float32)
    if bad := found.size - int(np.isfinite(found).sum()):
        raise ValueError(f"finite float32 numbers in {where}, but {bad:,} of {found.size:,} are not")
    return found
