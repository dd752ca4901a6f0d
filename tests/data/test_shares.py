"""Shares of a data set, kept: the same as the partition, for all configs that it is the same for, and no other."""

import pytest

from fedgates import data
from fedgates.config import RunConfig
from fedgates.data.partition import partition
from fedgates.data.shares import _DIVIDED_BY, shares


class Watched:
    """A config that keeps in mind which of its keys were read."""

    def __init__(self, config):
        self._config, self.read = config, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self._config, name)


@pytest.mark.parametrize("scheme", ["iid", "dirichlet", "classes"])
def test_they_are_the_partition_and_hang_on_no_other_key(scheme):
    config = RunConfig(partition=scheme, samples_per_client=20)
    watched = Watched(config)
    direct = partition(data.load(config).train.strata, 5, watched)
    assert [list(share) for share in shares(config, 5)] == [list(part) for part in direct]
    assert watched.read <= set(_DIVIDED_BY)


def test_they_are_found_once_for_configs_that_divide_alike():
    first = shares(RunConfig(), 7)
    assert shares(RunConfig(strategy="fedavg", learning_rate=0.5, num_server_rounds=3), 7) is first
    for other, clients in ((RunConfig(seed=2), 7), (RunConfig(samples_per_client=3), 7), (RunConfig(), 8)):
        assert len(shares(other, clients)[0]) <= 1437 // 7 + 1
        assert shares(other, clients) is not first
