import math

import numpy as np
import pytest
from torch import nn

from fedgates.methods.inertia import inertia
from fedgates.nn.network import Network

SLOTS = Network(nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))).slices  # two weights, a bias, a weight, a bias


def moved(before, after):
    return inertia(SLOTS, np.array(before, dtype=np.float32), np.array(after, dtype=np.float32))


def test_each_layers_norm_by_hand():
    assert moved([6, 8, 0, 2, 5], [9, 4, 7, 2, 9]) == {
        "inertia_0.weight": 5,
        "rms_inertia_0.weight": pytest.approx(5 / math.sqrt(2)),
        "inertia_1.weight": 0,
        "rms_inertia_1.weight": 0,
    }


def test_what_lies_behind_the_weights_does_not_count():
    assert moved([6, 8, 0, 2, 5, 1, 1], [9, 4, 7, 2, 9, 8, 8]) == moved([6, 8, 0, 2, 5], [9, 4, 7, 2, 9])


def test_large_weights_have_a_finite_norm():
    assert moved([3e38, 0, 0, 0, 0], [-3e38, 0, 0, 0, 0])["inertia_0.weight"] == pytest.approx(6e38)
