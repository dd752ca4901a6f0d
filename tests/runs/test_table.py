"""Runs as rows: what is in them, which are selected, their order, CSV and text."""

import io
import json

import pandas as pd
import pytest
from round_lines import line

from fedgates.errors import ConfigError
from fedgates.runs.listing import list_runs
from fedgates.runs.table import matching, ordered, read_rows, runs_table, to_csv

SETTINGS = {
    "strategy": "fedpm",
    "dataset": "digits",
    "seed": 1,
    "num-server-rounds": 2,
    "local-epochs": 3,
    "loss": "",
    "a.b": True,
}


def write(base, name, lines, **settings):
    (base / name).mkdir()
    values = SETTINGS | {key.replace("_", "-"): value for key, value in settings.items()}
    (base / name / "config.json").write_text(json.dumps(values))
    (base / name / "rounds.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


@pytest.fixture
def base(tmp_path):
    write(tmp_path, "a", [line(1, accuracy=0.5), line(2, accuracy=0.75)])
    write(tmp_path, "b", [line(1, accuracy=0.9), line(2, accuracy=None)], strategy="fedavg", learning_rate=0.5)
    write(tmp_path, "c", [], local_epochs=10)
    return tmp_path


def names(rows):
    return [row["name"] for row in rows]


def test_a_row_has_results_and_settings(base):
    first, second, third = read_rows(base)
    assert {key: first[key] for key in ("name", "strategy", "rounds", "of_rounds", "metric", "reached", "accuracy")} == {
        "name": "a",
        "strategy": "fedpm",
        "rounds": 2,
        "of_rounds": 2,
        "metric": "accuracy",
        "reached": 0.75,
        "accuracy": 0.75,
    }
    one = line(1)
    assert (first["bytes_up"], first["bytes_down"]) == (2 * one["uplink_bytes"], 2 * one["downlink_bytes"])
    assert first["bytes"] == first["bytes_up"] + first["bytes_down"]
    assert first["seconds"] == 2 * one["seconds"]
    assert (first["local-epochs"], first["a.b"], first["loss"], first["config.loss"]) == (3, True, one["loss"], "")
    assert second["accuracy"] == 0.9  # of the last round that was evaluated
    assert "accuracy" not in third
    assert not {"round", "uplink_bytes", "figures", "settings"} & first.keys()


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ([], ["a", "b", "c"]),
        (["strategy=fedpm"], ["a", "c"]),
        (["strategy!=fedpm"], ["b"]),
        (["accuracy>0.75"], ["b"]),
        (["accuracy >= 0.75"], ["a", "b"]),
        (["accuracy<9e-1", "strategy=fedpm"], ["a"]),
        (["accuracy!=0.75"], ["b", "c"]),
        (["local-epochs<=3"], ["a", "b"]),
        (["a.b=true"], ["a", "b", "c"]),
        (["a.b=false"], []),
        (["config.loss="], ["a", "b", "c"]),
        (["name>a"], ["b", "c"]),
        (["learning-rate=.5"], ["b"]),
    ],
)
def test_conditions(base, conditions, found):
    assert names(matching(read_rows(base), conditions)) == found


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("accuracy", "--where = 'accuracy': expected COLUMN=VALUE, or !=, <, <=, > or >= instead of ="),
        ("=3", "--where = '=3': expected COLUMN=VALUE, or !=, <, <=, > or >= instead of ="),
        ("accuracy>high", "--where = 'accuracy>high': expected a number, like the values of the column"),
    ],
)
def test_a_bad_condition_is_one_line(base, condition, message):
    with pytest.raises(ConfigError) as caught:
        matching(read_rows(base), [condition])
    assert str(caught.value) == message


def test_a_misspelt_column_is_one_line(base):
    with pytest.raises(ConfigError) as caught:
        matching(read_rows(base), ["acuracy>0.9"])
    expected = "a column of fedgates runs --csv, such as accuracy, bytes or strategy; did you mean accuracy?"
    assert str(caught.value) == f"--where = 'acuracy>0.9': expected {expected}"


def test_order(base):
    rows = read_rows(base)
    assert names(ordered(rows, "accuracy")) == ["a", "b", "c"]
    assert names(ordered(rows, "accuracy", reverse=True)) == ["b", "a", "c"]  # one without a value is last either way
    assert names(ordered(rows, "strategy")) == ["b", "a", "c"]
    with pytest.raises(ConfigError, match=r"^--sort = 'x': expected a column of fedgates runs --csv, such as accuracy"):
        ordered(rows, "x")
    assert ordered([], "x") == matching([], ["x=1"]) == []


def test_csv_is_what_pandas_reads(base):
    rows = read_rows(base)
    read = pd.read_csv(io.StringIO(to_csv(rows)), index_col="name")
    assert list(read.index) == ["a", "b", "c"]
    for row in rows:
        for key, value in row.items():
            if key not in {"name", "problems"} and value not in (None, ""):
                assert read.loc[row["name"], key] == value, key
    assert pd.isna(read.loc["c", "accuracy"])
    assert to_csv([]) == ""


def test_no_text_breaks_a_line_of_csv(base):
    write(base, "d\x1b[2J", [], strategy='a,"b"\nc\x1b[2J')
    text = to_csv(read_rows(base))
    assert text.replace("\n", "").isprintable()
    assert list(pd.read_csv(io.StringIO(text))["strategy"])[-1] == 'a,"b" c\\x1b[2J'


def test_the_text_has_columns_for_settings_that_differ(base):
    header, *cells = (each.split() for each in runs_table(list(list_runs(base))).splitlines())
    assert header[-3:] == ["model,", "bytes", "local-epochs"]
    assert [row[-1] for row in cells] == ["3", "3", "10"]
    (base / "c" / "config.json").unlink()
    assert runs_table(list(list_runs(base))).splitlines()[0].split()[-2:] == ["model,", "bytes"]  # one value of learning-rate


def test_the_text_names_what_has_no_column(base):
    write(base, "d", [], **{f"own_{i}": i for i in range(9)})
    write(base, "e", [], **{f"own_{i}": i + 1 for i in range(9)})
    lines = runs_table(list(list_runs(base))).splitlines()
    assert lines[0].split()[-6:] == ["local-epochs", "own-0", "own-1", "own-2", "own-3", "own-4"]
    assert lines[-1] == "other settings that differ: own-5, own-6, own-7, own-8"
