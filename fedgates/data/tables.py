"""A user's own examples from a table: a CSV or Parquet file with a column, or several, to predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.data.dataset import Dataset, Examples
from fedgates.data.labels import AUTO, read_labels
from fedgates.util.text import name_list, one_line

if TYPE_CHECKING:
    import pandas as pd

    from fedgates.config.tables import DataTable

SUFFIXES = (".csv", ".parquet")
_MOST_NAMED = 12
"""Columns in a message."""


def read_table(name: str, path: Path, keys: "DataTable", *, complete: bool = True, task: str = AUTO, seed: int = 0) -> Dataset:
    """Read a table.

    Parameters
    ----------
    name : str
        The data set's name.
    path : Path
        A ``.csv`` or ``.parquet`` file with a row for each example.
    keys : DataTable
        ``label`` names the columns to predict: one column of text or whole numbers has classes, which are sorted, other numbers
        are a regression, several columns of 0 and 1 are labels. ``features`` names those of the input, by default all other
        numeric columns; they become float32 ``[n, features]``. ``test_fraction`` of the rows are the test part.
    complete : bool
        Whether a test part is split off; a device's own data stay whole.
    task : str
        "auto", or the task of the labels.
    seed : int
        Seed of the split, which takes the same share of each class.

    Raises
    ------
    ValueError
        The file or a column is missing, a feature is not numeric, or a cell is empty; the message continues a line that ends
        with "expected".
    OSError
        The file cannot be read.
    """
    frame = _read(path)
    if not len(frame):
        raise ValueError("at least one row, and there is none")
    labels = [each.strip() for each in keys.label.split(",") if each.strip()]
    if not labels:
        raise ValueError(f"data.label to name the column to predict, one of {_columns(list(frame))}")
    features = [each.strip() for each in keys.features.split(",") if each.strip()]
    _expect_columns(frame, [*labels, *features])
    features = features or [str(each) for each in frame.select_dtypes(["number", "bool"]) if each not in labels]
    x = table_input(frame, features)
    y, names = _targets(frame, labels, task)
    whole = Examples(x, y)
    classes = names if whole.task != "regression" else ()
    test = _test_rows(whole, keys.test_fraction if complete else 0.0, seed)
    parts = [whole.take(np.flatnonzero(chosen)) for chosen in (~test, test)]
    return Dataset(name, parts[0], parts[1], len(classes), classes, named=bool(classes))


def table_input(frame: "pd.DataFrame", features: list[str]) -> NDArray[np.float32]:
    """Return columns as float32 ``[n, features]``.

    Raises
    ------
    ValueError
        There is none, one is missing or not numeric, or a cell is empty.
    """
    _expect_columns(frame, features)
    if not features:
        raise ValueError(f"a numeric column beside those of data.label, of {_columns(list(frame))}")
    numeric = set(frame[features].select_dtypes(["number", "bool"]))
    if odd := [each for each in features if each not in numeric]:
        raise ValueError(f"numbers in the column {one_line(odd[0], 40)} of data.features, not {frame[odd[0]].dtype}")
    _expect_full(frame, features)
    return np.ascontiguousarray(frame[features].to_numpy(np.float32))


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415  # takes half a second, and only tables need it

    if not path.is_file():
        raise ValueError(f"a file, and {'this is a folder' if path.is_dir() else 'there is none'}")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a file that ends in {' or '.join(SUFFIXES)}")
    try:
        return pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except OSError:
        raise
    except Exception as error:  # pandas and pyarrow raise a dozen kinds for a damaged file, all meaning the same
        raise ValueError(f"a table ({one_line(f'{type(error).__name__}: {error}', 200)})") from error


def _targets(frame: "pd.DataFrame", labels: list[str], task: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return labels or targets, and the names of classes or labels."""
    _expect_full(frame, labels)
    if len(labels) > 1:
        if odd := [each for each in labels if each not in frame[labels].select_dtypes(["number", "bool"])]:
            raise ValueError(f"numbers in each column of data.label, not {frame[odd[0]].dtype} in {one_line(odd[0], 40)}")
        values = frame[labels].to_numpy(np.float64)
        several = task == AUTO and bool(np.isin(values, (0, 1)).all())
        wanted = task if task != AUTO else "multi-label" if several else "regression"
        return read_labels(values, "data.label", wanted), tuple(labels)
    column = frame[labels[0]]
    if task == "regression" or (task == AUTO and column.dtype.kind == "f"):
        return read_labels(column.to_numpy(), labels[0], "regression"), ()
    values, places = np.unique(column.to_numpy(), return_inverse=True)
    return read_labels(places, labels[0], task), tuple(map(str, values))


def _test_rows(whole: Examples, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Return which rows are for the test, bool ``[n]``: the share of each class, at least one row of two; else of all rows."""
    chosen = np.zeros(len(whole), np.bool_)
    order = np.argsort(rng.words(len(whole), seed, "test rows"), kind="stable")
    strata = whole.y if whole.task == "classes" else np.zeros(len(whole), np.int64)
    for stratum in np.unique(strata):
        rows = order[strata[order] == stratum]
        count = min(len(rows) - 1, max(1, round(fraction * len(rows)))) if fraction else 0
        chosen[rows[:count]] = True
    return chosen


def _expect_columns(frame: "pd.DataFrame", names: list[str]) -> None:
    if missing := [each for each in names if each not in frame]:
        raise ValueError(f"a column {one_line(missing[0], 40)}, and the table has {_columns(list(frame))}")


def _expect_full(frame: "pd.DataFrame", names: list[str]) -> None:
    empty = frame[names].isna().sum()
    if found := [f"{one_line(name, 40)} has {int(count):,}" for name, count in empty.items() if count]:
        raise ValueError(f"a value in each cell, and of the empty ones {', '.join(found[:_MOST_NAMED])}")


def _columns(names: list[Any]) -> str:
    return name_list([str(each) for each in names])
