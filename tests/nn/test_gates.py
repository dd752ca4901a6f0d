import math

import numpy as np
import pytest
import torch
from torch import nn

from fedgates import rng
from fedgates.errors import NetworkError
from fedgates.nn.gates import Gates, sample, sample_with, weight_scale
from fedgates.nn.network import Network
from fedgates.util.entropy import binary_entropy


def small():
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2, bias=False))


def gates(module=None, seed=1, scale="kaiming"):
    return Gates(Network(module or small()), seed, scale)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- frozen weights


@pytest.mark.parametrize(
    ("scale", "first", "last"),
    [
        ("kaiming", math.sqrt(2 / 3), 1.0),
        ("authors-code", math.e / math.sqrt(3), math.e / math.sqrt(2)),
        ("density", math.sqrt(2 / (0.5 * 3)), math.sqrt(2)),
    ],
)
def test_frozen_weights_are_signs_from_the_seed_times_one_number_a_layer(scale, first, last):
    frozen = gates(seed=7, scale=scale).frozen
    signs = 2 * rng.bits(12, 7, "weights").astype(np.float32) - 1
    magnitude = np.array([first] * 8 + [last] * 4, dtype=np.float32)  # biases have their layer's
    assert frozen.dtype == torch.float32
    assert frozen.tolist() == (signs * magnitude).tolist()


def test_frozen_weights_are_fixed_for_ever():
    # whoever changes these changes every network ever trained
    found = gates()
    assert (found.frozen > 0).int().tolist() == [0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1]
    assert found.digest.hex() == "79b40a9165e7eabb"


def test_a_digest_has_the_first_name_of_a_scale():
    found = gates(scale="authors-code")
    fans = ",".join(str(part.fan_in) for part in found.network.slices).encode()
    signs = (found.frozen > 0).numpy().astype(np.uint8)
    assert found.digest == found.network.digest(b"released", fans, signs.tobytes())


@pytest.mark.parametrize("scale", ["kaiming", "authors-code", "density"])
def test_weight_scale_of_a_wide_layer(scale):
    factor = {"kaiming": 1.4142135, "authors-code": 2.7182818, "density": 2.0}[scale]
    assert weight_scale(scale, 100) == pytest.approx(factor / 10)


def test_digest_changes_with_seed_scale_and_layout():
    digests = {
        gates().digest,
        gates(seed=2).digest,
        gates(scale="authors-code").digest,
        gates(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))).digest,
        gates(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, bias=False))).digest,
        gates(nn.Conv2d(1, 2, 3)).digest,
    }
    assert len(digests) == 6
    assert len(gates().digest) == 8
    assert gates().digest == gates().digest


def test_different_frozen_weights_have_different_digests():
    # the same shapes, but every other tap meets an input: another fan-in, so another magnitude
    one, two = gates(nn.ConvTranspose2d(4, 4, 2)), gates(nn.ConvTranspose2d(4, 4, 2, stride=2))
    assert not torch.equal(one.frozen, two.frozen)
    assert one.digest != two.digest


def test_initial_weights_of_the_module_do_not_matter():
    torch.manual_seed(1)
    first = gates()
    torch.manual_seed(2)
    second = gates()
    assert torch.equal(first.frozen, second.frozen)
    assert first.digest == second.digest


# --- samples


def test_sample_frequencies_are_theta():
    theta = torch.tensor([0.0, 0.001, 0.3, 0.5, 0.9, 1.0])
    draws, draw = 20_000, generator()
    found = sum(sample(theta, draw).double() for _ in range(draws)) / draws
    four_deviations = 4 * (theta * (1 - theta) / draws).sqrt()
    assert bool(((found - theta).abs() <= four_deviations).all())


def test_sample_of_more_than_one_chunk():
    theta = torch.full((200_001,), 0.25)
    mask = sample(theta, generator())
    assert mask.dtype == torch.bool
    assert mask.shape == theta.shape
    for part in (mask[: 1 << 16], mask[1 << 16 : 1 << 17], mask[1 << 17 : 3 << 16], mask[-1000:]):
        assert abs(part.double().mean() - 0.25) < 4 * math.sqrt(0.1875 / len(part))
    assert not torch.equal(mask[: 1 << 16], mask[1 << 16 : 1 << 17])


