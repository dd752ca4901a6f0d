"""Write and read ``config.json``, the configuration of a run.

The file has the run config under dotted keys; `simulated-clients`, the number of simulated clients (null on real devices);
`data-digest`, the digest of the server's data set (empty if only devices have data); and two objects: `method-defaults`, the
defaults of the method's own keys and those that are not the defaults of :class:`~fedgates.config.RunConfig`, and `software`,
versions and git commits (:mod:`fedgates.runs.software`). Only :func:`read_defaults` and :func:`read_software` return these.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedgates.config import CLIENTS, DATA_DIGEST, RunConfig, current_names, to_dict
from fedgates.errors import ConfigError
from fedgates.runs.schema import format_json
from fedgates.runs.software import software
from fedgates.types import Value
from fedgates.util.files import write_atomically
from fedgates.util.text import one_line

FILE_NAME = "config.json"
_IDENTITY = {"strategy": str, "dataset": str, "seed": int, "num-server-rounds": int}
"""Keys that every run has, and their types."""
_USABLE: dict[str, Callable[[Any], bool]] = {
    "num-server-rounds": lambda value: type(value) is int and value >= 0,
    "density.target": lambda value: type(value) in {int, float} and 0 <= value <= 1,
    "stop-accuracy": lambda value: type(value) in {int, float} and 0 <= value <= 1,
    "stop-patience": lambda value: type(value) is int and value >= 0,
    CLIENTS: lambda value: value is None or (type(value) is int and value >= 0),
}
"""Keys whose values are used in computations, with a function that checks a value."""
_MAX_PROBLEMS = 8
_DEFAULTS, _SOFTWARE = "method-defaults", "software"
_OBJECTS: dict[str, tuple[type, ...]] = {_DEFAULTS: (bool, int, float, str), _SOFTWARE: (str,)}
"""Objects beside the keys, and the types of their values."""


def run_values(config: RunConfig, clients: int | None, data_digest: str) -> dict[str, Any]:
    """Return the values to write to ``config.json``.

    Parameters
    ----------
    config : RunConfig
        The run's configuration.
    clients : int, optional
        Number of simulated clients; None on real devices.
    data_digest : str
        Digest of the server's data set (:attr:`fedgates.data.Dataset.digest`).
    """
    return {**to_dict(config), CLIENTS: clients, DATA_DIGEST: data_digest}


def write_config(folder: Path, config: RunConfig, clients: int | None, data_digest: str) -> None:
    """Write ``config.json`` in `folder` atomically, with the method's defaults, and the versions and commits of this process.

    The other parameters are those of :func:`run_values`.
    """
    common = to_dict(RunConfig())
    defaults = {key: value for key, value in to_dict(type(config)()).items() if key not in common or common[key] != value}
    everything = {**run_values(config, clients, data_digest), _DEFAULTS: defaults, _SOFTWARE: software()}
    write_atomically(folder / FILE_NAME, (json.dumps(everything, indent=2) + "\n").encode())


def read_config(folder: Path, key: str = "run") -> dict[str, Any]:
    """Return the values of ``config.json``, under the current names of their keys.

    Parameters
    ----------
    folder : Path
        The folder of a run.
    key : str
        The key or argument for `folder` in error messages.

    Raises
    ------
    ConfigError
        Key `key`: the file cannot be read, is not a JSON object, or `strategy`, `dataset`, `seed` or `num-server-rounds` is
        missing or has the wrong type.
    """
    values = _keys(_json(folder))
    if values is None:
        raise ConfigError(key, str(folder), f"the folder of a run, with a readable {FILE_NAME}")
    for name, kind in _IDENTITY.items():
        if type(values.get(name)) is not kind:
            expected = "text" if kind is str else "a whole number"
            raise ConfigError(key, str(folder), f"the folder of a run; {name} in its {FILE_NAME} is not {expected}")
    return values


def read_usable_config(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the valid values in ``config.json``, and a message for each invalid value.

    Both are empty if the file is missing. Invalid values of `method-defaults` and `software` have messages, too.
    """
    if not (folder / FILE_NAME).exists():
        return {}, []
    everything = _json(folder)
    values = _keys(everything)
    if everything is None or values is None:
        return {}, [f"{FILE_NAME}: not a JSON object"]
    unusable = {name: value for name, value in values.items() if not _is_usable(name, value)}
    damaged = [*unusable.items(), *(item for name in _OBJECTS for item in _object(everything, name)[1].items())]
    problems = [f"{FILE_NAME}: {one_line(name, 40)} = {format_json(value)}" for name, value in damaged[:_MAX_PROBLEMS]]
    if len(damaged) > _MAX_PROBLEMS:
        problems.append(f"{FILE_NAME}: {len(damaged) - _MAX_PROBLEMS:,} more keys")
    return {name: value for name, value in values.items() if name not in unusable}, problems


def read_software(folder: Path) -> dict[str, str]:
    """Return the versions and commits of the process that started or last resumed a run; empty if the file has none."""
    return _object(_json(folder) or {}, _SOFTWARE)[0]


def read_defaults(folder: Path) -> dict[str, Value]:
    """Return the default of each key for the method of a run; only those of every method if the file has no others."""
    return {**to_dict(RunConfig()), **_object(_json(folder) or {}, _DEFAULTS)[0]}


def _object(everything: Mapping[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the valid values of an object in the file, and its invalid values under dotted keys."""
    found = everything.get(name, {})
    if not isinstance(found, dict):
        return {}, {name: found}
    usable = {key: value for key, value in found.items() if isinstance(value, _OBJECTS[name])}
    return usable, {f"{name}.{key}": value for key, value in found.items() if key not in usable}


def _keys(everything: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the values under the current names of their keys; None if the file is unreadable or two names mean one key."""
    if everything is None:
        return None
    values = {name: value for name, value in everything.items() if name not in _OBJECTS}
    written_before_tables = not any("." in name for name in values)
    with suppress(ConfigError):
        return current_names(values) if written_before_tables else values
    return None


def _json(folder: Path) -> dict[str, Any] | None:
    """Return the JSON object in the file; None if the file is unreadable or has no JSON object."""
    with suppress(OSError, ValueError, RecursionError):
        values = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else None
    return None


def _is_usable(name: str, value: object) -> bool:
    return not isinstance(value, dict | list) and (name not in _USABLE or _USABLE[name](value))
