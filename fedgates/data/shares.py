"""Each client's share of a data set, cached for processes that simulate many clients."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fedgates.data.dataset import Dataset
from fedgates.data.partition import Indices, partition
from fedgates.util.text import name_list

if TYPE_CHECKING:
    from fedgates.config import RunConfig


def shares(dataset: Dataset, config: "RunConfig", clients: int) -> list[Indices]:
    """Return the indices of each client's training examples, as :func:`fedgates.data.partition` does; do not change them.

    The last result is cached, for this data set object and all configurations with the same partition.

    Raises
    ------
    ConfigError
        The data set cannot be divided this way.
    """
    from fedgates.config import RunConfig  # noqa: PLC0415  # pydantic, which programs that only load a model do not need

    return _shares(dataset, RunConfig(partition=config.partition, seed=config.data_seed, data=config.data), clients)


def not_held(dataset: Dataset, parts: list[Indices]) -> str:
    """Return which training examples and classes are in no client's part, as a line; empty if all examples are held."""
    held = np.unique(np.concatenate(parts))
    missing = len(dataset.train) - len(held)
    if not missing:
        return ""
    text = f"no client holds {missing:,} of {len(dataset.train):,} training examples"
    if dataset.num_classes:
        classes = np.setdiff1d(np.unique(dataset.train.y), dataset.train.y[held])
        if len(classes):
            text += f", nor any of {len(classes):,} classes: {name_list([dataset.class_names[int(i)] for i in classes])}"
    return text


@lru_cache(maxsize=1)  # it keeps the last data set in memory
def _shares(dataset: Dataset, config: "RunConfig", clients: int) -> list[Indices]:
    return partition(dataset.train.strata, clients, config)
