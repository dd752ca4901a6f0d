"""Registry of methods: find a method by name, check its configuration, and build it."""

import logging
import math
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import torch

from fedgates import models
from fedgates.config import DEFAULT_STRATEGY, UPLINKS, MaskConfig, RunConfig, flatten, is_reference, parse, to_dict
from fedgates.config.references import find
from fedgates.config.suggestions import did_you_mean
from fedgates.errors import ConfigError, NetworkError
from fedgates.methods.augmentation import check_augmentation
from fedgates.methods.base import Method
from fedgates.methods.class_means import check_class_means
from fedgates.methods.losses import check_loss
from fedgates.methods.own_metric import check_metric
from fedgates.models.batch_norm import drop_running_statistics
from fedgates.models.pretrained import load_weights
from fedgates.nn.network import Network
from fedgates.nn.roles import LAST, check_personal_layer, matching
from fedgates.types import Problem, Value
from fedgates.util.text import error_line
from fedgates.wire.codec import DECODE_BYTES_A_GATE

log = logging.getLogger("fedgates")
AnyMethod = Method[Any, Any]
Methods = Mapping[str, str]
"""Mapping from the name of a method to "module:Class"."""
BUILT_IN: Methods = {
    "coupled-masks": "fedgates.strategies.coupled_masks:CoupledMasks",
    "fedpm": "fedgates.strategies.fedpm:FedPM",
    "fedmask": "fedgates.strategies.fedmask:FedMask",
    "one-bit-gates": "fedgates.strategies.one_bit_gates:OneBitGates",
    "entropy-gates": "fedgates.strategies.entropy_gates:EntropyGates",
    "sparsyfed": "fedgates.strategies.sparsyfed:SparsyFed",
    "lips": "fedgates.strategies.lips:LIPS",
    "topk": "fedgates.strategies.topk:TopK",
    "signsgd": "fedgates.strategies.signsgd:SignSGD",
    "fediht": "fedgates.strategies.fediht:FedIHT",
    "fedavg": "fedgates.strategies.fedavg:FedAvg",
}
ENTRY_POINTS = "fedgates.methods"
"""Group of entry points with which an installed package registers its methods."""


def method_names(own: Methods | None = None) -> Methods:
    """Return all registered methods: built-in methods, methods of installed packages, and an app's `own` methods.

    A name in `own` takes precedence over the same name elsewhere, and a built-in name over that of an installed package.
    """
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return {**BUILT_IN, **{name: value for name, value in installed.items() if name not in BUILT_IN}, **(own or {})}


def method_class(name: object, own: Methods | None = None) -> type[AnyMethod]:
    """Return the class of a method, by its name or as "module:Class".

    Raises
    ------
    ConfigError
        There is no such method.
    """
    named = method_names(own)
    reference = named.get(name) if isinstance(name, str) else None
    if reference is None:
        if not (isinstance(name, str) and is_reference(name)):
            raise ConfigError("strategy", name, f'one of {", ".join(named)} or "module:Class"{did_you_mean(name, list(named))}')
        reference = name
    found = find("strategy", reference)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError("strategy", name, "a class derived from fedgates.methods.Method")
    return found


def config_classes(own: Methods | None = None) -> dict[str, type[RunConfig]]:
    """Return the configuration class of every registered method; packages that cannot be imported are skipped."""
    classes = {}
    for name in method_names(own):
        try:
            classes[name] = method_class(name, own).Config
        except ConfigError as error:
            if name in BUILT_IN or name in (own or {}):
                raise
            log.warning("%s", error)
    return classes


def configure(raw: Mapping[str, Value], own: Methods | None = None) -> tuple[type[AnyMethod], RunConfig]:
    """Return the class of the method that `raw` names, and the validated configuration.

    Parameters
    ----------
    raw : mapping
        Settings, from key to value.
    own : mapping, optional
        Additional methods by name.

    Raises
    ------
    ConfigError
        There is no such method, or a key or value is not accepted.

    Examples
    --------
    >>> method, config = configure({"strategy": "topk", "density.target": 0.05})
    >>> method.__name__, config.learning_rate, config.density.target
    ('TopK', 0.3, 0.05)
    """
    method = method_class(flatten(raw).get("strategy", DEFAULT_STRATEGY), own)
    config = parse(method.Config, raw, config_classes(own).values())
    spec = method.spec
    if config.uplink == "sampled" and not (spec.samples and spec.update == "mask"):
        possible = ", ".join(name for name in UPLINKS if name != "sampled")
        raise ConfigError("uplink", "sampled", f"one of {possible}: the masks of strategy {config.strategy} are not samples")
    if config.privacy.flip_probability and (spec.update != "mask" or config.uplink == "sampled"):
        why = "its updates have values" if spec.update != "mask" else "uplink sampled does not send the mask's own bits"
        raise ConfigError(
            "privacy.flip-probability", config.privacy.flip_probability, f"0 with strategy {config.strategy}: {why}"
        )
    if config.gates.personal and not config.fraction_evaluate:
        raise ConfigError(
            "fraction-evaluate",
            config.fraction_evaluate,
            f"a share above 0 with gates.personal = {config.gates.personal}: only clients can evaluate the whole network",
        )
    _expect_used(config)
    if 0 < config.server.max_norm < 1:  # half of the honest updates would be rejected
        raise ConfigError("server.max-norm", config.server.max_norm, "0, or a number of at least 1")
    return method, config


