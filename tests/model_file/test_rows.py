"""Predictions for examples that are no pictures, of each task."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fedgates.model_file.prediction import format_predictions, predictions
from fedgates.model_file.rows import ExampleError, Rows, read_rows
from fedgates.types import InputSpec, Problem

TABLE = Problem((InputSpec("x", (2,), "float32"),), "classes", 3)
TWO = Problem((InputSpec("a", (2,), "float32"), InputSpec("b", (3,), "int64")), "classes", 3)
X = np.array([[1.0, 2], [3, 4], [5, 6]])
TOKENS = np.arange(9).reshape(3, 3)


class Given(nn.Module):
    """A model with these outputs."""

    def __init__(self, outputs, task, names=()):
        super().__init__()
        self.outputs = torch.tensor(outputs)
        self.facts = SimpleNamespace(problem=SimpleNamespace(task=task), class_names=names)

    def forward(self, x):
        return self.outputs[x[:, 0].long()]


ROWS = Rows(["example 0", "example 1"], {"x": np.array([[0.0], [1.0]], np.float32)})
NAMES = ("red", "round", "\x1b[2J")


@pytest.mark.parametrize(
    ("outputs", "task", "names", "found", "text"),
    [
        (
            [[0.0, 2.0, -100.0], [0.0, 0.0, 100.0]],
            "classes",
            NAMES,
            [{"labels": [{"label": "round", "probability": 0.8808}]}, {"labels": [{"label": NAMES[2], "probability": 1}]}],
            "example 0  round 88.1 %\nexample 1  \\x1b[2J 100.0 %",
        ),
        (
            [[0.0, 2.0, 3.0], [-1.0, -1.0, -0.1]],
            "multi-label",
            NAMES,
            [
                {"labels": [{"label": NAMES[2], "probability": 0.9526}, {"label": "round", "probability": 0.8808}]},
                {"labels": []},
            ],
            "example 0  \\x1b[2J 95.3 %  round 88.1 %\nexample 1  none",
        ),
        ([[0.25], [-3.0]], "regression", (), [{"value": 0.25}, {"value": -3}], "example 0  0.25\nexample 1  -3"),
        (
            [[0.25, 1], [-3.0, 2]],
            "regression",
            (),
            [{"values": [0.25, 1]}, {"values": [-3, 2]}],
            "example 0  0.25  1\nexample 1  -3  2",
        ),
        (
            [[[0.0, 1, 1], [1, 0, 0]], [[1.0, 1, 1], [0, 0, 0]]],
            "positions",
            NAMES[:2],
            [{"positions": [1, 0, 0]}, {"positions": [0, 0, 0]}],
            "example 0  red 2  round 1\nexample 1  red 3",
        ),
    ],
    ids=["classes", "multi-label", "regression", "regression of two", "positions"],
)
def test_predictions_of_each_task(outputs, task, names, found, text):
    results = predictions(Given(outputs, task, names), ROWS, 1)
    assert [each.pop("example") for each in list(map(dict, results))] == ROWS.names
    for result, wanted in zip(results, found, strict=True):
        for each, other in zip(result.get("labels", []), wanted.get("labels", []), strict=True):
            assert each == {"label": other["label"], "probability": pytest.approx(other["probability"], abs=1e-4)}
        assert {key: value for key, value in result.items() if key not in ("example", "labels")} == {
            key: value for key, value in wanted.items() if key != "labels"
        }
    assert format_predictions(results, names) == text


def test_files_are_read_as_in_training(tmp_path):
    frame = pd.DataFrame(X, columns=["u", "v"]).assign(note="n", id=[7, 8, 9])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", x=X)
    np.savez(tmp_path / "b.npz", x_test=X.astype(np.float16), y_test=TOKENS)
    read = [read_rows(tmp_path / name, TABLE, "u, v") for name in ("a.csv", "a.parquet", "a.npz", "b.npz")]
    for each in read:
        assert each.inputs["x"].dtype == np.float32
        assert np.array_equal(each.inputs["x"], X)
        assert each.names == ["example 0", "example 1", "example 2"]
    np.savez(tmp_path / "two.npz", x_a=X, x_test_b=TOKENS)
    two = read_rows(tmp_path / "two.npz", TWO)
    assert np.array_equal(two.inputs["b"], TOKENS)
    image = Problem((InputSpec("x", (3, 4, 5), "float32"),), "classes", 3)
    np.savez(tmp_path / "image.npz", x=np.arange(120.0).reshape(2, 4, 5, 3))
    assert np.array_equal(
        read_rows(tmp_path / "image.npz", image).inputs["x"][1, 2], np.arange(120.0).reshape(2, 4, 5, 3)[1, ..., 2]
    )


def npz(**arrays):
    return "a.npz", lambda path: np.savez(path, **arrays)


def table(**columns):
    return "a.csv", lambda path: pd.DataFrame(columns).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("written", "problem", "message"),
    [
        (npz(y=X), TABLE, r"an array x or x_test in the file, which has y: float64 \[3, 2\]"),
        (npz(x=X[:, :1]), TABLE, r"examples of float32 \(2,\) in x, not float64 \[3, 1\]"),
        (npz(x=X.astype(int)), TABLE, r"examples of float32 \(2,\) in x, not int64 \[3, 2\]"),
        (npz(x=X * np.nan), TABLE, "finite float32 numbers in x, and 6 of 6 are not"),
        (npz(x=X[:0]), TABLE, "at least one example in x, and there is none"),
        (npz(x_a=X, x=TOKENS), TWO, "an array x_b or x_test_b in the file"),
        (npz(x_a=X, x_b=TOKENS[:2]), TWO, "as many examples in each input, not 2 and 3"),
        (npz(x_a=X, x_b=TOKENS / 1), TWO, r"examples of b of int64 \(3,\) in x_b, not float32 \[3, 3\]"),
        (table(u=[1, 2], v=[1, 2], w=[1, 2]), TABLE, r"examples of float32 \(2,\) in the table, not float32 \[2, 3\]"),
        (table(u=[1, None], v=[1, 2]), TABLE, "no empty cells .* column u has 1 of 2"),
        (table(u=["a"]), TABLE, "a column of numbers"),
        (table(u=[1]), TWO, "an npz file: the model has 2 inputs"),
        (("a.npz", lambda path: path.write_text("x")), TABLE, "an .npz file of plain arrays"),
        (("a.csv", lambda path: None), TABLE, "a file, and there is none"),
        (("a.png", lambda path: None), TABLE, "a file of .csv, .parquet, .npz: the model's inputs are no pictures"),
    ],
)
def test_what_is_refused(tmp_path, written, problem, message):
    name, write = written
    write(tmp_path / name)
    with pytest.raises(ExampleError, match=f"^{tmp_path / name}: expected {message}"):
        read_rows(tmp_path / name, problem)
