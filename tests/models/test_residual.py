import pytest
import torch
from torch import nn

from fedgates.methods.evaluation import predict
from fedgates.methods.training import Task, backward
from fedgates.models import build
from fedgates.models.residual import Block
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.types import Problem


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_parameter_counts_by_hand():
    stages = 9 * (2 * 16 * 16) + (9 * (16 * 32 + 32 * 32) + 16 * 32) + (9 * (32 * 64 + 64 * 64) + 32 * 64)
    assert count(build("resnet8", Problem.of_images((3, 32, 32), 10))) == 9 * 3 * 16 + stages + 64 * 10 + 10 == 77_370
    assert count(build("resnet8", Problem.of_images((1, 8, 8), 10))) == 9 * 1 * 16 + stages + 64 * 10 + 10
    assert count(build("resnet8", Problem.of_images((3, 32, 32), 100))) == 9 * 3 * 16 + stages + 64 * 100 + 100

    def stage(before, width):  # the first of its four convolutions widens, and so does the shortcut
        return 9 * (before * width + 3 * width * width) + before * width

    stages = 9 * 4 * 64 * 64 + stage(64, 128) + stage(128, 256) + stage(256, 512)
    assert count(build("resnet18", Problem.of_images((3, 32, 32), 10))) == 9 * 3 * 64 + stages + 512 * 10 + 10 == 11_164_362


@pytest.mark.parametrize(("name", "layers"), [("resnet8", 8), ("resnet18", 18)])
def test_depth_is_counted_without_shortcuts(name, layers):
    kinds = [
        layer for layer in build(name, Problem.of_images((3, 32, 32), 10)).modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    assert len([layer for layer in kinds if getattr(layer, "kernel_size", None) != (1, 1)]) == layers
    assert all(layer.bias is None for layer in kinds[:-1])


@pytest.mark.parametrize(("name", "last"), [("resnet8", (64, 8, 8)), ("resnet18", (512, 4, 4))])
def test_only_later_stages_halve_the_image(name, last):
    model = build(name, Problem.of_images((3, 32, 32), 10))
    x = torch.zeros(2, 3, 32, 32)
    assert model[:4](x).shape[2:] == (32, 32)
    assert model[:-3](x).shape[1:] == last


def test_a_block_by_hand():
    block = Block(2, 2)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    x = torch.randn(3, 2, 4, 4)
    assert torch.equal(block(x), x.clamp_min(0))  # only the shortcut is left
    assert len(block.shortcut) == 0
    wider = Block(2, 4)
    assert wider(x).shape == (3, 4, 2, 2)
    assert [type(layer).__name__ for layer in wider.shortcut] == ["Conv2d", "BatchNorm"]
    with torch.no_grad():
        for parameter in wider.body.parameters():
            parameter.zero_()
    assert torch.equal(wider(x), wider.shortcut(x).clamp_min(0))


def images(n, side):
    return torch.randint(0, 256, (n, 1, side, side), generator=torch.Generator().manual_seed(3)).to(torch.uint8)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "side"), [("resnet18", 8), ("vgg11", 16)])
def test_one_image_with_maps_of_one_pixel(name, side, precision):
    network = Network(build(name, Problem.of_images((1, side, side), 3)))
    x = images(2, side)
    first, second = predict(network, x[:1], precision), predict(network, x[1:], precision)
    assert first.isfinite().all()
    assert not torch.allclose(first, second)
    assert backward(network, Task(x[:1], torch.tensor([1]), 1, 0), torch.tensor([0]), precision).isfinite()
    assert network.gradient.isfinite().all()
    assert network.gradient.abs().max() > 0


def test_the_scale_of_frozen_weights_before_a_normalisation_does_not_matter():
    outputs = []
    for scale in ("kaiming", "authors-code"):
        network = Network(build("resnet8", Problem.of_images((1, 8, 8), 3)))
        Gates(network, 1, scale).load(torch.ones(network.size))
        network.weights[-(64 * 3 + 3) :] = 0.1 * torch.arange(64 * 3 + 3) % 0.7
        outputs.append(predict(network, images(6, 8)))
    assert torch.allclose(*outputs, atol=1e-3)
