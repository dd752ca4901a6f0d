"""Metrics of the user's own: values, names, and the one line for each function that cannot be used."""

import math

import pytest
import torch
from configs import config_of

from fedgates.config import RunConfig
from fedgates.errors import ConfigError
from fedgates.methods.own_metric import check_metric, own_metrics
from fedgates.methods.registry import build, configure
from fedgates.types import InputSpec, Problem

CLASSES = Problem.of_images((1, 8, 8), 10)
REGRESSION = Problem((InputSpec("x", (5,), "float32"),), "regression", 1)


def config(metric):
    return config_of(RunConfig, metric=f"own_functions:{metric}" if metric else "")


PREDICTIONS, Y = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]), torch.tensor([1, 2, 0, 0])


def test_numbers_by_hand():
    assert own_metrics(config(""), PREDICTIONS, Y) == {}
    assert own_metrics(config("top_2"), PREDICTIONS, Y) == {"top_2": 0.75}
    assert own_metrics(config("two"), PREDICTIONS, Y) == {"confidence": pytest.approx(0.575), "examples_of_0": 2.0}
    targets = torch.tensor([1.0, 2, 4])
    assert own_metrics(config("mae"), torch.tensor([[1.0], [2], [3]]), targets) == {"mae": pytest.approx(1 / 3)}
    assert math.isnan(own_metrics(config("undefined_without_0"), PREDICTIONS[:2], Y[:2])["undefined_without_0"])


def test_a_function_that_changes_its_arguments_changes_nothing_else():
    predictions, y = PREDICTIONS.clone(), Y.clone()
    own_metrics(config("spoiling"), predictions, y)
    assert torch.equal(predictions, PREDICTIONS)
    assert torch.equal(y, Y)


def test_good_ones_pass_with_their_names():
    before = torch.get_rng_state()
    assert check_metric(config(""), CLASSES) == ()
    assert check_metric(config("top_2"), CLASSES) == ("top_2",)
    assert check_metric(config("two"), CLASSES) == ("confidence", "examples_of_0")
    assert check_metric(config("mae"), REGRESSION) == ("mae",)
    assert torch.equal(torch.get_rng_state(), before)
    assert build(*configure({"metric": "own_functions:two"}), CLASSES).metric_names == ("confidence", "examples_of_0")


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("missing", "module own_functions to define missing"),
        ("constant", "a function of (predictions, y), not int"),
        ("raising", "from predictions [64, 10] and y [64]; it raised RuntimeError: no way"),
        ("listed", "it returned list"),
        ("texts", "it returned bad: str"),
        ("none", "a dictionary of 1 to 16 numbers, from predictions [64, 10] and y [64]; it returned 0"),
        ("many", "it returned 17"),
        ("each", "it returned Tensor"),
        ("forged", r"names of at most 40 letters, digits and _ that start with a letter, not 'a b'"),
        ("nan", "finite numbers; nan is nan"),
        ("accuracy", "names other than those of the built-in metrics, such as accuracy"),
        ("seconds", "such as seconds"),
    ],
)
def test_one_line_for_each_that_cannot_be_used(metric, expected):
    with pytest.raises(ConfigError) as error:
        check_metric(config(metric), CLASSES)
    line = str(error.value)
    assert line.startswith(f"metric = 'own_functions:{metric}': expected ")
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "name", ["loss", "not_finite", "examples", "own_class_accuracy", "inertia_x", "accuracy_sample", "accuracy_macro", "round"]
)
def test_names_that_fedgates_uses(name, monkeypatch):
    monkeypatch.setattr("own_functions.two", lambda predictions, y: {name: 0.5})
    with pytest.raises(ConfigError, match=f"names other than .*, such as {name}"):
        check_metric(config("two"), CLASSES)
