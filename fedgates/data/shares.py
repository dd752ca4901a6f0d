"""Who holds what of the data set that a config names: found out once, for processes that ask again and again."""

from functools import lru_cache

from fedgates.config import RunConfig
from fedgates.data.partition import Indices, partition
from fedgates.data.sources import load_once, source

_DIVIDED_BY = ("partition", "dirichlet_alpha", "classes_per_client", "samples_per_client", "seed")
"""Keys of the config that :func:`fedgates.data.partition` reads."""


def shares(config: RunConfig, clients: int) -> list[Indices]:
    """The indices of each client's training examples, as :func:`fedgates.data.partition` gives them; nobody changes them.

    Configs that differ in other keys share the last two answers.

    Raises
    ------
    ConfigError
        There is no such data set, or it cannot be divided so.
    """
    divided_by = {name: getattr(config, name) for name in _DIVIDED_BY}
    return _shares(source(config), RunConfig(**divided_by), clients)


@lru_cache(maxsize=2)
def _shares(of: RunConfig, divided_by: RunConfig, clients: int) -> list[Indices]:
    return partition(load_once(of).train.strata, clients, divided_by)
