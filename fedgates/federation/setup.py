"""Setup of a run: settings and data are checked, and the method is built, before any client is needed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fedgates import data, models, trackers
from fedgates.config import RunConfig
from fedgates.errors import ConfigError
from fedgates.methods.registry import AnyMethod, Methods, build, configure
from fedgates.methods.training import Inputs
from fedgates.types import Problem, Value

_TRIED = 2
"""Number of examples on which a network is tried."""


@dataclass(frozen=True)
class Setup:
    """Method and data of a run, after all checks that do not need clients."""

    method: AnyMethod
    dataset: data.Dataset
    num_clients: int | None
    """Number of simulated clients; None for real devices."""

    @property
    def problem(self) -> Problem:
        """The problem that clients' data must fit."""
        return self.dataset.problem


def prepare(raw: Mapping[str, Value], methods: Methods | None, count_clients: Callable[[], int | None]) -> Setup:
    """Check settings and data, and build the method.

    Parameters
    ----------
    raw : mapping
        Settings, from key to value.
    methods : mapping, optional
        Additional methods by name.
    count_clients : callable
        Function that returns the number of simulated clients, or None for real devices; called after the settings are
        validated.

    Raises
    ------
    ConfigError, NetworkError
        A setting, the data or the network cannot be used.
    """
    method, config = configure(raw, methods)
    trackers.check(config.trackers)
    dataset = data.load_once(config)
    num_clients = count_clients()
    check_measured(config, dataset)
    if num_clients is not None:
        check_partition(config, dataset, num_clients)
    else:
        refuse_dropout(config)
    setup = Setup(build(method, config, dataset.problem), dataset, num_clients)
    models.check(config.model, dataset.problem, seed=config.seed, examples=_first_examples(dataset))
    return setup


def _first_examples(dataset: data.Dataset) -> Inputs | None:
    """Return two normalised training examples; None if there are fewer."""
    if len(dataset.train) < _TRIED:
        return None
    found: Inputs = data.normalise(data.to_tensors(dataset.train.take(np.arange(_TRIED)), "cpu")[0])
    return found


def check_measured(config: RunConfig, dataset: data.Dataset) -> None:
    """Check that rounds are evaluated if `stop-accuracy`, `stop-patience` or `keep-best` is set.

    Raises
    ------
    ConfigError
        One of these keys is set, but the server has no test set and clients do not evaluate.
    """
    if len(dataset.test) or config.fraction_evaluate:
        return
    values = {"stop-accuracy": config.stop_accuracy, "stop-patience": config.stop_patience, "keep-best": config.keep_best}
    for key, value in values.items():
        if value:
            off = "false" if value is True else "0"
            raise ConfigError(
                key, value, f"{off}, or fraction-evaluate above 0: the server has no test set to evaluate rounds on"
            )


def refuse_dropout(config: RunConfig) -> None:
    """Check that `dropout` is not used with real devices.

    Raises
    ------
    ConfigError
        `dropout` is not 0.
    """
    if config.dropout:
        raise ConfigError("dropout", config.dropout, "0 on real devices: only simulated clients can drop out")


def check_partition(config: RunConfig, dataset: data.Dataset, num_clients: int) -> None:
    """Check that the data can be divided among `num_clients` clients as configured.

    Raises
    ------
    ConfigError
        The data cannot be divided, there are no training data, or there are fewer clients than `server.min-clients`.
    """
    if not len(dataset.train):
        raise ConfigError("dataset", config.dataset, "a data set on this machine: simulated clients have no data of their own")
    if num_clients < config.server.min_clients:
        expected = f"at most {num_clients}, the number of simulated clients"
        raise ConfigError("server.min-clients", config.server.min_clients, expected)
    data.shares(dataset, config, num_clients)
