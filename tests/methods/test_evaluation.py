import math

import pytest
import torch
from torch import nn

from fedgates.data import normalise
from fedgates.methods.evaluation import confusion_matrix, predict, score
from fedgates.methods.training import Task, backward
from fedgates.nn.network import Network


def linear(*weights):
    """Two classes, one pixel: weights of class 0 and 1, then their biases."""
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)))
    network.weights.copy_(torch.tensor(weights))
    return network


def test_predict_by_hand():
    network = linear(math.log(3), 0, 0, 0)
    found = predict(network, torch.tensor([255, 0], dtype=torch.uint8).view(2, 1, 1, 1))
    assert found.dtype == torch.float32
    assert found.tolist() == [pytest.approx([0.75, 0.25]), pytest.approx([0.25, 0.75])]
    assert not network.module.training


def test_predict_of_more_than_one_batch_keeps_the_order():
    x = (torch.arange(1201) % 256).to(torch.uint8).view(-1, 1, 1, 1)
    found = predict(linear(1.0, -1, 0, 0), x)
    expected = torch.sigmoid(2 * (x.float().view(-1) / 127.5 - 1))
    assert torch.allclose(found[:, 0], expected, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(1201))


def test_evaluation_batches_are_of_one_size_and_see_all_classes():
    sizes, means = [], []

    class Watched(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            means.append(float(x.mean()))
            return x.flatten(1).repeat(1, 2)

    network = Network(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), Watched()))
    network.weights.fill_(1)
    x = torch.tensor([0] * 600 + [255] * 601, dtype=torch.uint8).view(-1, 1, 1, 1)  # sorted
    predict(network, x)
    assert sorted(sizes) == [400, 400, 401]
    assert max(map(abs, means)) < 0.1
    means.clear()
    predict(network, torch.tensor([0, 255, 255, 0] * 300, dtype=torch.uint8).view(-1, 1, 1, 1))  # classes in turn
    assert len(means) == 3
    assert max(map(abs, means)) < 0.1
    sizes.clear()
    for n, expected in ((0, [0]), (1, [1]), (500, [500]), (501, [251, 250]), (1000, [500, 500])):
        sizes.clear()
        assert len(predict(network, x[:1].expand(n, 1, 1, 1))) == n
        assert sizes == expected


@pytest.mark.parametrize(
    ("layers", "largest"),
    [
        ([nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten()], 64),
        ([nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten()], 500),  # depends on the other examples
        ([nn.Flatten(), nn.Linear(1, 2)], 500),  # faster so
    ],
)
def test_evaluation_batches_are_small_where_convolutions_allow_it(layers, largest):
    network, sizes = Network(nn.Sequential(*layers)), []
    network.module.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    x = torch.randint(0, 256, (1001, 1, 1, 1), dtype=torch.uint8)
    found = predict(network, x)
    assert max(sizes) <= largest
    assert len(sizes) == math.ceil(1001 / largest)
    if largest == 64:
        assert torch.allclose(found, torch.softmax(network(normalise(x)), 1), atol=1e-6)


def test_predict_switches_dropout_off_and_backward_switches_it_on():
    network = Network(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(400, 2)))
    x = torch.full((2, 1, 20, 20), 255, dtype=torch.uint8)
    assert torch.equal(predict(network, x), predict(network, x))
    both = Task(x, torch.tensor([0, 1]), 1, 0)
    losses = {backward(network, both, torch.tensor([0, 1]), "float32").item() for _ in range(3)}
    assert len(losses) == 3


def test_score_by_hand():
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5], [0.0, 0.0, 1.0]])
    found = score(probabilities, torch.tensor([0, 1, 0, 1]))
    # a class held impossible costs -log(1e-12), not infinity
    expected = -(math.log(0.5) + math.log(0.8) + math.log(0.25) + math.log(1e-12)) / 4
    assert found == {"accuracy": 0.5, "loss": pytest.approx(expected, rel=1e-6)}


def test_the_confusion_matrix_by_hand():
    predictions = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    assert confusion_matrix(predictions, torch.tensor([0, 1, 1, 1])).tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]


def test_score_of_probabilities_that_are_no_numbers_is_finite():
    # a network whose weights overflow gives them, and its round still has to be written down
    found = score(torch.full((4, 2), math.nan), torch.tensor([0, 1, 1, 1]))
    assert found == {"accuracy": 0, "loss": pytest.approx(-math.log(1e-12), rel=1e-6), "not_finite": 1}


def test_score_of_a_regression_by_hand():
    y = torch.tensor([1.0, 2, 3, 6])  # mean 3, SST 14
    found = score(torch.tensor([[1.0], [2], [5], [5]]), y)  # SSE 4 + 1
    assert found == {"r2": pytest.approx(1 - 5 / 14), "loss": pytest.approx(5 / 4)}
    assert score(y[:, None], y) == {"r2": 1, "loss": 0}
    assert score(torch.full((4, 1), 3.0), y) == {"r2": 0, "loss": 3.5}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_score_of_a_regression_is_finite_and_worst_where_predictions_are_not(value):
    y = torch.tensor([1.0, 2, 3])
    found, large = score(torch.tensor([[value], [2], [3]]), y), score(torch.tensor([[1e38], [2], [3]]), y)
    assert all(map(math.isfinite, found.values()))
    assert found["loss"] > large["loss"]
    assert found["r2"] < large["r2"] < 0


def test_score_of_targets_that_are_all_the_same():
    y = torch.full((3,), 0.1)  # whose mean is not it in floating point
    assert score(torch.zeros(3, 1), y) == {"r2": 0, "loss": pytest.approx(0.01)}
    assert score(torch.zeros(1, 1), y[:1]) == {"r2": 0, "loss": pytest.approx(0.01)}
