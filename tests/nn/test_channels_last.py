"""Convolutions with the channels last: the same network, whose parameters are views again afterwards."""

import pytest
import torch
from torch import nn

from fedgates.nn.network import Network


def convolutional():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 5, 1),
        nn.Flatten(),
        nn.Linear(5 * 36, 3),
    )


def gradients(network, x, y):
    """The flat gradients of two passes, the second of which adds to the first."""
    network.zero_gradients()
    found = []
    for part in (slice(0, 3), slice(3, 7)):
        nn.functional.cross_entropy(network(x[part]), y[part]).backward()
        found.append(torch.cat([network.gradient, network.tail.gradient, network.head.gradient]))
    return found


@pytest.mark.parametrize("roles", [None, {"0.weight": "sent", "5.weight": "personal"}, {"0.weight": "fixed"}])
def test_outputs_and_gradients_are_the_same(roles):
    module = convolutional()
    names = dict(module.named_parameters())
    network = Network(module, roles=None if roles is None else {name: roles.get(name, "gated") for name in names})
    draw = torch.Generator().manual_seed(2)
    x, y = torch.randn(7, 3, 8, 8, generator=draw), torch.randint(0, 3, (7,), generator=draw)
    output, plain = network(x), gradients(network, x, y)
    with network.channels_last():
        kernel = names["0.weight"]
        last = kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()
        assert last is (roles is None or roles["0.weight"] != "fixed")
        assert torch.allclose(network(x), output, rtol=1e-4, atol=1e-5)
        for ours, theirs in zip(gradients(network, x, y), plain, strict=True):
            assert theirs.abs().max() > 0.01
            assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)
        with network.channels_last():
            assert torch.allclose(network(x), output, rtol=1e-4, atol=1e-5)
        assert torch.allclose(gradients(network, x, y)[0], plain[0], rtol=1e-3, atol=1e-5)
        network.weights.mul_(2)  # what is written is what runs
        doubled = network(x)
    gated = [names[each.name].detach().flatten() for each in network.slices]
    assert torch.equal(torch.cat(gated), network.weights)
    assert torch.allclose(network(x), doubled, rtol=1e-4, atol=1e-5)
    assert all(each.is_contiguous() for each in names.values())
    assert [torch.equal(a, b) for a, b in zip(gradients(network, x, y), gradients(network, x, y), strict=True)] == [True, True]


def test_afterwards_parameters_are_views_whatever_happened():
    network = Network(convolutional())
    with pytest.raises(RuntimeError), network.channels_last():
        network(torch.ones(1, 2, 8, 8))
    network.weights.fill_(0.25)
    network.zero_gradients()
    network(torch.ones(1, 3, 8, 8)).sum().backward()
    assert all((parameter == 0.25).all() for parameter in network.module.parameters())
    assert network.gradient.abs().min() >= 0
    assert network.gradient.any()
