import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from configs import config_of, with_settings

from fedgates.config import RunConfig
from fedgates.config.tables import DataTable
from fedgates.data import load, load_once, own
from fedgates.data.sources import source
from fedgates.errors import ConfigError
from fedgates.federation import Membership
from fedgates.model_file.prediction import ImageError, read_images

ROWS = {
    "height": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5],
    "count": [1, 2, 3, 4, 5, 6],
    "wet": [True, False, True, True, False, True],
    "note": ["p", "q", "r", "s", "t", "u"],
    "kind": ["oak", "elm", "oak", "elm", "oak", "elm"],
    "size": [2, 1, 0, 0, 1, 2],
    "odd": [5, 7, 5, 7, -1, -1],
    "price": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0],
    "on": [0, 1, 1, 0, 1, 0],
}


def write(path, rows=None, **changes):
    """Write a table in the form that the suffix of `path` names; return the path as text."""
    frame = pd.DataFrame({key: value for key, value in {**(rows or ROWS), **changes}.items() if value is not None})
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return str(path)


def config(path, **keys):
    return config_of(RunConfig, dataset=f"table:{path}", **{f"data.{key}": value for key, value in keys.items()})


def whole(data):
    """Inputs and labels of both parts, in the order of the (first) feature."""
    x, y = np.concatenate([data.train.x, data.test.x]), np.concatenate([data.train.y, data.test.y])
    order = np.argsort(x[:, 0])
    return x[order], y[order]


@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".parquet"])
def test_a_table(tmp_path, suffix):
    data = load(config(write(tmp_path / f"a{suffix}"), label="kind"))
    assert (data.train.x.dtype, data.problem.inputs[0].shape) == (np.float32, (7,))
    x, y = whole(data)
    numbers = sorted(["height", "count", "wet", "size", "odd", "price", "on"])
    assert np.array_equal(x, np.array([ROWS[each] for each in numbers], np.float32).T)
    assert y.tolist() == [1, 0, 1, 0, 1, 0]
    assert (data.class_names, data.named) == (("elm", "oak"), True)


