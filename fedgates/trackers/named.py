"""Which trackers the key `trackers` names, and whether what they need is here."""

from collections.abc import Callable
from typing import cast

from fedgates.config import split_trackers
from fedgates.errors import ConfigError
from fedgates.trackers.base import Run, Tracker
from fedgates.util.references import find
from fedgates.util.text import error_line

KEY = "trackers"
_OURS = {
    "tensorboard": "fedgates.trackers.tensorboard:TensorBoard",
    "wandb": "fedgates.trackers.weights_and_biases:WeightsAndBiases",
    "mlflow": "fedgates.trackers.mlflow_run:MLflow",
}


def check(trackers: str) -> None:
    """Import what trackers need.

    Raises
    ------
    ConfigError
        A package is not installed, or somebody's own tracker cannot be imported; names `trackers`.
    """
    for name, _ in split_trackers(trackers):
        tracker_class(name)


def tracker_class(name: str) -> Callable[[Run], Tracker]:
    """What a name stands for: one of ours, or "module:Class".

    Raises
    ------
    ConfigError
        As :func:`check`.
    """
    try:
        found = find(KEY, _OURS.get(name, name))
    except ConfigError as error:
        if name in _OURS and isinstance(error.__cause__, ImportError):
            missing = error_line(error.__cause__)
            raise ConfigError(KEY, name, f"a package that is installed, as by uv sync --extra {name}; {missing}") from None
        raise
    if not callable(found):
        raise ConfigError(KEY, name, "a class, or another callable")
    return cast("Callable[[Run], Tracker]", found)
