"""Who holds what of a data set: found out once, for processes that ask again and again."""

from functools import lru_cache

from fedgates.config import RunConfig
from fedgates.data.dataset import Dataset
from fedgates.data.partition import Indices, partition

_DIVIDED_BY = ("partition", "dirichlet_alpha", "classes_per_client", "samples_per_client", "seed")
"""Keys of the config that :func:`fedgates.data.partition` reads."""


def shares(dataset: Dataset, config: RunConfig, clients: int) -> list[Indices]:
    """The indices of each client's training examples, as :func:`fedgates.data.partition` gives them; nobody changes them.

    The last answer is kept, for this very data set and all configs that divide it alike.

    Raises
    ------
    ConfigError
        It cannot be divided so.
    """
    return _shares(dataset, RunConfig(**{name: getattr(config, name) for name in _DIVIDED_BY}), clients)


@lru_cache(maxsize=1)  # it holds the data set, as long as it is the last one
def _shares(dataset: Dataset, config: RunConfig, clients: int) -> list[Indices]:
    return partition(dataset.train.strata, clients, config)
