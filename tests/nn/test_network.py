import subprocess
import sys

import pytest
import torch
from torch import nn

from fedgates.errors import NetworkError
from fedgates.nn.network import Network
from fedgates.nn.roles import fan_in


def mixed():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.again = self.first
        self.other = nn.Linear(2, 2, bias=False)
        self.other.weight = self.first.weight

    def forward(self, x):
        return self.other(self.again(self.first(x)))


def test_slots_lie_one_after_the_other():
    network = Network(mixed())
    assert [(s.name, s.shape, s.offset, s.size, s.fan_in) for s in network.slices] == [
        ("0.weight", (2, 1, 3, 3), 0, 18, 9),
        ("0.bias", (2,), 18, 2, 9),
        ("3.weight", (3, 8), 20, 24, 8),
        ("3.bias", (3,), 44, 3, 8),
    ]
    assert network.size == 47
    assert network.weights.shape == network.gradient.shape == (47,)


def test_moving_into_the_flat_vector_keeps_the_weights_and_the_output():
    module, x = mixed(), torch.rand(5, 1, 4, 4)
    before, output = [p.detach().clone() for p in module.parameters()], module(x)
    network = Network(module)
    assert network.weights.tolist() == torch.cat([p.reshape(-1) for p in before]).tolist()
    assert torch.equal(network(x), output)


def test_weights_written_are_the_weights_run():
    network = Network(nn.Linear(2, 2))
    network.weights.copy_(torch.tensor([1.0, 2, 3, 4, 10, 20]))
    assert network(torch.tensor([[1.0, 10]])).tolist() == [[31, 63]]
    network.weights[0] = 2
    assert network(torch.tensor([[1.0, 10]])).tolist() == [[32, 63]]
    assert not network.weights.requires_grad


def test_backward_adds_to_the_flat_gradient():
    network = Network(nn.Linear(2, 2))
    for times in (1, 2):
        (network(torch.tensor([[1.0, 10]])) * torch.tensor([2.0, 3])).sum().backward()
        assert network.gradient.tolist() == [times * g for g in (2, 20, 3, 30, 2, 3)]
    network.gradient.zero_()
    assert all(parameter.grad.eq(0).all() for parameter in network.module.parameters())


def test_gradient_is_that_of_a_network_left_alone():
    torch.manual_seed(0)
    module, x = mixed(), torch.rand(5, 1, 4, 4)
    twin = mixed()
    twin.load_state_dict(module.state_dict())
    twin(x).square().sum().backward()
    network = Network(module)
    network(x).square().sum().backward()
    assert torch.equal(network.gradient, torch.cat([p.grad.reshape(-1) for p in twin.parameters()]))


def test_what_layers_share_is_counted_once_and_collects_all_gradients():
    network = Network(Tied())
    assert [s.name for s in network.slices] == ["first.weight", "first.bias"]
    network.weights.copy_(torch.tensor([2.0, 0, 0, 2, 0, 0]))  # twice the identity, three times over
    assert network(torch.tensor([[1.0, 10]])).tolist() == [[8, 80]]
    network(torch.tensor([[1.0, 10]]))[0, 0].backward()
    assert network.gradient[0] == 12  # w^3 x at w = 2, x = 1
    assert network.gradient[4] == 6  # two biases: w^2 b + w b


def test_layouts_that_torch_strides_differently_are_read_in_their_own_order():
    module = nn.Conv2d(2, 2, 2).to(memory_format=torch.channels_last)
    expected = module.weight.detach().clone(memory_format=torch.contiguous_format)
    assert torch.equal(Network(module).weights[:16], expected.reshape(-1))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 2).double()), "parameter '1.weight' is torch.float64, expected torch.float32"),
        (nn.Linear(2, 2, dtype=torch.bfloat16), "parameter 'weight' is torch.bfloat16, expected torch.float32"),
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "the network has no parameters"),
        (nn.Sequential(nn.LazyLinear(2)), "parameter '0.weight' has no shape yet; run the network once"),
        (nn.Sequential(nn.LazyConv2d(2, 3)), "parameter '0.weight' has no shape yet; run the network once"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_what_cannot_be_federated_is_named(module, message):
    with pytest.raises(NetworkError, match=message):
        Network(module)


def test_a_lazy_network_that_has_run_once_is_no_longer_lazy():
    module = nn.Sequential(nn.LazyLinear(3))
    module(torch.zeros(1, 2))
    assert Network(module).slices[0].shape == (3, 2)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Linear(7, 3), 7),
        (nn.Conv1d(4, 6, 5), 20),
        (nn.Conv2d(4, 6, 3), 36),
        (nn.Conv2d(4, 6, (3, 5), stride=2, padding=1), 60),
        (nn.Conv2d(4, 6, 3, groups=2), 18),
        (nn.Conv2d(4, 4, 3, groups=4, stride=2), 9),
        (nn.Conv3d(2, 1, 2), 16),
        (nn.ConvTranspose2d(4, 6, 3), 36),
        (nn.ConvTranspose2d(4, 6, 4, stride=2), 16),  # an output meets every second tap, both ways
        (nn.ConvTranspose2d(4, 6, 4, stride=2, groups=2), 8),
        (nn.ConvTranspose1d(1, 1, 1, stride=3), 1),
        (nn.LayerNorm(3), 0),
        (nn.ReLU(), 0),
    ],
    ids=str,
)
def test_fan_in(layer, expected):
    assert fan_in(layer, "weight") == expected


@pytest.mark.parametrize("layer", [nn.Linear(3, 1), nn.Conv1d(4, 2, 3, groups=2), nn.Conv2d(2, 1, 3)], ids=str)
def test_fan_in_counts_the_inputs_of_one_output(layer):
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.bias.fill_(0)
    shape = {nn.Linear: (1, 3), nn.Conv1d: (1, 4, 3), nn.Conv2d: (1, 2, 3, 3)}[type(layer)]
    assert layer(torch.ones(shape)).reshape(-1)[0] == fan_in(layer, "weight")


def test_digest_names_the_layout_and_what_else_is_agreed():
    digest = Network(mixed()).digest()
    assert digest.hex() == "e11de87eb41083bc"
    assert Network(mixed()).digest() == digest  # the values of the weights are not in it
    others = [
        Network(mixed()).digest(b""),
        Network(mixed()).digest(b"a"),
        Network(mixed()).digest(b"a", b""),
        Network(mixed()).digest(b"", b"a"),
        Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))).digest(),
        Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 8))).digest(),
    ]
    assert len({digest, *others}) == 7


def test_the_package_does_not_import_torch():
    script = "import sys; sys.modules['torch'] = None; import fedgates.nn, fedgates.nn.size; print(dir(fedgates.nn))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "['Gates', 'Network', 'ParameterSlice', 'remove_dead_units']\n", done.stderr


def test_the_digest_depends_on_saved_buffers_alone():
    def digest(value=1.0, *, persistent=True, name="scale", dtype=torch.float32):
        module = nn.Sequential(nn.Linear(3, 2))
        module.register_buffer(name, torch.tensor([value, 2.0], dtype=dtype), persistent=persistent)
        return Network(module).digest()

    plain = Network(nn.Sequential(nn.Linear(3, 2))).digest()
    assert digest(persistent=False) == plain
    assert digest() == digest()
    assert len({plain, digest(), digest(3.0), digest(name="other"), digest(dtype=torch.float64)}) == 5
