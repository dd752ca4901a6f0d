"""Shares of a data set, kept: the same as the partition, for all configs that it is the same for, and no other."""

import numpy as np
import pytest
from configs import config_of

from fedgates import data
from fedgates.config import RunConfig
from fedgates.data import Dataset, Examples, partition, shares, unheld


class Watched:
    """A config that keeps in mind which of its keys were read."""

    def __init__(self, config):
        self._config, self.read = config, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self._config, name)


def divided(dataset, config, clients):
    return [list(part) for part in partition(dataset.train.strata, clients, config)]


@pytest.mark.parametrize("scheme", ["iid", "dirichlet", "classes"])
def test_they_are_the_partition_and_hang_on_no_other_key(scheme):
    dataset, config = data.load(RunConfig()), config_of(RunConfig, partition=scheme, samples_per_client=20)
    watched = Watched(config)
    direct = divided(dataset, watched, 5)
    assert [list(share) for share in shares(dataset, config, 5)] == direct
    assert watched.read <= {"partition", "data_seed", "data"}


def test_they_are_found_once_for_configs_that_divide_alike():
    dataset = data.load(RunConfig())
    first = shares(dataset, RunConfig(), 7)
    assert shares(dataset, config_of(RunConfig, strategy="fedavg", learning_rate=0.5, num_server_rounds=3), 7) is first


@pytest.mark.parametrize(
    ("changes", "clients", "synthetic"),
    [
        ({"seed": 2}, 7, False),
        ({"samples_per_client": 3}, 7, False),
        ({"partition": "classes"}, 7, False),
        ({"partition": "dirichlet", "dirichlet_alpha": 0.2}, 7, False),
        ({}, 8, False),
        ({}, 7, True),
    ],
)
def test_what_divides_otherwise_is_not_taken_for_the_last(changes, clients, synthetic):
    digits = data.load(RunConfig())
    other = data.load(config_of(RunConfig, dataset="synthetic-linear")) if synthetic else digits
    last = [list(share) for share in shares(digits, RunConfig(), 7)]
    found = [list(share) for share in shares(other, config_of(RunConfig, **changes), clients)]
    assert found == divided(other, config_of(RunConfig, **changes), clients)
    assert found != last


# --- what no client holds


def own(labels, names):
    y = np.array(labels, np.int64)
    x = np.zeros((len(y), 2, 2, 1), np.uint8)
    return Dataset("own", Examples(x, y), Examples(x[:1], y[:1]), len(names), tuple(names))


def test_classes_and_examples_that_no_client_holds_are_named():
    dataset = own([0, 0, 1, 1, 2, 3], ["cat", "dog", "ea\x1b[31mgle", "fox"])
    assert unheld(dataset, [np.array([0, 1, 2]), np.array([3, 4, 5])]) == []
    assert unheld(dataset, [np.array([0, 2]), np.array([3])]) == [
        "no client holds an example of the classes ea\\x1b[31mgle, fox",
        "3 of 6 training examples are held by no client",
    ]


def test_of_many_classes_the_first_are_named():
    dataset = own(list(range(40)), [f"c{i}" for i in range(40)])
    first, _ = unheld(dataset, [np.array([39])])
    assert first == "no client holds an example of the classes " + ", ".join(f"c{i}" for i in range(20)) + ", and 19 more"


@pytest.mark.parametrize("clients", [1, 3])
def test_a_partition_by_classes_can_leave_some_out(clients):
    dataset = data.load(RunConfig())
    config = config_of(RunConfig, partition="classes")
    parts = shares(dataset, config, clients)
    missing = set(range(10)) - set(dataset.train.y[np.concatenate(parts)].tolist())
    sentences = unheld(dataset, parts)
    if missing:
        assert sentences[0] == f"no client holds an example of the classes {', '.join(map(str, sorted(missing)))}"
    assert (clients == 1) <= bool(missing)
