"""`data.seed`: what follows it, and what still follows `seed`."""

import numpy as np
import pytest

from fedgates import data
from fedgates.config import RunConfig, parse
from fedgates.data.sources import source
from fedgates.federation.client_data import partition_data
from fedgates.federation.membership import sample_clients
from fedgates.methods.registry import build, configure
from fedgates.types import Problem

PARTITIONS = ["iid", "dirichlet", "classes"]


def config_of(seed, data_seed=-1, **others):
    return parse(RunConfig, {"seed": seed, "data.seed": data_seed, **others})


def shares(seed, data_seed=-1, **others):
    config = config_of(seed, data_seed, **others)
    return [part.tolist() for part in data.shares(data.load_once(config), config, 5)]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_the_partition_follows_the_data_seed(partition):
    assert shares(1, 7, partition=partition) == shares(2, 7, partition=partition) == shares(7, partition=partition)
    assert shares(1, 7, partition=partition) != shares(1, partition=partition)


@pytest.mark.parametrize("name", ["synthetic-linear", "synthetic-logistic"])
def test_synthetic_data_follow_it(name):
    sizes = {"dataset": name, "synthetic.features": 30, "synthetic.support": 5}
    one, other, same = (data.load(config_of(*seeds, **sizes)) for seeds in ((1, 7), (1, -1), (7, -1)))
    for part in ("train", "test"):
        assert np.array_equal(getattr(one, part).x, getattr(same, part).x)
        assert np.array_equal(getattr(one, part).y, getattr(same, part).y)
        assert not np.array_equal(getattr(one, part).x, getattr(other, part).x)
    assert np.array_equal(one.support, same.support)
    assert not np.array_equal(one.support, other.support)


def test_equal_data_have_equal_sources():
    linear = {"dataset": "synthetic-linear"}
    assert source(config_of(1, 7, **linear)) == source(config_of(2, 7, **linear)) == source(config_of(7, **linear))
    assert source(config_of(1, 7, **linear)) != source(config_of(1, **linear))
    assert source(config_of(1, 7)) == source(config_of(2, 8))  # digits are the same for every seed


def test_a_client_has_the_share_of_the_data_seed():
    one, same = partition_data(config_of(1, 7), 3, 5), partition_data(config_of(7), 3, 5)
    assert np.array_equal(one.train.x, same.train.x)
    assert not np.array_equal(one.train.x, partition_data(config_of(1), 3, 5).train.x)


def test_the_seed_zero_is_a_seed():
    assert config_of(3, 0).data_seed == 0
    assert config_of(3).data_seed == 3


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedpm", "fedavg"])
def test_the_network_follows_the_seed(strategy):
    def digest(seed, data_seed):
        settings = {"strategy": strategy, "model": "mlp", "seed": seed, "data.seed": data_seed}
        return build(*configure(settings), Problem.of_images((1, 8, 8), 10)).digest, build(
            *configure(settings), Problem.of_images((1, 8, 8), 10)
        ).network.weights.sum()

    assert digest(1, 7) == digest(1, -1) == digest(1, 8)
    assert digest(1, 7) != digest(2, 7)


def test_the_choice_of_clients_has_no_other_seed():
    assert sample_clients(range(20), 0.2, config_of(1, 7).seed, "choose", 1) == sample_clients(range(20), 0.2, 1, "choose", 1)
