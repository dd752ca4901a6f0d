"""The trackers that the key `trackers` names, imported on demand."""

from collections.abc import Callable
from typing import cast

from fedgates.config import split_trackers
from fedgates.config.references import find
from fedgates.errors import ConfigError
from fedgates.trackers.base import Run, Tracker
from fedgates.util.text import error_line, without_secrets

KEY = "trackers"
_BUILT_IN = {
    "tensorboard": "fedgates.trackers.tensorboard:TensorBoard",
    "wandb": "fedgates.trackers.weights_and_biases:WeightsAndBiases",
    "mlflow": "fedgates.trackers.mlflow_run:MLflow",
}

_MLFLOW = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_URI in place of the address"


def check(trackers: str) -> None:
    """Refuse secrets in addresses, then import the trackers, so that a missing package is an error before the run starts.

    Raises
    ------
    ConfigError
        A package is not installed, a tracker of the user's own cannot be imported, or an address has a user name or a password
        in it: the whole config is sent to every client. Names `trackers`.
    """
    for name, where in split_trackers(trackers):
        if "@" in where or where != without_secrets(where):
            instead = _MLFLOW if name == "mlflow" else "an environment variable that it reads"
            expected = f"an address without user name, password and token, as every client gets the config: set {instead}"
            raise ConfigError(KEY, trackers, expected)
    for name, _ in split_trackers(trackers):
        tracker_class(name)


def tracker_class(name: str) -> Callable[[Run], Tracker]:
    """Return the class of a name: a built-in one, or "module:Class".

    Raises
    ------
    ConfigError
        As :func:`check`.
    """
    try:
        target = find(KEY, _BUILT_IN.get(name, name))
    except ConfigError as error:
        if name in _BUILT_IN and isinstance(error.__cause__, ImportError):
            missing = error_line(error.__cause__)
            raise ConfigError(KEY, name, f"an installed package; run uv sync --extra {name} ({missing})") from None
        raise
    if not callable(target):
        raise ConfigError(KEY, name, "the name of a class or another callable")
    return cast("Callable[[Run], Tracker]", target)
