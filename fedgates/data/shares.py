"""Shares of a data set by client, cached for processes that simulate many clients."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fedgates.data.dataset import Dataset
from fedgates.data.partition import Indices, partition
from fedgates.errors import ConfigError
from fedgates.util.text import one_line

if TYPE_CHECKING:
    from fedgates.config import RunConfig

_NAME, _NAMES = 40, 20
"""Largest length of a class name, and largest number of names, in a sentence."""


def shares(dataset: Dataset, config: "RunConfig", clients: int) -> list[Indices]:
    """Return the indices of each client's training examples from :func:`fedgates.data.partition`; do not modify them.

    The last result is cached for the same data set object and for configurations with the same partition.

    Raises
    ------
    ConfigError
        The data set cannot be divided this way.
    """
    from fedgates.config import RunConfig  # noqa: PLC0415  # pydantic, which programs that only load a model do not need

    check_strata(dataset, config)
    return _shares(dataset, RunConfig(partition=config.partition, seed=config.data_seed, data=config.data), clients)


def check_strata(dataset: Dataset, config: "RunConfig") -> None:
    """Check that every example has one class if the partition is by classes.

    Raises
    ------
    ConfigError
        Examples have several labels; the message names `partition`.
    """
    task = dataset.train.task
    if config.partition != "iid" and task in {"multi-label", "positions"}:
        raise ConfigError("partition", config.partition, f"iid, because the task {task} has no single class per example")


def unheld(dataset: Dataset, parts: list[Indices]) -> list[str]:
    """Describe training examples that no client holds: a sentence with their classes, and one with their number, if any."""
    held = np.concatenate(parts) if parts else np.empty(0, np.int64)
    found = []
    if dataset.train.task == "classes":
        counts, here = (np.bincount(y, minlength=dataset.num_classes) for y in (dataset.train.y[held], dataset.train.y))
        names = [one_line(dataset.class_names[i], _NAME) for i in np.flatnonzero((counts == 0) & (here > 0))]
        if names:
            more = f", and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
            found.append(f"no client holds an example of the classes {', '.join(names[:_NAMES])}{more}")
    left = len(dataset.train) - len(np.unique(held))
    if left:
        found.append(f"{left:,} of {len(dataset.train):,} training examples are held by no client")
    return found


@lru_cache(maxsize=1)  # the cache keeps its data set in memory
def _shares(dataset: Dataset, config: "RunConfig", clients: int) -> list[Indices]:
    return partition(dataset.train.strata, clients, config)
