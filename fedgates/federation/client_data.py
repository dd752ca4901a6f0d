"""The examples of one client: its share of a data set, or a device's own data."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedgates import data
from fedgates.config import RunConfig
from fedgates.config.tables import DataTable
from fedgates.errors import ConfigError
from fedgates.types import Problem

HELD_OUT_EVERY = 5
"""With `fraction-evaluate`, every fifth example of a client is held out, unless a device has test data."""
_own_data = lru_cache(maxsize=1)(data.own)


@dataclass(frozen=True)
class ClientData:
    """A client's examples for training and for evaluation."""

    train: data.Examples
    held_out: data.Examples
    """Empty if clients do not evaluate, or have too few examples."""
    class_names: tuple[str, ...] = ()
    """Names of the classes in a device's own data; empty if the data have no class names."""


def device_data(path: str, problem: Problem, config: RunConfig) -> ClientData:
    """Read a device's own data from `path`, the `data-path` of its node config.

    Raises
    ------
    ConfigError
        The data are missing, cannot be read, or do not fit the problem.
    """
    own = _own_data(path, problem, _own_keys(config))
    mine = np.arange(len(own.train))[: config.data.samples_per_client or None]
    found = _split(own.train, mine, config) if not len(own.test) else ClientData(own.train.take(mine), own.test)
    return replace(found, class_names=own.class_names) if own.named else found


def _own_keys(config: RunConfig) -> DataTable:
    """Return the keys that affect reading of a device's data, with defaults for all others, as a key of the cache."""
    keys = config.data
    return DataTable(label=keys.label, features=keys.features, resize=keys.resize)


def partition_data(config: RunConfig, partition_id: int, num_partitions: int) -> ClientData:
    """Return one client's share of the config's data set.

    Raises
    ------
    ConfigError
        There is no such data set, or it cannot be divided as configured.
    """
    if not 0 <= partition_id < num_partitions:
        expected = f"a number from 0 to {num_partitions - 1}, below num-partitions"
        raise ConfigError("partition-id", partition_id, expected)
    dataset = data.load_once(config)
    return _split(dataset.train, data.shares(dataset, config, num_partitions)[partition_id], config)


def _split(train: data.Examples, mine: NDArray[np.int64], config: RunConfig) -> ClientData:
    """Return the examples with indices `mine`; if clients evaluate, every fifth of them is held out."""
    if not config.fraction_evaluate:
        return ClientData(train.take(mine), train.take(mine[:0]))
    held_out = np.arange(len(mine)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    return ClientData(train.take(mine[~held_out]), train.take(mine[held_out]))