_OF_VALUES = ("wire.value-type", "server.max-norm", "gates.sent-learning-rate", "gates.sent-start")
"""Keys that have an effect only if values are sent."""
_OF_PRIORS = ("logit-adjustment", "coupled-masks.class-prior")
"""Keys of logit adjustment."""


def _expect_used(config: RunConfig) -> None:
    """Check that no key is set that has no effect because of another key.

    Raises
    ------
    ConfigError
        A key without effect differs from its default.
    """
    values, defaults = to_dict(config), to_dict(type(config)())
    useless = dict[str, str]()
    given = isinstance(config, MaskConfig) and config.gates.frozen == "given"
    if isinstance(config, MaskConfig) and not config.gates.sent:
        useless |= dict.fromkeys(_OF_VALUES, f"strategy {config.strategy} sends no values without gates.sent")
    if isinstance(config, MaskConfig) and not given:
        useless["gates.initial-theta"] = "gates on random weights start at 0.5 (gates.frozen)"
    if not config.weights and not given:
        useless["fresh"] = "all parameters are fresh without weights and without gates.frozen = given"
    if config.loss:
        useless |= {name: "a user-defined loss gets logits without adjustment" for name in _OF_PRIORS if name in values}
    for name, why in useless.items():
        if values[name] != defaults[name]:
            raise ConfigError(name, values[name], f"{defaults[name]!r}: {why}")


def build(method: type[AnyMethod], config: RunConfig, problem: Problem) -> AnyMethod:
    """Build the method and the network that a configuration names, on a GPU if there is one.

    Server and clients build identical networks from the same configuration.

    Raises
    ------
    ConfigError, NetworkError
        There is no such network, it cannot be federated, or it exceeds the limits in the config.
    """
    if config.logit_adjustment and not problem.num_classes:
        raise ConfigError("logit-adjustment", config.logit_adjustment, f"0: the task is {problem.task}, not classes")
    check_augmentation(config, problem)
    check_loss(config, problem)
    metric_names = check_metric(config, problem)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = models.count(config.model, problem)
    if size is not None:  # checked before the network is allocated
        _expect_size(size, method, config)
    module = models.build(config.model, problem, seed=config.seed)
    drop_running_statistics(module)
    if config.weights:
        load_weights(module, config.weights, matching("fresh", config.fresh, module))
    roles = method.roles(config, module)
    if config.gates.personal == LAST:
        check_personal_layer(module, roles, problem.outputs)
    network = Network(module, device, roles=roles, task=problem.task)
    _expect_size(network.size + len(network.tail), method, config)
    try:
        built = method(config, network)
    except (ConfigError, NetworkError):
        raise
    except Exception as error:  # user code may raise anything, and an abstract method may be missing
        if not is_reference(config.strategy):
            raise
        expected = f"a class with the constructor arguments (config, network); {error_line(error)}"
        raise ConfigError("strategy", config.strategy, expected) from error
    if isinstance(config, MaskConfig) and config.gates.sent_start == "class-means":
        check_class_means(network, config, problem)
    built.metric_names = metric_names
    return built


def _expect_size(size: int, method: type[AnyMethod], config: RunConfig) -> None:
    if size > config.limits.max_gates:
        raise ConfigError("limits.max-gates", config.limits.max_gates, f"at least {size:,}, the size of model {config.model}")
    needed = DECODE_BYTES_A_GATE * size * len(method.spec.arrays) / 1e6
    if needed > config.limits.max_decode_mb:
        expected = f"at least {math.ceil(100 * needed) / 100:g}, the memory needed to decode messages of {size:,} parameters"
        raise ConfigError("limits.max-decode-mb", config.limits.max_decode_mb, expected)
