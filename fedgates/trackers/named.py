"""Import of the trackers that the key `trackers` names."""

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
    """Check the addresses of trackers for secrets, and import the trackers, so that errors appear before the run starts.

    Raises
    ------
    ConfigError
        Key `trackers`: a package is not installed, a user-defined tracker cannot be imported, or an address contains a user
        name or password, which every client would receive with the config.
    """
    for name, where in split_trackers(trackers):
        if "@" in where or where != without_secrets(where):
            instead = _MLFLOW if name == "mlflow" else "an environment variable that the tracker reads"
            expected = f"an address without user name, password or token, because every client gets the config: set {instead}"
            raise ConfigError(KEY, trackers, expected)
    for name, _ in split_trackers(trackers):
        tracker_class(name)


def tracker_class(name: str) -> Callable[[Run], Tracker]:
    """Return the class of a tracker, by built-in name or "module:Class".

    Raises
    ------
    ConfigError
        Key `trackers`: a package is not installed, or there is no such class.
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
