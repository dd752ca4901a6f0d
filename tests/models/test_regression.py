import pytest
import torch

from fedgates.models import build
from fedgates.types import Problem


def test_linear_by_hand():
    model = build("linear", Problem.of_images((1, 1, 3), 0))
    assert [tuple(p.shape) for p in model.parameters()] == [(1, 3)]
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[2.0, 0, -1]]))
    x = torch.tensor([[1.0, 5, 1], [0, 7, 3]]).view(2, 1, 1, 3)
    assert model(x).tolist() == [[1], [-3]]


def test_logistic_of_two_classes_has_one_weight_vector_and_puts_the_first_class_at_zero():
    model = build("logistic", Problem.of_images((1, 1, 3), 2))
    assert [tuple(p.shape) for p in model.parameters()] == [(1, 3)]
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[2.0, 0, -1]]))
    x = torch.tensor([[1.0, 5, 1], [0, 7, 3]]).view(2, 1, 1, 3)
    assert model(x).tolist() == [[0, 1], [0, -3]]
    assert model(x).softmax(1)[:, 1].tolist() == pytest.approx(torch.sigmoid(torch.tensor([1.0, -3])).tolist())


def test_logistic_of_more_classes_has_a_weight_vector_each():
    model = build("logistic", Problem.of_images((1, 2, 3), 4))
    assert [tuple(p.shape) for p in model.parameters()] == [(4, 6)]
    x = torch.rand(5, 1, 2, 3)
    assert torch.equal(model(x), x.flatten(1) @ model[1].weight.T)
