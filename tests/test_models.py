import sys

import pytest
import torch
from torch import nn

from fedgates.config import MODELS, ConfigError
from fedgates.models import build

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


@pytest.mark.parametrize(
    ("name", "input_shape", "num_classes", "parameters"),
    [
        ("conv4", (1, 28, 28), 10, 1_933_258),
        ("conv4", (3, 32, 32), 10, 2_425_930),
        ("conv6", (3, 32, 32), 10, 2_262_602),
        ("conv10", (3, 32, 32), 100, 19_197_092),
        ("leaf-cnn", (1, 28, 28), 62, 6_603_710),
        ("mlp", (1, 8, 8), 10, 85_002),
        ("cnn", (1, 8, 8), 10, 21_386),
        ("cnn", (1, 28, 28), 10, 50_186),
        ("cnn", (3, 32, 32), 10, 60_362),
    ],
)
def test_parameter_counts(name, input_shape, num_classes, parameters):
    model = build(name, input_shape, num_classes)
    assert count(model) == parameters
    assert model.training
    assert all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_every_name_maps_images_to_logits_and_keeps_no_buffers(name):
    shape = (3, 32, 32)
    model = build(name, shape, 7)
    assert model(torch.zeros(2, *shape)).shape == (2, 7)
    assert list(model.buffers()) == []
    assert {type(layer) for layer in model} <= {nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear}


def test_layers_of_conv4():
    kinds = [type(layer).__name__ for layer in build("conv4", (1, 28, 28), 10)]
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == block * 2 + ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]


def test_weights_are_a_function_of_the_seed():
    def weights(seed):
        return build("mlp", (1, 8, 8), 10, seed=seed).state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_the_global_generator_is_left_alone_and_not_read():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = build("mlp", (1, 8, 8), 10)[1].weight
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(build("mlp", (1, 8, 8), 10)[1].weight, first)


def test_global_generator_is_restored_after_an_error(own):
    before = torch.get_rng_state()
    with pytest.raises(ConfigError):
        build(f"{own}:raises", (1, 8, 8), 10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "shape", "size"),
    [
        ("conv10", (1, 8, 8), "32x32"),
        ("conv10", (3, 32, 31), "32x32"),
        ("conv6", (1, 7, 8), "8x8"),
        ("conv4", (1, 3, 3), "4x4"),
        ("cnn", (1, 3, 8), "4x4"),
        ("leaf-cnn", (1, 8, 3), "4x4"),
    ],
)
def test_image_too_small_for_the_pooling(name, shape, size):
    with pytest.raises(ConfigError, match=f"^model = '{name}': expected images of at least {size}") as error:
        build(name, shape, 10)
    assert f"{shape[1]}x{shape[2]}" in str(error.value)


@pytest.mark.parametrize(("name", "side"), [("conv10", 32), ("conv6", 8), ("conv4", 4), ("cnn", 4), ("leaf-cnn", 4)])
def test_smallest_image_works(name, side):
    assert build(name, (1, side, side), 3)(torch.zeros(2, 1, side, side)).shape == (2, 3)


def test_own_network(own):
    model = build(f"{own}:linear", (2, 3, 4), 5)
    assert count(model) == 2 * 3 * 4 * 5 + 5
    assert torch.equal(model[1].weight, build(f"{own}:linear", (2, 3, 4), 5)[1].weight)


def test_probing_an_own_network_changes_nothing_in_it(own):
    model = build(f"{own}:normed", (2, 3, 4), 5)
    assert model.training
    assert model[0].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet1000", 'one of mlp, cnn, conv4, conv6, conv10, leaf-cnn or "module:function"'),
        ("own_networks:", "one of mlp"),
        ("no_such_module:f", "can be imported; ModuleNotFoundError"),
        ("broken_networks:f", "can be imported; ZeroDivisionError"),
        ("own_networks:absent", "something called absent in the module own_networks"),
        ("own_networks:number", "a function, not int"),
        ("own_networks:raises", "it raised RuntimeError: first second"),
        ("own_networks:returns_none", "it returned NoneType"),
        ("own_networks:too_narrow", r"to \[2, 10\]; it gave \[2, 9\]"),
        ("own_networks:does_not_fit", r"maps \[2, 1, 8, 8\] to \[2, 10\]; it raised RuntimeError"),
        ("own_networks:gives_pair", "it gave tuple"),
    ],
)
def test_bad_reference(own, name, expected):
    with pytest.raises(ConfigError, match=expected) as error:
        build(name, (1, 8, 8), 10)
    assert error.value.key == "model"
    assert str(error.value).startswith(f"model = {name!r}: expected ")
    assert "\n" not in str(error.value)
