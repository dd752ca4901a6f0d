import pytest
import torch
from torch import nn

from fedgates.methods.evaluation import predict
from fedgates.models.batch_norm import BatchNorm
from fedgates.nn.network import Network


@pytest.mark.parametrize("training", [True, False])
def test_each_channel_by_its_own_batch(training):
    norm = BatchNorm(2).train(training)
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 10.0]]], [[[5.0, 7.0]], [[20.0, 30.0]]]])  # [2, 2, 1, 2]: 1 3 5 7 and 0 10 20 30
    by_hand = torch.tensor([-3.0, -1, 1, 3]) / 5**0.5  # mean 4, variance 5; mean 15, variance 125
    assert torch.allclose(norm(x)[:, 0].flatten(), by_hand, atol=1e-5)
    assert torch.allclose(norm(x)[:, 1].flatten(), by_hand, atol=1e-5)
    assert norm(x[:1])[:, 0].flatten().tolist() == pytest.approx([-1, 1], abs=1e-4)  # the other image counts no more


def test_it_has_no_state():
    norm = BatchNorm(3)
    norm(torch.rand(4, 3, 2, 2))
    assert norm.state_dict() == {}


@pytest.mark.parametrize("training", [True, False])
def test_a_single_value_a_channel_is_normalised_over_the_channels(training):
    x = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 4, 1, 1)
    assert BatchNorm(4).train(training)(x).flatten().tolist() == pytest.approx(
        [-3 / 5**0.5, -(5**-0.5), 5**-0.5, 3 / 5**0.5], abs=1e-5
    )


def test_a_last_batch_of_one_image_neither_raises_nor_is_blind():
    network = Network(nn.Sequential(nn.Conv2d(1, 8, 1, bias=False), BatchNorm(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)))
    dark, light = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1, 1)
    assert not torch.allclose(predict(network, dark), predict(network, light))


def test_it_learns_from_a_batch_of_one_image():
    norm = BatchNorm(3)
    x = torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1).requires_grad_()
    norm(x).square().mul(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)).sum().backward()
    assert x.grad.abs().sum() > 0.01
