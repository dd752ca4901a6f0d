"""The confusion matrix of a run: that of its model's predictions of the test set."""

import numpy as np
import pytest
import torch
from loopback_runs import MLP, run
from sklearn.metrics import confusion_matrix

from fedgates import model_file
from fedgates.data import normalise, to_tensors
from fedgates.data.digits import digits
from fedgates.runs.confusion import read_confusion

NETWORK = MLP


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedpm", "fedavg"])
@pytest.mark.usefixtures("whole_runs")
def test_it_is_that_of_the_last_evaluation(raw, strategy):
    folder = run(raw(strategy=strategy, num_server_rounds=3, evaluate_every=2)).path
    found = read_confusion(folder)
    test = digits().test
    with torch.no_grad():
        predicted = model_file.load(folder / "model.fedgates").network(normalise(to_tensors(test, "cpu")[0])).argmax(1)
    assert found.round == 3
    assert found.classes == [str(digit) for digit in range(10)]
    assert np.array_equal(found.counts, confusion_matrix(test.y, predicted, labels=range(10)))


def test_a_regression_has_none(raw):
    folder = run(raw(dataset="synthetic-linear", model="linear", strategy="fedavg", num_server_rounds=1)).path
    assert "confusion.json" not in {path.name for path in folder.iterdir()}
