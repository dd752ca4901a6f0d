"""Tables as data: columns, classes, the split, and what is wrong with them."""

import numpy as np
import pandas as pd
import pytest

from fedgates.config import RunConfig, parse
from fedgates.config.tables import DataTable
from fedgates.data import load, own
from fedgates.errors import ConfigError

ROWS = 40
FRAME = pd.DataFrame(
    {
        "age": np.arange(ROWS),
        "dose": np.linspace(0, 1, ROWS),
        "smokes": np.arange(ROWS) % 2 == 0,
        "town": ["b", "a", "c", "a"] * (ROWS // 4),
        "ill": np.arange(ROWS) % 2,
    }
)


def written(path, frame=FRAME, suffix="csv"):
    file = path / f"t.{suffix}"
    frame.to_csv(file, index=False) if suffix == "csv" else frame.to_parquet(file)
    return file


def loaded(file, **settings):
    keys = {f"data.{name.replace('_', '-')}": value for name, value in settings.items()}
    return load(parse(RunConfig, {"dataset": f"table:{file}", **keys}))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_classes_of_text_are_sorted_and_features_are_the_other_numbers(tmp_path, suffix):
    found = loaded(written(tmp_path, suffix=suffix), label="town")
    assert found.class_names == ("a", "b", "c")
    assert found.problem.shape == (4,)  # age, dose, smokes, ill
    assert (len(found.train), len(found.test)) == (32, 8)
    assert np.bincount(found.test.y).tolist() == [4, 2, 2]  # a fifth of each class
    rows = {row.tobytes(): label for part in (found.train, found.test) for row, label in zip(part.x, part.y, strict=True)}
    expected = FRAME[["age", "dose", "smokes", "ill"]].to_numpy(np.float32)
    assert [found.class_names[rows[row.tobytes()]] for row in expected] == FRAME["town"].tolist()


def test_the_split_follows_from_the_seed_of_the_data(tmp_path):
    file = written(tmp_path)
    first, same, other = (loaded(file, label="town", seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.test.x, same.test.x)
    assert not np.array_equal(first.test.x, other.test.x)


@pytest.mark.parametrize(
    ("label", "settings", "problem"),
    [
        ("ill", {}, ("classes", 2)),
        ("dose", {}, ("regression", 1)),
        ("age", {"task": "regression"}, ("regression", 1)),
        ("age,dose", {}, ("regression", 2)),
        ("ill, smokes", {}, ("multi-label", 2)),
    ],
)
def test_the_task_follows_from_the_column(tmp_path, label, settings, problem):
    found = loaded(written(tmp_path), label=label, features="age,dose", **settings)
    assert (found.problem.task, found.problem.outputs) == problem
    assert found.problem.shape == (2,)


EMPTY = FRAME.assign(dose=FRAME["dose"].where(FRAME["age"] > 2))


@pytest.mark.parametrize(
    ("frame", "settings", "message"),
    [
        (FRAME, {}, "data.label to name the column to predict, one of age, dose, smokes, town, ill"),
        (FRAME, {"label": "nothing"}, "a column nothing, and the table has age, dose, smokes, town, ill"),
        (FRAME, {"label": "ill", "features": "age,height"}, "a column height, and the table has age"),
        (FRAME, {"label": "ill", "features": "age,town"}, "numbers in the column town of data.features, not "),
        (FRAME, {"label": "ill,town"}, "numbers in each column of data.label"),
        (EMPTY, {"label": "ill"}, "a value in each cell, and of the empty ones dose has 3"),
        (EMPTY, {"label": "dose"}, "a value in each cell, and of the empty ones dose has 3"),
        (FRAME[["town", "ill"]], {"label": "ill"}, "a numeric column beside those of data.label"),
        (FRAME[:0], {"label": "ill"}, "at least one row"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path, frame, settings, message):
    with pytest.raises(ConfigError, match=r"^dataset = 'table:.*: expected ") as error:
        loaded(written(tmp_path, frame), **settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_table(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00bad,\x00")
    with pytest.raises(ConfigError, match="expected a table"):
        loaded(tmp_path / "t.csv", label="a")
    with pytest.raises(ConfigError, match=r"a file that ends in \.csv or \.parquet"):
        loaded(written(tmp_path).rename(tmp_path / "t.tsv"), label="ill")


def test_a_device_has_a_table_of_its_own(tmp_path):
    file = written(tmp_path)
    problem = loaded(file, label="town").problem
    found = own(str(file), problem, DataTable(label="town"))
    assert (len(found.train), len(found.test), found.named) == (ROWS, 0, True)
    with pytest.raises(ConfigError, match=r"3 classes in data.label, not 2: a, b"):
        own(str(written(tmp_path, FRAME[FRAME["town"] != "c"])), problem, DataTable(label="town"))
