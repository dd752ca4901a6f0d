"""From a run config to the method it names, and its checked configuration."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from fedgates import models
from fedgates.config import UPLINKS, RunConfig, is_reference, key_names, parse
from fedgates.errors import ConfigError, NetworkError
from fedgates.flower.strategy import GateStrategy
from fedgates.nn.network import Network
from fedgates.types import Value
from fedgates.util.references import find
from fedgates.util.text import error_line
from fedgates.wire.codec import DECODE_BYTES_A_GATE

AnyStrategy = GateStrategy[Any, Any]
Strategies = Mapping[str, str]
"""Method name in the config to "module:Class"."""


def configure(raw: Mapping[str, Value], strategies: Strategies) -> tuple[type[AnyStrategy], RunConfig]:
    """The strategy class that `raw` names, and the configuration it asks for.

    Parameters
    ----------
    raw : mapping
        Flower's flat run config.
    strategies : mapping
        The methods known by name; any other is "module:Class".

    Raises
    ------
    ConfigError
        There is no such method, or a key or value is not as it should be.
    """
    named = {name: _load(name, reference) for name, reference in strategies.items()}
    value = raw.get("strategy", RunConfig.strategy)
    method = named.get(value) if isinstance(value, str) else None
    if method is None:
        if not (isinstance(value, str) and is_reference(value)):
            raise ConfigError("strategy", value, f'one of {", ".join(named)} or "module:Class"')
        method = _load(value, value)
    foreign = {key for other in named.values() for key in key_names(other.Config)}
    config = parse(method.Config, raw, foreign)
    if config.uplink == "sampled" and not (method.samples and method.sends == "mask"):
        possible = ", ".join(name for name in UPLINKS if name != "sampled")
        raise ConfigError("uplink", "sampled", f"one of {possible}: the masks of strategy {config.strategy} are not samples")
    if config.flip_probability and (method.sends != "mask" or config.uplink == "sampled"):
        why = "its updates have values" if method.sends != "mask" else "uplink sampled does not carry a mask's own bits"
        raise ConfigError("flip-probability", config.flip_probability, f"0 with strategy {config.strategy}: {why}")
    return method, config


def build(method: type[AnyStrategy], config: RunConfig, input_shape: tuple[int, int, int], num_classes: int) -> AnyStrategy:
    """The method for the network that the config names: the same on both ends. On a GPU if this process may use one.

    Raises
    ------
    ConfigError, NetworkError
        There is no such network, it cannot be federated, or it is beyond the limits of this end.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = models.count(config.model, input_shape, num_classes)
    if size is not None:  # before it takes any memory
        _expect_size(size, method, config)
    network = Network(models.build(config.model, input_shape, num_classes, seed=config.seed), device)
    _expect_size(network.size, method, config)
    try:
        strategy = method(config, network)
    except (ConfigError, NetworkError):
        raise
    except Exception as error:  # the user's code may raise anything, and may leave out a rule
        if not is_reference(config.strategy):
            raise
        expected = f"a class that is built from (config, network); {error_line(error)}"
        raise ConfigError("strategy", config.strategy, expected) from error
    strategy.input_shape, strategy.num_classes = input_shape, num_classes
    return strategy


def _expect_size(size: int, method: type[AnyStrategy], config: RunConfig) -> None:
    if size > config.max_gates:
        raise ConfigError("max-gates", config.max_gates, f"at least {size:,}, which model {config.model} has")
    needed = DECODE_BYTES_A_GATE * size * method.vectors / 1e6
    if needed > config.max_decode_mb:
        expected = f"at least {math.ceil(100 * needed) / 100:g}, to decode messages of {size:,} parameters in"
        raise ConfigError("max-decode-mb", config.max_decode_mb, expected)


def _load(name: str, reference: str) -> type[AnyStrategy]:
    found = find("strategy", reference)
    if not (isinstance(found, type) and issubclass(found, GateStrategy)):
        raise ConfigError("strategy", name, "a class derived from fedgates.flower.GateStrategy")
    return found
