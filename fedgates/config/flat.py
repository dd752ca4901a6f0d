"""Flattening of nested tables of keys; needs only the standard library."""

from collections.abc import Mapping
from typing import Any

from fedgates.errors import ConfigError


def flatten(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested tables into one mapping with dotted keys.

    Raises
    ------
    ConfigError
        A key is given twice.

    >>> flatten({"seed": 1, "fedpm": {"eps": 0.01, "reset-every": 5}})
    {'seed': 1, 'fedpm.eps': 0.01, 'fedpm.reset-every': 5}
    """
    found: dict[str, Any] = {}
    for name, value in raw.items():
        inner = {f"{name}.{key}": v for key, v in flatten(value).items()} if isinstance(value, Mapping) else {name: value}
        for key, inner_value in inner.items():
            if key in found:
                raise ConfigError(key, inner_value, "each key once")
            found[key] = inner_value
    return found
