"""Samples from 16-bit lots: of the right distribution, to the last bit of the lots."""

import math

import numpy as np
import pytest
import torch

from fedgates.nn import bernoulli as module
from fedgates.nn.bernoulli import bernoulli, multiply


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_the_share_of_ones_is_theta():
    for p in (0.0005, 0.03, 0.3, 0.5, 0.77, 0.999):
        n = 400_000
        share = bernoulli(torch.full((n,), p), generator()).double().mean().item()
        assert abs(share - p) < 4.5 * (p * (1 - p) / n) ** 0.5, p


def test_samples_are_independent_of_their_neighbours():
    drawn = bernoulli(torch.full((200_000,), 0.5), generator()).double() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert abs((drawn[lag:] * drawn[:-lag]).mean().item()) < 4.5 * 0.25 / 200_000**0.5


@pytest.mark.parametrize("p", [0.0, 1e-30, 2**-16 * 0.75, 0.3, 1 - 2**-24, 1.0])
def test_every_pair_of_lots_is_counted(monkeypatch, p):
    """Of all first lots with a chosen second one, as many are ones as the definition has: ceil(2^32 theta) of 2^32 pairs."""
    theta = np.full(65536, p, dtype=np.float32)
    exact = math.ceil(float(theta[0]) * 2.0**32)
    whole, rest = divmod(exact, 65536)
    for second in {0, max(rest - 1, 0), min(rest, 65535), 65535}:
        monkeypatch.setattr(module, "_lots", lambda count, _, second=second: np.full(count, second, dtype=np.uint16))
        ones = int(module._below(theta, np.arange(65536).astype(np.uint16), generator()).sum())
        assert ones == whole + (second < rest), second


def test_zero_and_one_are_sure_and_nan_does_no_harm():
    theta = torch.tensor([0.0, 1.0, float("nan")]).repeat(50_000)
    drawn = bernoulli(theta, generator()).view(-1, 3)
    assert not drawn[:, 0].any()
    assert drawn[:, 1].all()


def test_samples_repeat_by_the_seed():
    theta = torch.rand(1003, generator=generator())
    assert torch.equal(bernoulli(theta, generator(3)), bernoulli(theta, generator(3)))
    assert not torch.equal(bernoulli(theta, generator(3)), bernoulli(theta, generator(4)))
    assert bernoulli(theta[:0], generator()).shape == (0,)


@pytest.mark.parametrize("gate", [torch.arange(6) % 2 == 0, torch.linspace(0, 1, 6), (torch.arange(12) % 5 == 0).view(2, 6)])
def test_multiply_is_a_product(gate):
    values, out = torch.tensor([1.0, -2, 3, -4, 5, -6]), torch.full(gate.shape, 9.0)
    multiply(values, gate, out)
    assert torch.equal(out, values * gate)
