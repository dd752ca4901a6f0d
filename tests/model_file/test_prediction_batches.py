"""How many images are predicted together: fewer where a model's images are large."""

import numpy as np
import pytest
import torch
from torch import nn

from fedgates.model_file import Facts, prediction
from fedgates.model_file.prediction import Images, predictions
from fedgates.types import Problem


class Counting(nn.Module):
    """A model that notes the size of each batch, and finds the class of each image by its first pixel."""

    def __init__(self, classes):
        super().__init__()
        self.facts = Facts("a:b", Problem.of_images((3, 10, 10), classes), tuple(map(str, range(classes))), 3, "", "", {})
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return nn.functional.one_hot(x[:, 0, 0, 0].long(), len(self.facts.class_names)).float()


@pytest.mark.parametrize(("most", "batches"), [(1 << 24, [256, 44]), (3000, [10] * 30), (100, [1] * 300)])
def test_a_batch_has_so_many_values_at_most_and_at_least_one_image(monkeypatch, most, batches):
    monkeypatch.setattr(prediction, "_MOST_VALUES", most)
    pixels = np.zeros((300, 3, 10, 10), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(300) % 7
    model = Counting(7)
    found = predictions(model, Images([str(i) for i in range(300)], pixels), 1)
    assert model.batches == batches
    assert [each["labels"][0]["label"] for each in found] == [str(i % 7) for i in range(300)]
    assert torch.is_grad_enabled()
