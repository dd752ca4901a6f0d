import numpy as np
from configs import config_of

from fedgates.config import RunConfig
from fedgates.data import load


def test_digits():
    data = load(config_of(RunConfig, dataset="digits"))
    assert data.name == "digits"
    assert data.num_classes == 10
    assert data.class_names == tuple("0123456789")
    assert data.problem.shape == (1, 8, 8)
    assert data.train.x.shape == (1437, 8, 8, 1)
    assert data.test.x.shape == (360, 8, 8, 1)
    assert np.bincount(data.test.y).tolist() == [36] * 10
    assert data.train.y[:5].tolist() == [2, 3, 4, 5, 6]


def test_pixels_of_the_first_image():
    image = load(config_of(RunConfig, dataset="digits")).train.x[0, ..., 0]
    # "0004fc00" and "003gfe00" in base 17; 16 of 16 is all ink
    assert image[0].tolist() == [0, 0, 0, 63, 239, 191, 0, 0]
    assert image[1].tolist() == [0, 0, 47, 255, 239, 223, 0, 0]
    assert load(config_of(RunConfig, dataset="digits")).train.x.max() == 255