LABELS = {
    "text": ("kind", "auto", "classes", ("elm", "oak"), [1, 0, 1, 0, 1, 0]),
    "integers": ("size", "auto", "classes", ("0", "1", "2"), [2, 1, 0, 0, 1, 2]),
    "other integers": ("odd", "auto", "classes", ("-1", "5", "7"), [1, 2, 1, 2, 0, 0]),
    "bool": ("wet", "auto", "classes", ("False", "True"), [1, 0, 1, 1, 0, 1]),
    "numbers": ("price", "auto", "regression", (), [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]),
    "integers of a regression": ("odd", "regression", "regression", (), [5, 7, 5, 7, -1, -1]),
    "several numbers": ("price, size", "auto", "regression", (), [[0.5, 2], [1, 1], [1.5, 0], [2, 0], [2.5, 1], [3, 2]]),
    "several of 0 and 1": ("on,wet", "auto", "multi-label", ("on", "wet"), [[0, 1], [1, 0], [1, 1], [0, 1], [1, 0], [0, 1]]),
    "several as numbers": ("on,wet", "regression", "regression", (), [[0, 1], [1, 0], [1, 1], [0, 1], [1, 0], [0, 1]]),
    "one of 0 and 1": ("on", "multi-label", "multi-label", ("on",), [[0], [1], [1], [0], [1], [0]]),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(("label", "key", "task", "names", "found"), LABELS.values(), ids=LABELS)
def test_labels_of_each_task(tmp_path, suffix, label, key, task, names, found):
    data = load(config(write(tmp_path / f"a{suffix}"), label=label, features="height,count", task=key))
    x, y = whole(data)
    assert np.array_equal(x, np.array([ROWS["height"], ROWS["count"]], np.float32).T)
    assert (data.train.task, data.class_names) == (task, names)
    assert y.tolist() == found
    assert data.named == (key != "regression" and bool(names))


def test_categories_and_missing_types_of_pandas(tmp_path):
    frame = pd.DataFrame({"a": pd.array([1, 2, 3, 4], "Int64"), "b": pd.Series(["x", "y", "y", "x"]).astype("category")})
    frame.to_parquet(tmp_path / "a.parquet")
    x, y = whole(load(config(tmp_path / "a.parquet", label="b")))
    assert (x.tolist(), y.tolist()) == ([[1], [2], [3], [4]], [0, 1, 1, 0])


def test_numbers_of_rows_are_no_feature(tmp_path, caplog):
    caplog.set_level("INFO")
    pd.DataFrame(ROWS).to_csv(tmp_path / "a.csv")
    data = load(config(tmp_path / "a.csv", label="kind"))
    assert data.problem.inputs[0].shape == (7,)
    assert "unused columns, without a name or not numeric: Unnamed: 0, note" in caplog.text


def test_the_draw_of_test_examples(tmp_path):
    """It has the right size, leaves each class an example, takes classes alike, and is a function of data.seed alone."""
    labels = ["a"] * 50 + ["b"] * 25 + ["c"] * 10 + ["d"]
    path = write(tmp_path / "a.csv", {"x": range(86), "y": labels})
    data = load(config(path, label="y"))
    assert len(data.test) == round(0.2 * 86)
    assert np.bincount(data.test.y, minlength=4).tolist() == [10, 5, 2, 0]
    assert sorted([*data.train.x[:, 0], *data.test.x[:, 0]]) == list(range(86))
    others = [load(config_of(RunConfig, dataset=f"table:{path}", **{"data.label": "y"} | more)) for more in SEEDS]
    assert [np.array_equal(each.test.x, data.test.x) for each in others] == [True, True, False, False]
    most = load(config(path, label="y", **{"test-fraction": 0.9}))
    assert np.bincount(most.train.y).min() == 1


SEEDS = ({"learning-rate": 0.5}, {"seed": 5, "data.seed": 1}, {"seed": 2}, {"data.seed": 7})


def test_its_source_has_what_it_is_read_by(tmp_path):
    base = config(write(tmp_path / "a.csv"), label="kind")
    for key, value in {"label": "size", "features": "odd", "test-fraction": 0.5, "seed": 9, "standardise": True}.items():
        assert source(with_settings(base, **{f"data.{key}": value})) != source(base)
    assert load_once(base) is load_once(with_settings(base, learning_rate=0.5, **{"data.dirichlet-alpha": 3.0}))


def test_standardised_by_the_training_examples(tmp_path):
    path = write(tmp_path / "a.csv", same=[4.0] * 6)
    plain, data = (load(config(path, label="kind", features="height,same", standardise=on)) for on in (False, True))
    mean, std = plain.train.x[:, 0].mean(dtype=np.float64), plain.train.x[:, 0].std(dtype=np.float64)
    for part, raw in ((data.train, plain.train), (data.test, plain.test)):
        assert np.allclose(part.x[:, 0], (raw.x[:, 0] - mean) / std)
        assert (part.x[:, 1] == 0).all()
    (spec,) = data.problem.inputs
    assert spec.mean == pytest.approx((mean, 4))
    assert spec.std == pytest.approx((std, 1))
    device = own(path, data.problem, DataTable(label="kind", features="height,same", standardise=True))
    assert np.allclose(device.train.x[:, 0], (np.array(ROWS["height"]) - mean) / std)


COLUMNS = "height, count, wet, note, kind, size, odd, price and 1 more"
BAD = {
    "no label": ({}, {}, f"the label column in data.label: one of {COLUMNS}"),
    "label absent": ({}, {"label": "Kind"}, f"data.label to name columns of {COLUMNS}, not 'Kind'"),
    "label twice": ({}, {"label": "on, on"}, "data.label to name each column once, not on twice"),
    "feature absent": ({}, {"label": "kind", "features": "x"}, f"data.features to name columns of {COLUMNS}, not 'x'"),
    "feature of text": (
        {},
        {"label": "kind", "features": "count,note"},
        "numbers in the column note of data.features, not text",
    ),
    "feature and label": ({}, {"label": "on", "features": "on,size"}, "data.features without the column on of data.label"),
    "no feature": (
        {each: None for each in ROWS if each not in ("note", "kind")},
        {"label": "kind"},
        r"a numeric column besides the labels, but there is none \(note\)",
    ),
    "nothing beside": (
        {each: None for each in ROWS if each != "kind"},
        {"label": "kind"},
        r"but there is none \(no column\)",
    ),
    "empty cells": (
        {"price": [1.0, None, 2.0, None, 3.0, 4.0], "note": ["p", "q", None, "s", "t", "u"]},
        {"label": "kind"},
        r"no empty cells \(nor NA, NaN, None or null\), but column price has 2 of 6$",
    ),
    "empty labels": (
        {"kind": ["oak", None, "elm", "elm", "oak", "oak"], "price": [1.0, None, 2.0, 2.0, 3.0, 4.0]},
        {"label": "kind"},
        r"column kind has 1 of 6 \(1 more columns have some\)",
    ),
    "beyond float32": (
        {"price": [1e300] * 6},
        {"label": "kind"},
        "finite float32 numbers in the features, but 6 of 42 are not",
    ),
    "text of a regression": (
        {},
        {"label": "kind", "task": "regression"},
        r"numbers in the column kind of data.label, not text \(task regression\)",
    ),
    "numbers of classes": (
        {},
        {"label": "price", "task": "classes"},
        r"integers, text, or true and false in the column price of data.label, not numbers with a fraction \(task classes\)",
    ),
    "positions": (
        {},
        {"label": "size", "task": "positions"},
        r"classes or numbers; a table has no labels of positions, in the column size",
    ),
    "several classes": ({}, {"label": "on,size", "task": "classes"}, "one column in data.label for the task classes, not 2"),
    "several of text": ({}, {"label": "on,kind"}, "numbers in the column kind of several labels, not text"),
    "several not 0 and 1": (
        {},
        {"label": "on,size", "task": "multi-label"},
        r"0 and 1 in the columns on, size, but there are other numbers \(task multi-label\)",
    ),
    "one row": ({each: values[:1] for each, values in ROWS.items()}, {"label": "kind"}, "at least 2 rows, not 1"),
    "one class": ({"kind": ["oak"] * 6}, {"label": "kind"}, "at least two classes, but there is one"),
}


@pytest.mark.parametrize(("changes", "keys", "message"), BAD.values(), ids=BAD)
def test_what_is_refused(tmp_path, changes, keys, message):
    path = write(tmp_path / "a.csv", **changes)
    with pytest.raises(ConfigError, match=message) as error:
        load(config(path, **keys))
    assert str(error.value).startswith(f"dataset = 'table:{path}': expected ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", r"a CSV file \(EmptyDataError: "),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", r"a CSV file \(Parser"),
        ("a.csv", b'a,b\n1,"2\n', r"a CSV file \(Parser"),
        ("a.csv", b"a,b\n1,\xff\n", r"a CSV file \(UnicodeDecodeError: "),
        ("a.parquet", b"PAR1 and no more", r"a Parquet file \(Arrow"),
        ("a.parquet", b"", r"a Parquet file \(Arrow"),
        ("a.xlsx", b"PK", r"a file with the suffix \.csv or \.parquet"),
        ("a.csv", None, "a file, but there is none"),
        ("", None, "a file, but this is a folder"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        load(config(tmp_path / name, label="a"))
    assert "\n" not in str(error.value)


def test_a_name_that_would_forge_a_line(tmp_path):
    path = write(tmp_path / "a.csv", {"a\n\x1b[31mok": ["x", "y"], "b": ["x", "y"]})
    with pytest.raises(ConfigError) as error:
        load(config(path, label="b"))
    assert "\x1b" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("suffix", "missing", "packages"),
    [(".csv", "pandas", "pandas"), (".parquet", "pandas", "pandas pyarrow"), (".parquet", "pyarrow", "pandas pyarrow")],
)
def test_a_device_without_the_packages(tmp_path, monkeypatch, suffix, missing, packages):
    path = write(tmp_path / f"a{suffix}")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=f"to read tables: uv pip install {packages}$") as error:
        own(path, problem(CLASSES), DataTable(label="size", **KEYS))
    assert str(error.value).startswith(f"data-path = '{path}': expected a Python environment with pandas")


# --- a device's own table


def problem(dataset):
    return load(config_of(RunConfig, dataset=dataset)).problem


KEYS = {"features": "height,count"}
CLASSES = "devices:float32:2:3"


def test_all_rows_of_a_device_are_training_examples(tmp_path):
    data = own(write(tmp_path / "a.csv"), problem(CLASSES), DataTable(label="size", **KEYS))
    assert (len(data.train), len(data.test), data.named) == (6, 0, True)
    assert data.train.y.tolist() == ROWS["size"]
    assert np.array_equal(data.train.x, np.array([ROWS["height"], ROWS["count"]], np.float32).T)


def test_integers_of_a_device_may_leave_classes_out(tmp_path):
    data = own(write(tmp_path / "a.parquet", size=[1] * 6), problem(CLASSES), DataTable(label="size", **KEYS))
    assert (data.train.y.tolist(), data.num_classes) == ([1] * 6, 3)


def test_text_of_a_device_needs_every_class(tmp_path):
    path = write(tmp_path / "a.csv")
    data = own(path, problem("devices:float32:2:2"), DataTable(label="kind", **KEYS))
    assert (data.class_names, data.named, data.train.y.tolist()) == (("elm", "oak"), True, [1, 0, 1, 0, 1, 0])
    expected = "3 labels in the column of data.label, or integers from 0 where some are missing, not 2: elm, oak"
    with pytest.raises(ConfigError, match=f"data-path = '{path}': expected {expected}"):
        own(path, problem(CLASSES), DataTable(label="kind", **KEYS))


@pytest.mark.parametrize(
    ("dataset", "label", "found"),
    [
        ("devices:float32:2:regression", "size", ROWS["size"]),
        ("devices:float32:2:regression", "price", ROWS["price"]),
        ("devices:float32:2:regression-2", "on,wet", [[a, int(b)] for a, b in zip(ROWS["on"], ROWS["wet"], strict=True)]),
        ("devices:float32:2:multi-label-1", "on", [[each] for each in ROWS["on"]]),
    ],
)
def test_the_run_decides_what_labels_are(tmp_path, dataset, label, found):
    data = own(write(tmp_path / "a.csv"), problem(dataset), DataTable(label=label, **KEYS))
    assert data.train.y.tolist() == found


@pytest.mark.parametrize(
    ("dataset", "keys", "message"),
    [
        ("devices:float32:3:3", {"label": "size", **KEYS}, r"examples of float32 \(3,\), not float32 \(2,\)"),
        ("devices:uint8:2:3", {"label": "size", **KEYS}, r"examples of uint8 \(2,\), not float32 \(2,\)"),
        ("devices:float32:2:2", {"label": "size", **KEYS}, "2 labels in the column of data.label, .* not 3: 0, 1, 2"),
        ("devices:float32:2:3", {"label": "price", **KEYS}, r"integers, text, .* not numbers with a fraction \(task classes\)"),
        ("devices:float32:2:regression", {"label": "kind", **KEYS}, r"numbers in the column kind .* \(task regression\)"),
        ("devices:float32:2:3", KEYS, "the label column in data.label"),
    ],
)
def test_a_table_of_a_device_that_does_not_fit(tmp_path, dataset, keys, message):
    path = write(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match=message) as error:
        own(path, problem(dataset), DataTable(**keys))
    assert str(error.value).startswith(f"data-path = '{path}': expected ")


# --- prediction


def test_rows_to_predict(tmp_path):
    found = read_images(Path(write(tmp_path / "a.csv")), problem(CLASSES), features="height, count")
    assert np.array_equal(found.pixels, np.array([ROWS["height"], ROWS["count"]], np.float32).T)
    assert found.names == [f"row {i}" for i in range(6)]


@pytest.mark.parametrize(
    ("dataset", "features", "message"),
    [
        (CLASSES, "", r"7 columns of numbers, expected the model's inputs \(x: float32 \(2,\)\)"),
        ("devices:int64:2:3", "height,count", r"2 columns of numbers, expected the model's inputs \(x: int64 \(2,\)\)"),
        (CLASSES, "height,kind", "expected numbers in the column kind of data.features, not text"),
        (CLASSES, "height,x", "expected data.features to name columns of height, .*, not 'x'"),
    ],
)
def test_rows_that_do_not_fit(tmp_path, dataset, features, message):
    path = write(tmp_path / "a.csv")
    with pytest.raises(ImageError, match=f"^{path}: {message}"):
        read_images(Path(path), problem(dataset), features=features)


@pytest.mark.parametrize(("labels", "fits"), [([1, 2, 3], True), ([1, 2, 1], False), ([0, 1, 2], False)])
def test_integers_of_a_device_are_compared_with_those_of_the_run(tmp_path, labels, fits):
    """A device without the last of the classes 1, 2, 3 would take its labels for those of the classes 2 and 3."""
    server = load(config(write(tmp_path / "a.csv", {"x": range(6), "y": [1, 2, 3] * 2}), label="y"))
    device = own(write(tmp_path / "b.csv", {"x": range(3), "y": labels}), server.problem, DataTable(label="y"))
    membership = Membership()
    membership.update([1])
    membership.class_names = server.class_names if server.named else ()
    membership.introduce(1, 0, "", device.class_names if device.named else ())
    membership.compare_classes()
    assert bool(membership.problem) != fits


def test_columns_may_be_in_any_order(tmp_path):
    columns = {"b": [1, 2, 3], "a": [4, 5, 6], "y": [0, 1, 1]}
    server = load(config(write(tmp_path / "server.csv", columns), label="y"))
    other = write(tmp_path / "other.csv", dict(reversed(columns.items())))
    x = own(other, server.problem, DataTable(label="y")).train.x
    assert x.tolist() == [[4, 1], [5, 2], [6, 3]]
    assert np.array_equal(whole(server)[0], x)
    write(tmp_path / "x.csv", {"b": [1, 2, 3], "a": [4, 5, 6]})
    assert np.array_equal(read_images(tmp_path / "x.csv", server.problem).pixels, x)
    assert own(other, server.problem, DataTable(label="y", features="b,a")).train.x.tolist() == [[1, 4], [2, 5], [3, 6]]
