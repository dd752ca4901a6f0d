"""Each client's share of a data set, cached for processes that simulate many clients."""

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
"""Characters of a class name, and number of names, in a sentence."""


def shares(dataset: Dataset, config: "RunConfig", clients: int) -> list[Indices]:
    """Return the indices of each client's training examples, as :func:`fedgates.data.partition` does; do not change them.

    The last result is cached, for this data set object and all configurations with the same partition.

    Raises
    ------
    ConfigError
        The data set cannot be divided this way.
    """
    from fedgates.config import RunConfig  # noqa: PLC0415  # pydantic, which programs that only load a model do not need

    check_strata(dataset, config)
    return _shares(dataset, RunConfig(partition=config.partition, seed=config.data_seed, data=config.data), clients)


def check_strata(dataset: Dataset, config: "RunConfig") -> None:
    """Check that a partition by classes has a class for each example.

    Raises
    ------
    ConfigError
        Examples have several labels each; names `partition`.
    """
    task = dataset.train.task
    if config.partition != "iid" and task in {"multi-label", "positions"}:
        raise ConfigError("partition", config.partition, f"iid: the task is {task}, without one class for each example")


def unheld(dataset: Dataset, parts: list[Indices]) -> list[str]:
    """Return what no client holds of the training examples: a sentence for the classes, one for the number of examples."""
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
        found.append(f"no client holds {left:,} of {len(dataset.train):,} training examples")
    return found


@lru_cache(maxsize=1)  # it keeps the last data set in memory
def _shares(dataset: Dataset, config: "RunConfig", clients: int) -> list[Indices]:
    return partition(dataset.train.strata, clients, config)
