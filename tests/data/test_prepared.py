"""Keys of the table `data` that change a data set after it is read, or do not fit it."""

import numpy as np
import pytest
from configs import config_of

from fedgates.config import RunConfig
from fedgates.data import load, load_once
from fedgates.errors import ConfigError


def loaded(name, **keys):
    return load(config_of(RunConfig, dataset=name, **{f"data.{key}": value for key, value in keys.items()}))


def test_sets_of_the_package_are_scaled():
    assert loaded("digits", resize="12x10").problem.shape == (1, 12, 10)
    assert np.array_equal(loaded("digits", resize="8x8").train.x, loaded("digits").train.x)
    assert load_once(config_of(RunConfig, **{"data.resize": "4x4"})).problem.shape == (1, 4, 4)


def test_float_images_are_standardised_by_channel(tmp_path):
    x = np.random.default_rng(1).normal(3, 2, (6, 4, 5, 3))
    y = np.arange(6) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    found = loaded(f"npz:{tmp_path}/a.npz", standardise=True)
    assert np.allclose(found.train.x, (x - x.mean((0, 1, 2))) / x.std((0, 1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("digits", {"standardise": True}, "data.standardise = True: expected false: no input of the data is float32"),
        (
            "devices:float32:3:2",
            {"standardise": True},
            "data.standardise = True: expected false: the server has no training examples to measure",
        ),
        ("devices:4x3x1:2", {"resize": "3x4"}, "data.resize = '3x4': expected empty, or height and width as in dataset"),
        (
            "digits",
            {"task": "regression"},
            "data.task = 'regression': expected auto or classes, the task of the labels of digits",
        ),
        (
            "synthetic-linear",
            {"task": "classes"},
            "data.task = 'classes': expected auto or regression, the task of the labels of synthetic-linear",
        ),
    ],
)
def test_keys_that_do_not_fit_are_one_line(name, keys, message):
    with pytest.raises(ConfigError) as error:
        loaded(name, **keys)
    assert str(error.value) == message


def test_devices_of_the_size_of_the_key_are_accepted():
    assert loaded("devices:3x4x1:2", resize="3x4").problem.shape == (1, 3, 4)
