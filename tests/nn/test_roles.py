"""Roles of parameters: which are gated, sent, fixed and personal, by default and by patterns of names."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from fedgates.errors import ConfigError, NetworkError
from fedgates.models.batch_norm import BatchNorm1d, BatchNorm2d, drop_running_statistics
from fedgates.nn.network import Network
from fedgates.nn.roles import Patterns, last_layer, matching, roles_of


class Tokens(nn.Module):
    """A tiny transformer with a class token and positions."""

    def __init__(self):
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.embedding = nn.Embedding(20, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.cat([self.cls.expand(len(x), -1, -1), self.embedding(x)], 1) + self.positions[:, : x.shape[1] + 1]
        return self.head(self.norm(self.attention(x, x, x)[0])[:, 0])


def gated(module, **patterns):
    return {name for name, role in roles_of(module, Patterns(**patterns), gates=True).items() if role == "gated"}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Linear(2, 2), {"weight", "bias"}),
        (nn.ConvTranspose2d(2, 2, 1), {"weight", "bias"}),
        (nn.Embedding(3, 2), {"weight"}),
        (nn.Bilinear(2, 2, 2), {"weight", "bias"}),
        (nn.GRUCell(2, 3), {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}),
        (nn.LSTM(2, 3), {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}),
        (
            nn.MultiheadAttention(4, 2, kdim=3, bias=False),
            {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"},
        ),
        (nn.BatchNorm2d(2), set()),
        (nn.LayerNorm(2), set()),
        (nn.GroupNorm(1, 2), set()),
        (nn.RMSNorm(2), set()),
        (nn.PReLU(), set()),
        (parametrizations.weight_norm(nn.Linear(2, 2)), {"bias", "parametrizations.weight.original1"}),
        (parametrizations.spectral_norm(nn.Linear(2, 2)), {"bias", "parametrizations.weight.original"}),
        (parametrizations.orthogonal(nn.Linear(2, 2, bias=False)), {"parametrizations.weight.original"}),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_what_mixes_inputs_is_gated_by_default(layer, expected):
    assert gated(layer) == expected


def test_positions_and_class_tokens_are_fixed_by_default():
    roles = roles_of(Tokens(), gates=True)
    assert {name for name, role in roles.items() if role == "fixed"} == {"cls", "positions", "norm.weight", "norm.bias"}


def test_a_weight_method_trains_all_that_requires_a_gradient():
    module = Tokens()
    module.positions.requires_grad_(False)
    roles = roles_of(module)
    assert {name for name, role in roles.items() if role != "gated"} == {"positions"}


def test_a_layer_that_is_used_twice_is_gated_if_any_of_its_places_is():
    module = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    module[1].weight = module[0].weight
    network = Network(module, roles=roles_of(module, gates=True))
    assert [(each.name, each.fan_in) for each in network.slices] == [("0.weight", 3)]


def test_patterns_are_names_of_parameters_and_modules():
    module = Tokens()
    roles = roles_of(
        module, Patterns(fixed="embedding", sent="norm.*, last", gated="positions", personal="attention.out_proj"), gates=True
    )
    assert {name: role for name, role in roles.items() if role != "gated"} == {
        "cls": "fixed",
        "embedding.weight": "fixed",
        "attention.out_proj.weight": "personal",
        "attention.out_proj.bias": "personal",
        "norm.weight": "sent",
        "norm.bias": "sent",
        "head.weight": "sent",
        "head.bias": "sent",
    }
    assert last_layer(module) == "head"


def test_a_parameter_that_two_layers_share_is_matched_by_either_name():
    module = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(3, 5))
    module[2].weight = module[0].weight
    for pattern in ("last", "2.*", "2.weight, 2.bias"):
        assert matching("gates.sent", pattern, module) == ["0.weight", "2.bias"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            {"fixed": "nrom.*"},
            r"gates.fixed = 'nrom.\*': expected names of parameters or of modules, such as cls, positions, .*",
        ),
        ({"sent": "head, tail"}, r"gates.sent = 'head, tail': expected .*; none matches 'tail'"),
        ({"personal": "*.bais"}, r"gates.personal = '\*.bais': expected .*; none matches '\*.bais'"),
        ({"gated": "cls"}, "gates.gated = 'cls': expected trained parameters; 'cls' has requires_grad=False"),
    ],
)
def test_a_pattern_that_cannot_be_met_is_refused(patterns, message):
    module = Tokens()
    module.cls.requires_grad_(False)
    with pytest.raises(ConfigError, match=message):
        roles_of(module, Patterns(**patterns), gates=True)


def test_every_role_has_a_vector_of_its_own():
    torch.manual_seed(0)
    module = Tokens()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    roles = roles_of(module, Patterns(sent="head", personal="attention.out_proj"), gates=True)
    network = Network(module, roles=roles)
    for flat in (network.tail, network.head):
        assert torch.equal(flat.values, torch.cat([before[each.name].flatten() for each in flat.slices]))
    assert [each.name for each in network.tail.slices] == ["head.weight", "head.bias"]
    assert network.size + len(network.tail) + len(network.head) == sum(
        before[n].numel() for n in roles if n not in network.fixed
    )
    network.weights.mul_(2)
    network.tail.values.zero_()
    network(torch.randint(0, 20, (3, 4))).sum().backward()
    assert all(torch.equal(module.get_parameter(name), before[name]) for name in network.fixed)
    assert module.head.bias.eq(0).all()
    assert network.tail.gradient[-3:].tolist() == [3, 3, 3]
    assert all(module.get_parameter(name).grad is None for name in network.fixed)
    network.zero_gradients()
    assert network.tail.gradient.eq(0).all()


def test_the_digest_has_roles_and_the_bytes_of_what_is_fixed():
    def digest(change=lambda _: None, **patterns):
        torch.manual_seed(0)
        module = Tokens()
        change(module)
        return Network(module, roles=roles_of(module, Patterns(**patterns), gates=True)).digest()

    def moved(module):
        module.positions.data[0, 0, 0] += 1e-6

    def trained(module):
        module.head.weight.data += 1

    assert digest() == digest() == digest(trained)
    assert len({digest(), digest(moved), digest(sent="head"), digest(personal="head"), digest(fixed="head")}) == 5


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (
            {"weight": "fixed", "bias": "fixed"},
            "the network has no parameter to train: all of weight, bias, ... are fixed or sent",
        ),
        ({"weight": "sent", "bias": "fixed"}, "the network has no parameter to train"),
    ],
)
def test_something_is_to_be_trained(roles, message):
    with pytest.raises(NetworkError, match=message):
        Network(nn.Linear(2, 2), roles=roles)


def test_what_is_fixed_may_have_any_dtype():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).half())
    module[1].requires_grad_(False)
    network = Network(module)
    assert [each.name for each in network.slices] == ["0.weight", "0.bias"]
    assert network.digest() == Network(copy.deepcopy(module)).digest()


# --- norms


class Activated(nn.BatchNorm2d):
    """A norm with an activation of its own, as timm has them."""

    def forward(self, x):
        return super().forward(x).relu()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("norm", "shape"),
    [(nn.BatchNorm1d, (8, 3)), (nn.BatchNorm1d, (8, 3, 5)), (nn.BatchNorm2d, (8, 3, 2, 2)), (nn.BatchNorm3d, (8, 3, 2, 2, 2))],
)
def test_norms_use_the_statistics_of_the_batch(norm, shape, affine):
    module = nn.Sequential(norm(3, affine=affine))
    assert drop_running_statistics(module) == ["0"]
    x = torch.randn(*shape)
    mean, std = (getattr(x.transpose(0, 1).flatten(1), f)(1, **k) for f, k in (("mean", {}), ("std", {"unbiased": False})))
    view = (1, 3, *[1] * (len(shape) - 2))
    for training in (True, False):
        assert torch.allclose(module.train(training)(x), (x - mean.view(view)) / std.view(view), atol=1e-3)
    assert not list(module.buffers())
    assert torch.equal(copy.deepcopy(module)(x), module(x))


def test_one_value_a_channel_is_normalised_over_the_channels():
    norm = BatchNorm1d(4, track_running_stats=False)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2, 3, 4]))
        norm.bias.fill_(1)
    found = norm(torch.tensor([[1.0, 1, 3, 3]]))
    assert torch.allclose(found, torch.tensor([[0.0, -1, 4, 5]]), atol=1e-4)
    assert BatchNorm2d(4, affine=False, track_running_stats=False)(torch.randn(1, 4, 1, 1)).abs().sum() > 0


def test_a_norm_in_evaluation_mode_keeps_its_statistics_and_its_mode():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.9), nn.BatchNorm1d(3))
    module[1].eval()
    module[2].eval()
    with torch.no_grad():
        module[1].running_mean.fill_(5)
    network = Network(module)
    network.train()
    assert [layer.training for layer in module] == [True, False, False, True]
    assert module[1].running_mean.tolist() == [5, 5, 5]
    assert module[3].running_mean is None
    network(torch.randn(4, 2))
    assert module[1].running_mean.tolist() == [5, 5, 5]
    network.eval()
    assert not any(layer.training for layer in module)


def test_a_network_that_comes_in_evaluation_mode_is_trained_as_a_whole():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
    network = Network(module)
    network.train()
    assert all(layer.training for layer in module)
    assert module[1].running_mean is None


def test_a_norm_with_a_forward_of_its_own_keeps_it():
    module = nn.Sequential(Activated(3))
    drop_running_statistics(module)
    assert module(torch.randn(4, 3, 2, 2)).min() == 0
