import time
from dataclasses import replace

import numpy as np
import pytest
from configs import config_of

from fedgates.config import RunConfig
from fedgates.data import Dataset, Examples, data_digest, load, not_held, shares
from fedgates.data.digits import digits


def small(**changes):
    part = Examples(np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1), np.array([0, 1, 1]))
    return replace(Dataset("a", part, part, 2, ("p", "q")), **changes)


def test_a_digest_is_of_content_alone():
    base = small()
    assert data_digest(base) == data_digest(small(name="b", named=True))
    turned = Examples(base.train.x.reshape(3, 1, 4, 1), base.train.y)
    others = [
        small(class_names=("q", "p")),
        small(train=replace(base.train, y=np.array([1, 0, 1]))),
        small(test=replace(base.test, x=base.test.x ^ 1)),
        small(test=base.test.take(np.array([0, 1]))),
        small(train=turned, test=turned),
    ]
    assert len({data_digest(each) for each in [base, *others]}) == 6
    assert len(data_digest(base)) == 32


def test_data_of_devices_have_none():
    assert data_digest(load(config_of(RunConfig, dataset="devices:8x8x1:10"))) is None


@pytest.mark.slow
def test_a_digest_of_cifar10s_size_takes_a_moment():
    x = np.zeros((50_000, 32, 32, 3), np.uint8)
    part = Examples(x, np.zeros(50_000, np.int64))
    started = time.perf_counter()
    data_digest(Dataset("c", part, part.take(np.arange(10_000)), 1, ("a",)))
    assert time.perf_counter() - started < 2


def test_classes_and_examples_that_nobody_holds_are_named():
    data = digits()
    config = config_of(RunConfig, partition="classes", classes_per_client=1)
    parts = shares(data, config, 3)
    held = sum(int((data.train.y == label).sum()) for label in range(3))
    assert sum(map(len, parts)) == held
    assert not_held(data, parts) == (
        f"no client holds {1437 - held:,} of 1,437 training examples, nor any of 7 classes: 3, 4, 5, 6, 7, 8, 9"
    )
    assert not_held(data, shares(data, config_of(RunConfig), 3)) == ""
    few = shares(data, config_of(RunConfig, samples_per_client=100), 3)
    assert not_held(data, few) == "no client holds 1,137 of 1,437 training examples"
