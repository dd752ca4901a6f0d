import pytest
import torch

from fedgates.models import build
from fedgates.types import Problem


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
    model = build(name, Problem.of_images(input_shape, num_classes))
    assert count(model) == parameters


def test_parameter_count_of_vgg11_by_hand():
    convolutions = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 3 * 512 * 512)
    assert count(build("vgg11", Problem.of_images((3, 32, 32), 10))) == convolutions + 512 * 10 + 10 == 9_222_858
    assert count(build("vgg11", Problem.of_images((1, 28, 28), 62))) == convolutions - 9 * 2 * 64 + 512 * 62 + 62


def test_layers_of_conv4():
    kinds = [type(layer).__name__ for layer in build("conv4", Problem.of_images((1, 28, 28), 10))]
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == block * 2 + ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]


def test_layers_of_vgg11():
    model = build("vgg11", Problem.of_images((3, 32, 32), 10))
    kinds = [type(layer).__name__ for layer in model]
    one, pool = ["Conv2d", "BatchNorm", "ReLU"], ["MaxPool2d"]
    assert kinds == [*one, *pool, *one, *pool, *(one * 2 + pool) * 3, "Flatten", "Linear"]
    assert [layer.kernel_size for layer in model if type(layer).__name__ == "MaxPool2d"] == [(2, 2)] * 5


@pytest.mark.parametrize(("side", "last"), [(16, 1), (28, 1), (32, 2), (64, 4)])
def test_the_last_pooling_of_vgg11_takes_the_rest_of_the_image(side, last):
    model = build("vgg11", Problem.of_images((3, side, side), 10))
    assert model[-3].kernel_size == (last, last)
    assert model[-1].in_features == 512
    assert model(torch.zeros(2, 3, side, side)).shape == (2, 10)
