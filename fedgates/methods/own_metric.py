"""User-defined metrics, in addition to those of the task (key `metric`)."""

import math
import re
from collections.abc import Mapping
from numbers import Real

import torch
from torch import Tensor

from fedgates.config import RunConfig
from fedgates.config.references import find
from fedgates.errors import ConfigError
from fedgates.methods.evaluation import score
from fedgates.methods.losses import like_outputs
from fedgates.methods.trial import TRIED, random_labels, random_outputs
from fedgates.models.outputs import as_predictions
from fedgates.runs.schema import key_of
from fedgates.types import Problem
from fedgates.util.text import error_line, one_line

MOST = 16
"""Largest number of metrics that the function may return."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_TAKEN = ("examples", "not_finite")
"""Names that are reserved in addition to those in the schema and of the task's metrics."""


def own_metrics(config: RunConfig, predictions: Tensor, y: Tensor) -> dict[str, float]:
    """Return the user-defined metrics by name; empty if `metric` is not set. Values may be infinite or NaN.

    Parameters
    ----------
    config : RunConfig
        The run's configuration, with the key `metric`.
    predictions : Tensor
        As :func:`fedgates.methods.evaluation.predict` returns them.
    y : Tensor
        Labels or targets, as in :class:`fedgates.data.Examples`; float32 targets are reshaped to the shape of the predictions,
        ``[n, k]``.

    Raises
    ------
    ConfigError
        There is no such function, it raises, or it returns anything but a number or a dictionary of at most 16 numbers.
    """
    if not config.metric:
        return {}
    function = find("metric", config.metric)
    if not callable(function):
        raise ConfigError("metric", config.metric, f"a function of (predictions, y), not {type(function).__name__}")
    try:
        found = function(predictions.clone(), like_outputs(y, predictions).clone())
    except Exception as error:
        raise ConfigError("metric", config.metric, f"{_wanted(predictions, y)}; it raised {error_line(error)}") from error
    named = found if isinstance(found, Mapping) else {config.metric.partition(":")[2]: found}
    for name, value in named.items():
        if not _is_number(value):
            what = f"{one_line(name, 40)}: {type(value).__name__}" if named is found else type(value).__name__
            raise ConfigError("metric", config.metric, f"{_wanted(predictions, y)}; it returned {what}")
    if not 1 <= len(named) <= MOST:
        raise ConfigError("metric", config.metric, f"{_wanted(predictions, y)}; it returned {len(named)}")
    return {str(name): float(value) for name, value in named.items()}


def check_metric(config: RunConfig, problem: Problem) -> tuple[str, ...]:
    """Call the user-defined function, if any, on random predictions and labels of 64 examples; return its metrics' names.

    Raises
    ------
    ConfigError
        Key `metric`: as for :func:`own_metrics`; or a value is not finite, or a name is malformed or reserved.
    """
    predictions, y = as_predictions(random_outputs(problem, TRIED), problem.task), random_labels(problem, TRIED)
    with torch.random.fork_rng(devices=[]):
        found = own_metrics(config, predictions, y)
    taken = {*_TAKEN, *score(predictions, y)}
    for name, value in found.items():
        if not math.isfinite(value):
            raise ConfigError("metric", config.metric, f"finite numbers; {one_line(name, 40)} is {value:g}")
        if not _NAME.fullmatch(name):
            raise ConfigError(
                "metric",
                config.metric,
                f"names of at most 40 letters, digits and _ that start with a letter, not {one_line(name, 40)!r}",
            )
        if name in taken or any(map(key_of, (name, f"client_{name}", f"client_{name}_macro"))):
            raise ConfigError("metric", config.metric, f"names other than those of the built-in metrics, such as {name}")
    return tuple(found)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) or (isinstance(value, Tensor) and value.ndim == 0 and not value.is_complex())


def _wanted(predictions: Tensor, y: Tensor) -> str:
    given = f"predictions {list(predictions.shape)} and y {list(like_outputs(y, predictions).shape)}"
    return f"a function that returns a number, or a dictionary of 1 to {MOST} numbers, from {given}"
