"""Old names and values of keys, which are accepted until version 1.0."""

from collections.abc import Collection, Mapping
from typing import TypeVar

from fedgates.errors import ConfigError

V = TypeVar("V")

ALIASES = {
    "synthetic-features": "synthetic.features",
    "synthetic-support": "synthetic.support",
    "synthetic-examples": "synthetic.examples",
    "synthetic-noise": "synthetic.noise",
    "personal": "gates.personal",
    "dirichlet-alpha": "data.dirichlet-alpha",
    "classes-per-client": "data.classes-per-client",
    "samples-per-client": "data.samples-per-client",
    "quorum": "server.quorum",
    "max-failed-rounds": "server.max-failed-rounds",
    "round-timeout": "server.round-timeout",
    "min-clients": "server.min-clients",
    "trim": "server.trim",
    "max-examples": "server.max-examples",
    "client-threads": "client.threads",
    "final-learning-rate": "learning-rate-final",
    "density-penalty": "density.penalty",
    "target-density": "density.target",
    "entropy-bonus": "density.entropy-bonus",
    "entropy-bonus-final": "density.entropy-bonus-final",
    "dual-learning-rate": "density.dual-learning-rate",
    "dual-restart": "density.dual-restart",
    "sampled-extra-bits": "wire.sampled-extra-bits",
    "value-type": "wire.value-type",
    "flip-probability": "privacy.flip-probability",
    "max-gates": "limits.max-gates",
    "max-payload-mb": "limits.max-payload-mb",
    "max-decode-mb": "limits.max-decode-mb",
    "max-relay-updates": "limits.max-relay-updates",
    "weight-scale": "gates.weight-scale",
    "evaluations": "gates.evaluations",
    "ensemble-size": "gates.ensemble-size",
    "momentum": "sgd.momentum",
    "weight-decay": "sgd.weight-decay",
    "straight-through": "fedpm.straight-through",
    "eps": "fedpm.eps",
    "prior": "fedpm.prior",
    "reset-every": "fedpm.reset-every",
    "score-init": "fedpm.score-init",
    "gate-learning-rate": "entropy-gates.gate-learning-rate",
    "initial-density": "entropy-gates.initial-density",
    "initial-eps": "one-bit-gates.initial-eps",
    "server-learning-rate": "signsgd.server-learning-rate",
    "iht-clients": "fediht.clients",
    "powerprop": "sparsyfed.powerprop",
    "prune": "sparsyfed.prune",
    "prune-activations": "sparsyfed.prune-activations",
    "lips-every": "lips.every",
    "lips-density": "lips.density",
}
"""Old names of keys to current names."""
VALUE_ALIASES = {
    "gates.personal": {"none": ""},
    "gates.weight-scale": {"released": "authors-code"},
    "fedpm.straight-through": {"released": "authors-code"},
}
"""Current names of keys to their old values and what replaces them."""
OLD_NAMES = {new: old for old, new in ALIASES.items()}


def current_name(key: str) -> str:
    """Return the current name of a key.

    >>> current_name("final-learning-rate")
    'learning-rate-final'
    """
    return ALIASES.get(key, key)


def current_names(raw: Mapping[str, V], own: Collection[str] = ()) -> dict[str, V]:
    """Replace old names and values of keys by the current ones; all other keys are unchanged.

    Parameters
    ----------
    raw : mapping
        Dotted keys to values.
    own : collection of str
        Flat keys that the method itself declares; they are never taken for old names.

    Raises
    ------
    ConfigError
        A key is set under both its old and its current name.

    >>> current_names({"eps": 0.01, "weight-scale": "released", "seed": 3})
    {'fedpm.eps': 0.01, 'gates.weight-scale': 'authors-code', 'seed': 3}
    """
    found: dict[str, V] = {}
    for key, value in raw.items():
        name = key if key in own else current_name(key)
        if name in found:
            old = OLD_NAMES[name]
            raise ConfigError(old, raw[old], f"either {old} or {name}, which are the same key")
        found[name] = _current_value(name, value)
    return found


def merged(*configs: Mapping[str, V]) -> dict[str, V]:
    """Merge flat configs; a later value replaces an earlier one, even if one key has its old and the other its current name.

    Keys keep the spelling in which they are given.

    >>> merged({"seed": 1, "fedpm.eps": 0.001}, {"eps": 0.01})
    {'seed': 1, 'eps': 0.01}
    """
    found: dict[str, V] = {}
    for config in configs:
        replaced = {current_name(key) for key in config}
        found = {key: value for key, value in found.items() if current_name(key) not in replaced} | dict(config)
    return found


def _current_value(name: str, value: V) -> V:
    values = VALUE_ALIASES.get(name, {})
    return values.get(value, value) if isinstance(value, str) else value  # type: ignore[return-value]
