import sys

import pytest
import torch

from fedgates.errors import ConfigError
from fedgates.models import build
from fedgates.types import Problem

OWN = """
import torch
from torch import nn

def linear(input_shape, num_classes):
    channels, height, width = input_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))

def normed(input_shape, num_classes):
    return nn.Sequential(nn.BatchNorm2d(input_shape[0]), *linear(input_shape, num_classes))

def raises(input_shape, num_classes):
    raise RuntimeError("first\\nsecond")

def returns_none(input_shape, num_classes):
    return None

def too_narrow(input_shape, num_classes):
    return linear(input_shape, num_classes - 1)

def does_not_fit(input_shape, num_classes):
    return nn.Linear(3, num_classes)

class Pair(nn.Module):
    def forward(self, x):
        return x, x

def gives_pair(input_shape, num_classes):
    return Pair()

number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(OWN)
    (tmp_path / "broken_networks.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_networks"
    sys.modules.pop("own_networks", None)


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_global_generator_is_restored_after_an_error(own):
    before = torch.get_rng_state()
    with pytest.raises(ConfigError):
        build(f"{own}:raises", Problem.of_images((1, 8, 8), 10))
    assert torch.equal(torch.get_rng_state(), before)


def test_own_network(own):
    model = build(f"{own}:linear", Problem.of_images((2, 3, 4), 5))
    assert count(model) == 2 * 3 * 4 * 5 + 5
    assert torch.equal(model[1].weight, build(f"{own}:linear", Problem.of_images((2, 3, 4), 5))[1].weight)


def test_own_network_for_regression_has_one_output(own):
    model = build(f"{own}:linear", Problem.of_images((1, 1, 5), 0))
    assert model(torch.zeros(2, 1, 1, 5)).shape == (2, 1)


def test_probing_an_own_network_changes_nothing_in_it(own):
    model = build(f"{own}:normed", Problem.of_images((2, 3, 4), 5))
    assert model.training
    assert model[0].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet1000", 'one of mlp, cnn, .*, linear, logistic or "module:function"'),
        ("own_networks:", "one of mlp"),
        ("no_such_module:f", "can be imported; ModuleNotFoundError"),
        ("broken_networks:f", "can be imported; ZeroDivisionError"),
        ("own_networks:absent", "module own_networks to define absent"),
        ("own_networks:number", "a function, not int"),
        ("own_networks:raises", "it raised RuntimeError: first second"),
        ("own_networks:returns_none", "it returned NoneType"),
        ("own_networks:too_narrow", r"to \[2, 10\]; it returned \[2, 9\]"),
        ("own_networks:does_not_fit", r"maps \[2, 1, 8, 8\] to \[2, 10\]; it raised RuntimeError"),
        ("own_networks:gives_pair", "it returned tuple"),
    ],
)
def test_bad_reference(own, name, expected):
    with pytest.raises(ConfigError, match=expected) as error:
        build(name, Problem.of_images((1, 8, 8), 10))
    assert error.value.key == "model"
    assert str(error.value).startswith(f"model = {name!r}: expected ")
    assert "\n" not in str(error.value)
