import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedgates.nn.activation_pruning import largest_activations, pruned_activations


def gradients(module, x, *, pruned, precision=None):
    """Output of the module, and the gradients of its input and its parameters, of the sum of squared outputs."""
    module.zero_grad()
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        if pruned:
            with pruned_activations(module):
                output = module(x)
        else:
            output = module(x)
    output.float().square().sum().backward()
    return output.detach(), x.grad, [p.grad.clone() for p in module.parameters()]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.2, [0, -5, 0, 0, 0]),
        (0.4, [0, -5, 3, 0, 0]),
        (0.6, [0, -5, 3, -2, 2]),  # equal ones at the edge stay together
        (0.0, [0, -5, 0, 0, 0]),
        (1.0, [1, -5, 3, -2, 2]),
    ],
)
def test_the_largest_are_kept(share, expected):
    assert largest_activations(torch.tensor([1.0, -5, 3, -2, 2]), share).tolist() == expected


def test_the_share_is_of_the_whole_batch():
    x = torch.tensor([[1.0, 2], [3, 4]])
    assert largest_activations(x, 0.5).tolist() == [[0, 0], [3, 4]]


def test_a_linear_layer_by_hand():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0], [0, 2]]))  # half of it zero: half of the batch's four inputs are kept
        layer.bias.copy_(torch.tensor([1.0, -1]))
    x = torch.tensor([[1.0, 2], [3, -4]])
    output, of_x, (of_weight, of_bias) = gradients(layer, x, pruned=True)
    assert output.tolist() == [[2, 3], [4, -9]]
    # d loss / d output is twice the output
    assert of_x.tolist() == [[4, 12], [8, -36]]
    assert of_weight.tolist() == [[8 * 3, 8 * -4], [-18 * 3, -18 * -4]]
    assert of_bias.tolist() == [12, -12]


def convolutions():
    yield nn.Conv2d(2, 4, 3, padding=1)
    yield nn.Conv2d(2, 4, 3, stride=2, dilation=2, bias=False)
    yield nn.Conv2d(2, 4, (1, 3), padding=(0, 1), groups=2)


@pytest.mark.parametrize("layer", convolutions(), ids=str)
def test_a_convolution_is_exact_but_for_its_kernels_gradient(layer):
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        layer.weight.view(-1)[::4] = 0
    plain, pruned = gradients(layer, x, pruned=False), gradients(layer, x, pruned=True)
    assert torch.equal(plain[0], pruned[0])
    torch.testing.assert_close(plain[1], pruned[1])
    # the kernel's gradient is that of a convolution whose input was pruned, with the same gradient behind it
    layer.zero_grad()
    kept = largest_activations(x, 0.75)
    assert 0 < int((kept == 0).sum()) < x.numel()
    layer(kept).backward(2 * plain[0])
    for found, expected, exact in zip(pruned[2], [p.grad for p in layer.parameters()], plain[2], strict=True):
        torch.testing.assert_close(found, expected)
        assert torch.allclose(found, exact) == (found.dim() == 1)


def test_dense_layers_keep_all():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    x = torch.randn(2, 1, 4, 4)
    plain, pruned = gradients(module, x, pruned=False), gradients(module, x, pruned=True)
    torch.testing.assert_close(plain, pruned)


def test_each_layer_has_its_own_share():
    first, last = nn.Linear(4, 4, bias=False), nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.eye(4))  # a quarter
        last.weight.fill_(1.0)  # dense
    x = torch.tensor([[1.0, 2, 3, 4]])
    _, _, (of_first, of_last) = gradients(nn.Sequential(first, last), x, pruned=True)
    assert of_first[0].tolist() == [0, 0, 0, 80]  # d loss / d output is 2 * 10
    assert of_last[0].tolist() == [20, 40, 60, 80]


def test_layers_are_as_before_afterwards_whatever_happens():
    module = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="shapes"), pruned_activations(module):
        module(torch.zeros(1, 3))
    assert "forward" not in vars(module[0])


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "layer",
    [Doubled(4, 4), nn.Conv2d(1, 1, 3, padding="same"), nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")],
    ids=str,
)
def test_layers_of_another_kind_stay_exact(layer):
    with torch.no_grad():
        layer.weight.view(-1)[1:] = 0
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(gradients(layer, x, pruned=False), gradients(layer, x, pruned=True), rtol=0, atol=0)


def test_inputs_of_more_than_two_dimensions():
    layer = nn.Linear(3, 2)
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(gradients(layer, x, pruned=False), gradients(layer, x, pruned=True))


@pytest.mark.parametrize("make", [lambda: nn.Linear(16, 4), lambda: nn.Conv2d(1, 4, 3)])
def test_under_autocast_it_computes_in_bfloat16(make):
    layer = make()
    x = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(4))
    plain = gradients(layer, x, pruned=False, precision="bfloat16")
    pruned = gradients(layer, x, pruned=True, precision="bfloat16")
    assert pruned[0].dtype == torch.bfloat16
    assert torch.equal(plain[0], pruned[0])
    assert [g.dtype for g in pruned[2]] == [torch.float32] * 2
    torch.testing.assert_close(plain[1:], pruned[1:], rtol=0.02, atol=0.5)


def test_an_input_that_needs_no_gradient_gets_none():
    layer = nn.Linear(2, 1)
    x = torch.ones(1, 2)
    with pruned_activations(layer):
        F.relu(layer(x)).sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_the_networks_input_is_pruned_only_if_asked(kind):
    """Two layers of half their weights; the input has one large entry and one small, and the hidden layer, too."""
    make = {"linear": lambda: nn.Linear(2, 2, bias=False), "convolution": lambda: nn.Conv2d(2, 2, 1, bias=False)}[kind]
    module = nn.Sequential(nn.Identity(), make(), nn.ReLU(), make())
    with torch.no_grad():
        for layer in (module[1], module[3]):
            layer.weight.copy_(torch.eye(2).view_as(layer.weight))
    x = torch.tensor([[1.0, 3.0]]).view((1, 2) if kind == "linear" else (1, 2, 1, 1))

    def found(**options):
        module.zero_grad()
        with pruned_activations(module, **options):
            module(x).square().sum().backward()
        return [layer.weight.grad.flatten().tolist() for layer in (module[1], module[3])]

    # d loss / d output = (2, 6), also behind the first layer; of an input (1, 3) the pruned one is (0, 3)
    assert found() == [[2, 6, 6, 18], [0, 6, 0, 18]]
    assert found(prune_input=True) == [[0, 6, 0, 18], [0, 6, 0, 18]]
