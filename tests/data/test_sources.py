from dataclasses import replace

import numpy as np
import pytest

from fedgates.config import RunConfig
from fedgates.data import load, load_once
from fedgates.data.sources import source
from strategies.fedpm import FedPMConfig


@pytest.mark.parametrize(
    ("dataset", "read"),
    [
        ("mnist", {"dataset": "cifar10", "data_dir": "/elsewhere"}),
        ("npz:/a.npz", {"dataset": "npz:/b.npz"}),
        (
            "synthetic-linear",
            {
                "dataset": "synthetic-logistic",
                "seed": 2,
                "synthetic_features": 7,
                "synthetic_support": 3,
                "synthetic_examples": 5,
                "synthetic_noise": 0.5,
            },
        ),
    ],
)
def test_source_keeps_what_the_data_depends_on(dataset, read):
    base = FedPMConfig(dataset=dataset)
    for key, value in read.items():
        assert source(replace(base, **{key: value})) != source(base)
    passed_over = {"learning_rate": 0.5, "partition": "classes", "eps": 0.1} | ({} if "seed" in read else {"seed": 2})
    for key, value in passed_over.items():
        assert source(replace(base, **{key: value})) == source(base) == source(RunConfig(dataset=dataset))
        assert hash(source(replace(base, **{key: value}))) == hash(source(base))


def test_the_source_loads_the_same_data():
    config = FedPMConfig(dataset="synthetic-linear", synthetic_features=30, synthetic_examples=5, seed=4, synthetic_noise=0.3)
    whole, part = load(config), load(source(config))
    assert np.array_equal(whole.train.x, part.train.x)
    assert np.array_equal(whole.test.y, part.test.y)


def test_a_data_set_is_loaded_once_whatever_else_the_config_says():
    first = load_once(RunConfig())
    assert load_once(RunConfig(seed=9, learning_rate=0.5)) is first
    assert load_once(RunConfig(dataset="synthetic-linear")) is not first
    assert load_once(RunConfig(dataset="synthetic-linear", seed=9)) is not load_once(RunConfig(dataset="synthetic-linear"))
