"""Conversion of keys and values to a checked configuration, and back."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from fedgates.config.aliases import ALIASES, OLD_NAMES, current_names
from fedgates.config.fields import kebab
from fedgates.config.flat import flatten
from fedgates.config.keys import Key, all_keys, keys_of, message_of
from fedgates.config.run_config import RunConfig
from fedgates.config.suggestions import did_you_mean
from fedgates.errors import ConfigError
from fedgates.types import Value

C = TypeVar("C", bound=RunConfig)


def parse(config_class: type[C], raw: Mapping[str, Any], others: Iterable[type[RunConfig]] = ()) -> C:
    """Build a configuration from keys and values, check it, and fill in the method's own defaults.

    Parameters
    ----------
    config_class : type
        The method's configuration class.
    raw : mapping
        Keys and values; keys are dotted, in nested tables, or old flat names. A key that is left out has its default.
    others : iterable of type
        Configuration classes of other methods, whose keys may be in `raw` if they have their default values.

    Raises
    ------
    ConfigError
        A key is unknown, a value has a wrong type or is out of range, a key that the method does not use is not at its
        default, or the method needs ``density.target`` and it is not set.
    """
    flat = flatten(raw)
    own = keys_of(config_class)
    known = all_keys([*others]) | own
    values = current_names(flat, own)
    written = dict(zip(values, flat, strict=True))  # error messages name keys as the user wrote them
    method = values.get("strategy", own["strategy"].default)
    for name, value in values.items():
        as_written = written[name]
        if name not in known:
            raise unknown(as_written, flat[as_written], known)
        default = known[name].default
        if (name not in own or name in config_class.unused) and value != default:
            raise ConfigError(as_written, flat[as_written], f"{default!r}: strategy {method} does not use it")
        expected = known[name].problem(value)
        if expected is not None:
            raise ConfigError(as_written, flat[as_written], expected)
    try:
        config = config_class.model_validate(_nested(own, values))
    except ValidationError as error:  # from a user-defined validator that compares keys
        first = error.errors()[0]
        table = ".".join(str(part) for part in first["loc"])
        given = {name: value for name, value in values.items() if name.startswith(f"{table}." if table else "")}
        raise ConfigError(table or "config", given, message_of(first)) from None
    if config.requires_density:
        require_density(config, written.get("density.target", "density.target"))
    return config


def updated(config: C, changes: Mapping[str, Any]) -> C:
    """Return a copy of a configuration with some values changed; the copy is checked by :func:`parse`.

    Parameters
    ----------
    config : RunConfig
        The configuration to copy; it is not modified.
    changes : mapping
        Keys and values, in the form that :func:`parse` accepts.

    Raises
    ------
    ConfigError
        A key is unknown or a value is not valid.
    """
    return parse(type(config), to_dict(config) | current_names(flatten(changes), keys_of(type(config))))


def require_density(config: RunConfig, key: str = "density.target") -> None:
    """Raise a :class:`ConfigError` that names `key` if a configuration has no ``density.target`` above 0."""
    target = to_dict(config).get("density.target", 0.0)
    if not target:
        expected = f"a share above 0: strategy {config.strategy} needs one, such as {key}=0.1"
        raise ConfigError(key, target, expected)


def class_of(name: object, configs: Mapping[str, type[RunConfig]], key: str = "strategy") -> type[RunConfig]:
    """Return the configuration class of the method `name`.

    Raises
    ------
    ConfigError
        There is no such method; the message names `key` and suggests the nearest name.
    """
    found = configs.get(name) if isinstance(name, str) else None
    if found is None:
        raise ConfigError(key, name, f'one of {", ".join(configs)} or "module:Class"{did_you_mean(name, list(configs))}')
    return found


def unknown(key: str, value: object, known: Iterable[str]) -> ConfigError:
    """Return the error for a key that does not exist; it suggests the nearest of the `known` dotted keys."""
    names = list(known)
    table = [name for name in names if name.startswith(f"{key}.")]
    if table:
        return ConfigError(key, value, f"a table; its keys are {', '.join(table)}")
    return ConfigError(key, value, "a known key" + suggested_key(key, names))


def suggested_key(key: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean KEY?"`` with the nearest of the `known` dotted keys, or an empty string.

    The dotted name of a key, its name without the table, and its old name are compared.
    """
    spellings: dict[str, str] = {}
    for name in known:
        spellings |= {name: name}
        spellings.setdefault(name.rpartition(".")[2], name)
        spellings.setdefault(OLD_NAMES.get(name, name), name)
    spellings |= {old: new for old, new in ALIASES.items() if new in spellings.values()}
    return did_you_mean(key, spellings) or did_you_mean(key.rpartition(".")[2], spellings)


def to_dict(config: RunConfig) -> dict[str, Value]:
    """Convert a configuration to dotted keys and plain values, in order of declaration, for ``config.json``."""
    return {name: _value(config, key) for name, key in keys_of(type(config)).items()}


def changed(config: RunConfig) -> dict[str, Value]:
    """Return the keys whose values differ from the method's defaults, with their values."""
    defaults = to_dict(type(config)())
    return {name: value for name, value in to_dict(config).items() if value != defaults[name]}


def _value(config: RunConfig, key: Key) -> Value:
    value: Any = config
    for name in key.path:
        value = getattr(value, name)
    return value  # type: ignore[no-any-return]


def _nested(keys: Mapping[str, Key], values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, key in keys.items():
        if name in values:
            table = nested
            for part in key.path[:-1]:
                table = table.setdefault(kebab(part), {})
            table[kebab(key.path[-1])] = values[name]
    return nested
