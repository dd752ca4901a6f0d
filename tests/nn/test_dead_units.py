"""A network without the units that no path uses: the same outputs, by hand and on random masks."""

import copy

import pytest
import torch
from effort import cpu_seconds
from torch import nn

from fedgates import models
from fedgates.nn.dead_units import remove_dead_units, zero_dead_units
from fedgates.nn.size import NetworkSize, network_size
from fedgates.types import Problem

SHAPES = {"mlp": (1, 8, 8), "cnn": (3, 16, 16), "conv4": (1, 16, 16), "conv6": (3, 16, 16), "leaf-cnn": (1, 12, 12)}


def masked(name, density, seed=1):
    module = models.build(name, Problem.of_images(SHAPES[name], 10), seed=seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(torch.rand(parameter.shape, generator=draw) < density)
    return module.double()


def by_hand():
    """Of four hidden neurons 0 has no input and no bias, 1 no output, 2 no input but a bias above 0, and 3 a path."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        module[1].weight[:] = torch.tensor([[0.0, 0], [1, 1], [0, 0], [2, -1]])
        module[1].bias[:] = torch.tensor([0.0, 1, 0.5, 0])
        module[3].weight[:] = torch.tensor([[1.0, 0, 1, 1], [0, 0, 0, -1]])
        module[3].bias[:] = torch.tensor([0.25, 0])
    return module


def test_dead_neurons_are_cut_away_and_constant_ones_stay():
    module = by_hand()
    found = remove_dead_units(module)
    assert found[1].weight.tolist() == [[0, 0], [2, -1]]
    assert found[1].bias.tolist() == [0.5, 0]
    assert found[3].weight.tolist() == [[1, 1], [0, -1]]
    assert found[3].bias.tolist() == [0.25, 0]
    x = torch.tensor([[[[3.0, 1]]], [[[-1.0, 2]]]])
    assert found(x).tolist() == module(x).tolist() == [[5.75, -5], [0.75, 0]]
    assert module[1].weight.shape == (4, 2)  # the network itself is as it was


def test_weights_of_dead_neurons_become_zero_in_place():
    module = by_hand()
    zero_dead_units(module)
    assert module[1].weight.tolist() == [[0, 0], [0, 0], [0, 0], [2, -1]]
    assert module[1].bias.tolist() == [0, 0, 0.5, 0]
    assert module[3].weight.tolist() == [[0, 0, 1, 1], [0, 0, 0, -1]]


def test_a_bias_below_zero_gives_nothing_and_death_goes_on():
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        for layer in (module[1], module[3], module[5]):
            layer.weight[:] = torch.eye(2)[: len(layer.weight)]
            layer.bias[:] = 0
        module[1].weight[1] = 0
        module[1].bias[1] = -1  # gives nothing, so the second neuron of the next layer has no input
    assert [layer.weight.shape for layer in remove_dead_units(module) if isinstance(layer, nn.Linear)] == [
        (1, 2),
        (1, 1),
        (1, 1),
    ]


def test_a_layer_that_is_all_dead_keeps_one_unit():
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        module[1].weight[:] = 0
        module[1].bias[:] = 0
        module[3].bias[:] = torch.tensor([1.0, 2])
    found = remove_dead_units(module)
    assert found[1].weight.shape == (1, 2)
    assert found(torch.ones(1, 2)).tolist() == [[1, 2]]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("density", [0.3, 0.02, 0.004])
def test_outputs_are_the_same(name, density):
    module = masked(name, density)
    x = torch.randn(8, *SHAPES[name], dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    found, cleaned = remove_dead_units(module), copy.deepcopy(module)
    zero_dead_units(cleaned)
    with torch.no_grad():
        torch.testing.assert_close(found(x), module(x), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(cleaned(x), module(x), rtol=1e-12, atol=1e-15)
    single = [copy.deepcopy(each).float() for each in (module, found, cleaned)]
    whole, cut, zeroed = (network_size(each, Problem.of_images(SHAPES[name], 10)) for each in single)
    kept_whole, kept_cut, kept_zeroed = (sum(int((p != 0).sum()) for p in each.parameters()) for each in single)
    assert kept_cut == kept_zeroed <= kept_whole
    assert cut.parameters <= whole.parameters == zeroed.parameters
    if density < 0.01:
        assert cut.multiply_adds < whole.multiply_adds / 2


class Residual(nn.Sequential):
    """A chain by its class, and none by what it does."""

    def forward(self, x):
        return x + super().forward(x)


class Odd(nn.Linear):
    """A layer of somebody's own."""


TWICE = nn.Linear(16, 16)


@pytest.mark.parametrize(
    "module",
    [
        models.build("resnet8", Problem.of_images((3, 16, 16), 10)),
        models.build("vgg11", Problem.of_images((3, 32, 32), 10)),
        nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2)),  # without a ReLU a unit may be below zero
        nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)),
        nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)),  # units are the last axis
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(2), nn.Linear(64, 10)),
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Linear(8, 10)),
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 10)),  # pools over units
        nn.Sequential(nn.Flatten(), TWICE, nn.ReLU(), TWICE, nn.ReLU(), nn.Linear(16, 2)),
        Residual(nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)),
        nn.Sequential(nn.Flatten(), Odd(4, 4), nn.ReLU(), nn.Linear(4, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.LeakyReLU(), nn.Linear(4, 4)),
        nn.Linear(2, 2),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_is_no_chain_stays(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)) < 0.05)
    before = copy.deepcopy(module.state_dict())
    assert remove_dead_units(module) is None
    zero_dead_units(module)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_sizes_by_hand():
    module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        module[4].bias[:] = 0
    found = network_size(module, Problem.of_images((1, 4, 4), 10))
    assert found == NetworkSize(parameters=20 + 27, multiply_adds=2 * 16 * 9 + 24)


class Looking(nn.Linear):
    """What it does depends on what it sees, so that shapes alone do not run it."""

    def forward(self, x):
        return super().forward(x if float(x.sum()) > 1 else -x)


def test_the_size_of_a_network_that_needs_numbers():
    network = nn.Sequential(nn.Flatten(), Looking(4, 3))
    found = network_size(network, Problem.of_images((1, 2, 2), 3))
    assert found == NetworkSize(parameters=15, multiply_adds=12)


def test_the_size_over_a_large_image_takes_no_time_and_leaves_the_network_as_it_is():
    large, small = (Problem.of_images((3, side, side), 10) for side in (2048, 64))
    module = models.build("resnet8", large)
    before = copy.deepcopy(module.state_dict())
    assert cpu_seconds(lambda: network_size(module, large)) < 2  # some 50 thousand million multiply-adds
    found = network_size(module, large)
    assert found.multiply_adds == 1024 * (network_size(module, small).multiply_adds - 640) + 640  # but for the last layer
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert not any(layer._forward_hooks for layer in module.modules())