def test_the_last_chunk_may_be_one_gate():
    for size in (1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1):
        assert sample(torch.ones(size), generator()).all()
        assert not sample(torch.zeros(size), generator()).any()


def test_sample_is_a_function_of_the_generator_alone():
    theta = torch.full((100,), 0.5)
    torch.manual_seed(1)
    first, before = sample(theta, generator(3)), torch.get_rng_state()
    assert torch.equal(sample(theta, generator(3)), first)
    assert not torch.equal(sample(theta, generator(4)), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_sample_with_given_numbers_by_hand():
    coins = np.array([0, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    for theta, expected in [
        (0.0, [False, False, False, False]),
        (2.0**-32, [True, False, False, False]),
        (0.5, [True, True, False, False]),
        (1 - 2.0**-24, [True, True, True, False]),
        (1.0, [True, True, True, True]),
    ]:
        mask = sample_with(torch.full((4,), theta), coins)
        assert mask.dtype == np.bool_
        assert mask.tolist() == expected


def test_sample_with_coins_is_a_sample_of_theta():
    theta = torch.tensor([0.0, 0.001, 0.3, 0.5, 0.9, 1.0]).repeat_interleave(20_000)
    mask = sample_with(theta, rng.coins(len(theta), 1, server_round=2, client=3))
    found, p = mask.reshape(6, -1).mean(1), theta[::20_000].double().numpy()
    assert (np.abs(found - p) <= 4 * np.sqrt(p * (1 - p) / 20_000)).all()


def test_sample_with_the_same_coins_a_gate_is_kept_that_became_likelier():
    coins = rng.coins(1000, 1, server_round=2, client=3)
    before, after = (sample_with(torch.full((1000,), theta), coins) for theta in (0.3, 0.4))
    assert (before <= after).all()
    assert 60 < (before != after).sum() < 140


def test_load_sample_is_the_frozen_weights_times_a_sample_of_the_sigmoid():
    wide = gates(nn.Linear(300, 250))  # more than one chunk
    scores = torch.linspace(-3, 3, wide.network.size)
    wide.load_sample(scores, generator(5))
    mask = sample(torch.sigmoid(scores), generator(5))
    assert 0.3 < mask.double().mean() < 0.7
    assert torch.equal(wide.network.weights, wide.frozen * mask)


def test_load_sample_draws_afresh():
    found, draw = gates(nn.Linear(30, 30)), generator()
    loaded = []
    for _ in range(2):
        found.load_sample(torch.zeros(930), draw)
        loaded.append(found.network.weights.clone())
    assert not torch.equal(*loaded)


def test_load_takes_masks_and_probabilities():
    found = gates()
    mask = torch.arange(12) % 3 == 0
    found.load(mask)
    assert found.network.weights.tolist() == [w if i % 3 == 0 else 0 for i, w in enumerate(found.frozen.tolist())]
    theta = torch.linspace(0, 1, 12)
    found.load(theta)
    assert torch.equal(found.network.weights, found.frozen * theta)
    x = torch.tensor([[1.0, 2, 3]])
    weight, bias, last = found.frozen[:6].view(2, 3) * theta[:6].view(2, 3), (found.frozen * theta)[6:8], found.frozen[8:]
    expected = torch.relu(x @ weight.T + bias) @ (last * theta[8:]).view(2, 2).T
    assert torch.allclose(found.network(x), expected)


# --- the gradient


def by_autograd(found, scores, upstream, density_penalty, *, authors_code):
    """The same by torch: differentiate the loss of ``w * sigmoid(s)`` with the gradient taken at the sampled mask."""
    s = scores.double().requires_grad_()
    theta = torch.sigmoid(s)
    linear = upstream.double() * found.frozen.double() * theta  # has slope g * w to theta
    if authors_code:
        linear = linear * theta.detach()
    (linear.sum() + density_penalty * theta.mean()).backward()
    return s.grad


@pytest.mark.parametrize("density_penalty", [0.0, 0.1, 30.0])
@pytest.mark.parametrize("estimator", ["identity", "authors-code"])
@pytest.mark.parametrize("module", [small(), nn.Linear(300, 250)], ids=["one chunk", "two chunks"])
def test_straight_through_is_what_autograd_gives(module, estimator, density_penalty):
    found = gates(module)
    scores = torch.randn(found.network.size, generator=generator(1)) * 3
    upstream = torch.randn(found.network.size, generator=generator(2))
    found.network.gradient.copy_(upstream)
    found.straight_through(scores, estimator, density_penalty)
    expected = by_autograd(found, scores, upstream, density_penalty, authors_code=estimator == "authors-code")
    assert torch.allclose(found.network.gradient.double(), expected, rtol=1e-4, atol=1e-7)


def test_straight_through_of_a_real_loss():
    found = gates()
    scores = torch.tensor([3.0, -1, 2, 0.5, 4, -2, 1, 0, 2, 1, 3, 2])
    x, y = torch.tensor([[1.0, -2, 3], [0.5, 1, -1]]), torch.tensor([0, 1])
    found.load_sample(scores, generator(2))
    mask = found.network.weights != 0
    nn.functional.cross_entropy(found.network(x), y).backward()
    found.straight_through(scores, density_penalty=0.7)

    s = scores.clone().requires_grad_()
    theta = torch.sigmoid(s)
    gate = mask + theta - theta.detach()  # the textbook's straight-through: m forward, theta backward
    w = found.frozen * gate
    logits = torch.relu(x @ w[:6].view(2, 3).T + w[6:8]) @ w[8:].view(2, 2).T
    (nn.functional.cross_entropy(logits, y) + 0.7 * theta.mean()).backward()
    assert s.grad.abs().max() > 0.1
    assert torch.allclose(found.network.gradient, s.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("change", ["none", "in place", "others"])
def test_straight_through_after_a_load_is_of_the_present_scores(change):
    kept, alone = gates(nn.Linear(300, 250)), gates(nn.Linear(300, 250))
    scores = torch.randn(kept.network.size, generator=generator(1))
    kept.load_mean(scores)
    if change == "in place":
        scores[70_000:].mul_(2)
    elif change == "others":
        scores = scores + 1
    for each in (kept, alone):
        each.network.gradient.fill_(1)
        each.straight_through(scores)
    assert torch.equal(kept.network.gradient, alone.network.gradient)


def test_straight_through_by_hand():
    found = gates(nn.Linear(1, 2))  # w = +-sqrt(2), four gates
    found.network.gradient.fill_(1)
    found.straight_through(torch.zeros(4), "identity", 0.0)
    assert torch.allclose(found.network.gradient, found.frozen / 4)
    found.network.gradient.fill_(1)
    found.straight_through(torch.zeros(4), "authors-code", 0.0)
    assert torch.allclose(found.network.gradient, found.frozen / 8)
    found.network.gradient.fill_(0)
    found.straight_through(torch.zeros(4), "authors-code", 8.0)
    assert found.network.gradient.tolist() == [0.5] * 4  # lambda / d * 1/4; theta does not multiply the penalty


def test_straight_through_of_closed_and_open_gates_is_zero_and_finite():
    found = gates(nn.Linear(1, 2))
    found.network.gradient.fill_(1)
    found.straight_through(torch.tensor([-200.0, 200, -math.inf, math.inf]), "identity", 1.0)
    assert found.network.gradient.abs().tolist() == [0] * 4


# --- which networks


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(nn.Linear(6, 2), 6), (nn.LSTM(5, 3), 5), (nn.MultiheadAttention(4, 2), 4), (nn.Bilinear(2, 3, 2), 6)],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_a_matrix_has_the_scale_of_its_fan_in(layer, fan_in):
    own = gates(layer)
    first = own.network.slices[0]
    assert torch.equal(own.frozen[first.part].abs(), torch.full((first.size,), math.sqrt(2 / fan_in)))


def test_what_has_no_fan_in_has_the_scale_that_it_came_with():
    layer = nn.Embedding(50, 8)
    rms = float(layer.weight.detach().square().mean().sqrt())
    frozen = gates(layer).frozen.abs()
    assert frozen.unique().numel() == 1
    assert frozen[0].item() == pytest.approx(rms, rel=1 / 256)
    with torch.no_grad():
        layer.weight.mul_(1 + 1e-6)  # as another machine's sums might
    assert torch.equal(gates(layer).frozen.abs(), frozen)


def test_given_weights_are_those_that_the_network_came_with_and_fresh_ones_random():
    module = small()
    came_with = torch.cat([p.detach().flatten() for p in module.parameters()])
    own = Gates(Network(module), 1, given={"0.weight", "0.bias"})
    assert torch.equal(own.frozen[:8], came_with[:8])
    assert own.given.tolist() == [True] * 8 + [False] * 4
    assert torch.equal(own.frozen[8:], gates(small()).frozen[8:])
    other = small()
    with torch.no_grad():
        other[0].weight.copy_(module[0].weight + 1e-6)
        other[0].bias.copy_(module[0].bias)
    assert Gates(Network(other), 1, given={"0.weight", "0.bias"}).digest != own.digest


def test_gates_on_zeros_are_refused():
    module = small()
    nn.init.zeros_(module[0].weight)
    with pytest.raises(NetworkError, match=r"parameter '0.weight' has only zeros, .* \(gates.frozen = given\); add it to"):
        Gates(Network(module), 1, given={"0.weight"})
    with pytest.raises(
        NetworkError, match=r"parameter 'weight' has only zeros, .* \(a parameter without a fan-in\); add it to"
    ):
        gates(nn.PReLU(init=0.0))


class CodingContext(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.third = nn.Linear(4, 4, bias=False)
        self.third.weight = self.first.weight

    def forward(self, x):
        return self.third(self.second(self.first(x)))


@pytest.mark.parametrize(
    ("module", "shape", "size"),
    [
        (nn.Linear(4, 2, bias=False), (1, 4), 8),
        (nn.Conv1d(2, 4, 3, padding=1), (1, 2, 5), 28),
        (nn.Conv2d(4, 4, 3, groups=2, stride=2, bias=False), (1, 4, 6, 6), 72),
        (nn.Conv2d(4, 4, 3, groups=4, dilation=2, padding_mode="reflect", padding=1), (1, 4, 6, 6), 40),
        (nn.Conv3d(1, 2, 2), (1, 1, 3, 3, 3), 18),
        (nn.ConvTranspose1d(2, 3, 2), (1, 2, 4), 15),
        (nn.ConvTranspose2d(2, 4, 2, stride=2, groups=2), (1, 2, 3, 3), 20),
        (nn.ConvTranspose3d(1, 2, 2, bias=False), (1, 1, 2, 2, 2), 16),
        (CodingContext(), (1, 4), 20),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False, track_running_stats=False)), (2, 1, 4, 4), 20),
        (nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.LayerNorm(6, elementwise_affine=False)), (1, 4), 30),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_any_linear_and_convolution_layers_are_gated(module, shape, size):
    found = gates(module)
    assert found.network.size == len(found.frozen) == size
    assert found.frozen.abs().min() > 0
    found.load(torch.ones(size, dtype=torch.bool))
    found.network(torch.rand(shape, generator=generator())).pow(3).sum().backward()
    assert found.network.gradient.abs().sum() > 0
    found.straight_through(torch.zeros(size))
    assert bool(found.network.gradient.isfinite().all())


def test_shared_modules_share_their_gates():
    found = gates(CodingContext())
    found.load(torch.cat([torch.eye(4).reshape(-1), torch.zeros(4)]))
    c = found.frozen[:16].view(4, 4).diagonal()
    assert torch.allclose(found.network(torch.ones(1, 4)), c.pow(3)[None])


def test_batchnorm_without_parameters_works_on_the_statistics_of_the_batch():
    found = gates(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False, track_running_stats=False)))
    found.load(torch.ones(9))
    x = torch.rand(6, 2, generator=generator())
    for mode in (True, False):
        output = found.network.module.train(mode)(x)
        assert torch.allclose(output.mean(0), torch.zeros(3), atol=1e-5)
    assert list(found.network.module.buffers()) == []


@pytest.mark.parametrize(("density", "bits"), [(0, 0), (1, 0), (0.5, 1), (0.25, 0.8112781), (0.89, 0.4999158)])
def test_entropy(density, bits):
    assert binary_entropy(density) == pytest.approx(bits)
