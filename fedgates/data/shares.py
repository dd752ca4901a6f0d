"""Each client's share of a data set, cached for processes that simulate many clients."""

from functools import lru_cache
from typing import TYPE_CHECKING

from fedgates.data.dataset import Dataset
from fedgates.data.partition import Indices, partition

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


@lru_cache(maxsize=1)  # it keeps the last data set in memory
def _shares(dataset: Dataset, config: "RunConfig", clients: int) -> list[Indices]:
    return partition(dataset.train.strata, clients, config)
