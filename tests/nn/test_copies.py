"""Copies of a network side by side: each has the outputs and gradients of the network with the copy's weights."""

from contextlib import suppress

import pytest
import torch
from torch import nn

from fedgates.nn.network import Network


class Repeated(nn.Module):
    """One layer is used twice, one never, one has no bias, and one runs on positions."""

    def __init__(self):
        super().__init__()
        self.again, self.spare, self.plain, self.last = (
            nn.Linear(4, 4),
            nn.Linear(3, 3),
            nn.Linear(4, 5, bias=False),
            nn.Linear(5, 2),
        )

    def forward(self, x):
        return self.last(torch.tanh(self.plain(torch.relu(self.again(self.again(x)))))).sum(1)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.GELU(), nn.Linear(7, 2))


@pytest.mark.parametrize("build", [perceptron, Repeated, lambda: nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(9, 2))])
def test_each_copy_is_the_network_with_its_weights(build):
    network = Network(build())
    draw = torch.Generator().manual_seed(1)
    weights = torch.randn(3, network.size, generator=draw)
    x, y = torch.randn(3, 5, 3, 4, generator=draw), torch.randint(0, 2, (3, 5), generator=draw)
    for times in (1, 2):  # gradients are not added up over passes
        with network.copies(3):
            network.weights.copy_(weights)
            output = network(x.flatten(0, 1)).unflatten(0, (3, 5))
            losses = torch.stack([nn.functional.cross_entropy(*each) for each in zip(output, y, strict=True)])
            network.backward(losses)
            assert network.weights.shape == network.gradient.shape == (3, network.size)
            gradient = network.gradient.clone()
            network.gradient.fill_(times)  # as a method may convert them in place
        for k in range(3):
            network.weights.copy_(weights[k])
            network.zero_gradients()
            alone = network(x[k])
            assert torch.allclose(output[k], alone, rtol=1e-5, atol=1e-6)
            nn.functional.cross_entropy(alone, y[k]).backward()
            assert network.gradient.abs().max() > 0.01
            assert torch.allclose(gradient[k], network.gradient, rtol=1e-4, atol=1e-6)


def test_one_copy_is_the_network_itself():
    network = Network(perceptron())
    with network.copies(1):
        assert network.weights.shape == network.gradient.shape == (1, network.size)
        network.weights.fill_(0.5)
        output = network(torch.ones(2, 12))
    assert network.weights.shape == (network.size,)
    assert network.weights.tolist() == [0.5] * network.size
    assert torch.equal(network(torch.ones(2, 12)), output)


def test_afterwards_the_network_is_as_before_whatever_happened():
    network = Network(perceptron())
    before, output = network.weights.clone(), network(torch.ones(2, 12))
    with suppress(ZeroDivisionError), network.copies(3):
        network.weights.fill_(9)
        raise ZeroDivisionError
    assert torch.equal(network.weights, before)
    assert torch.equal(network(torch.ones(2, 12)), output)
    assert not any("forward" in vars(module) for module in network.module.modules())


@pytest.mark.parametrize(
    ("module", "roles", "possible"),
    [
        (perceptron(), None, True),
        (nn.Linear(3, 2), None, True),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 2)), None, False),
        (nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), None, False),
        (Tied(), None, False),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), None, False),
        (nn.Linear(3, 2), {"weight": "gated", "bias": "fixed"}, False),
        (nn.Linear(3, 2), {"weight": "gated", "bias": "sent"}, False),
    ],
)
def test_networks_of_linear_layers_alone_have_copies(module, roles, possible):
    assert Network(module, roles=roles).has_copies is possible
