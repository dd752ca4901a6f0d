"""Who holds what of a data set: found out once, for processes that ask again and again."""

from functools import lru_cache
from typing import TYPE_CHECKING

from fedgates.data.dataset import Dataset
from fedgates.data.partition import Indices, partition

if TYPE_CHECKING:
    from fedgates.config import RunConfig


def shares(dataset: Dataset, config: "RunConfig", clients: int) -> list[Indices]:
    """The indices of each client's training examples, as :func:`fedgates.data.partition` gives them; nobody changes them.

    The last answer is kept, for this very data set and all configs that divide it alike.

    Raises
    ------
    ConfigError
        It cannot be divided so.
    """
    from fedgates.config import RunConfig  # noqa: PLC0415  # pydantic, which programs that only load a model do not need

    return _shares(dataset, RunConfig(partition=config.partition, seed=config.seed, data=config.data), clients)


@lru_cache(maxsize=1)  # it holds the data set, as long as it is the last one
def _shares(dataset: Dataset, config: "RunConfig", clients: int) -> list[Indices]:
    return partition(dataset.train.strata, clients, config)
