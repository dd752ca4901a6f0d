"""A network whose last layer is personal: what is left of its flat vector, and which layers can be."""

import pytest
import torch
from torch import nn

from fedgates import models
from fedgates.errors import ConfigError, NetworkError
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.nn.roles import Patterns, check_personal_layer, roles_of
from fedgates.types import Problem


def body():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4), nn.ReLU())


def mixed():
    torch.manual_seed(0)
    return body().append(nn.Linear(4, 3))


def split(module, outputs=3):
    roles = roles_of(module, Patterns(personal="last"))
    check_personal_layer(module, roles, outputs)
    return Network(module, roles=roles)


def test_the_last_layer_is_a_vector_apart():
    whole, network = Network(mixed()), split(mixed())
    assert network.slices == whole.slices[:-2]
    assert network.size == len(network.weights) == len(network.gradient) == whole.size - 15
    assert [(part.name, part.shape, part.offset, part.size, part.fan_in) for part in network.head.slices] == [
        ("5.weight", (3, 4), 0, 12, 4),
        ("5.bias", (3,), 12, 3, 4),
    ]
    assert torch.equal(torch.cat([network.weights, network.head.values]), whole.weights)
    assert torch.equal(network.head.initial, network.head.values)
    assert (len(whole.head), whole.head.slices) == (0, ())


def test_what_is_written_to_both_vectors_is_run_and_both_gradients_come_back():
    whole, network, x = Network(mixed()), split(mixed()), torch.rand(5, 1, 4, 4)
    whole.weights.mul_(2)
    network.weights.mul_(2)
    network.head.values.mul_(2)
    for each in (whole, network):
        each(x).square().sum().backward()
    assert torch.equal(network(x), whole(x))
    assert torch.equal(torch.cat([network.gradient, network.head.gradient]), whole.gradient)
    assert not torch.equal(network.head.initial, network.head.values)


def test_only_the_head_has_a_gradient_where_only_it_is_trained():
    whole, network, x = Network(mixed()), split(mixed()), torch.rand(5, 1, 4, 4)
    network.module[0].bias.requires_grad_(False)
    whole(x).sum().backward()
    with network.only_head():
        network(x).sum().backward()
    assert network.gradient.eq(0).all()
    assert torch.equal(network.head.gradient, whole.gradient[-15:])
    trained = {name for name, parameter in network.module.named_parameters() if parameter.requires_grad}
    assert trained == {"0.weight", "3.weight", "3.bias", "5.weight", "5.bias"}


def test_both_ends_must_agree_on_the_personal_layer():
    digests = [Network(mixed()), Network(body()), split(mixed()), split(body().append(nn.Linear(4, 5)), 5)]
    assert len({network.digest() for network in digests}) == 4
    assert split(mixed()).digest() == split(mixed()).digest()
    assert len({Gates(network, seed=1).digest for network in digests}) == 4


@pytest.mark.parametrize("name", ["mlp", "cnn", "conv4", "resnet8", "vgg11"])
def test_our_networks_can_have_one(name):
    network = split(models.build(name, Problem.of_images((1, 28, 28), 10)), 10)
    assert network.head.slices[0].shape[0] == 10
    assert network.size + len(network.head) == models.count(name, Problem.of_images((1, 28, 28), 10))


def test_a_convolution_that_gives_the_classes_can_be_personal():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert [part.name for part in split(module).head.slices] == ["2.weight"]


class HeadFirst(nn.Module):
    """Its last layer is defined before the others."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(8, 3), nn.Linear(4, 8)


def tied():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    return module


def frozen():
    module = mixed()
    module[-1].bias.requires_grad_(False)
    return module


LAYER = "expected a linear layer or a convolution, defined last, with an output for each class (3)"
OWN = "expected trained parameters that no other layer shares"
REFUSED = {
    "a norm": (lambda: body().append(nn.LayerNorm(3)), "'5' (LayerNorm)", LAYER),
    "other outputs": (lambda: body().append(nn.Linear(4, 5)), "'5' (Linear)", LAYER),
    "defined first": (HeadFirst, "'body' (Linear)", LAYER),
    "transposed": (lambda: body().append(nn.ConvTranspose2d(3, 3, 1)), "'5' (ConvTranspose2d)", LAYER),
    "parametrized": (
        lambda: body().append(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))),
        "'5.parametrizations.weight' (ParametrizationList)",
        LAYER,
    ),
    "tied": (tied, "'1' (Linear)", OWN),
    "alone": (lambda: nn.Linear(4, 3), "'network' (Linear)", "expected a layer before it, for the clients to share"),
}


def test_a_last_layer_that_is_not_trained_cannot_be_personal():
    with pytest.raises(ConfigError, match=r"gates.personal = 'last': .* trained parameters; '5.bias' has requires_grad=False"):
        split(frozen())


@pytest.mark.parametrize("case", REFUSED)
def test_a_layer_that_cannot_be_personal_is_refused_in_a_line(case):
    build, layer, expected = REFUSED[case]
    with pytest.raises(NetworkError) as refused:
        split(build())
    assert str(refused.value) == f"the last layer, {layer}, cannot be personal; {expected}"
