"""Configuration of a run: keys and their checks, and the configuration of a Flower app.

Names are imported lazily, so that importing :mod:`fedgates.config.names` does not import pydantic.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedgates.config.names import (
    CLIENTS,
    DATA_DIGEST,
    DATASETS,
    DEFAULT_STRATEGY,
    DEVICES,
    LIMITS,
    MODELS,
    OWN_DATASETS,
    SYNTHETIC,
    TRACKERS,
    UPLINKS,
    WEIGHT_SCALES,
    folder,
    is_reference,
    split_trackers,
)

if TYPE_CHECKING:
    from fedgates.config.aliases import current_name, current_names, merged
    from fedgates.config.app import AppConfig, as_pair, read_app, read_overrides
    from fedgates.config.devices import devices_problem
    from fedgates.config.fields import key
    from fedgates.config.flat import flatten
    from fedgates.config.keys import keys_of
    from fedgates.config.parsing import changed, parse, to_dict, updated
    from fedgates.config.run_config import PENALTY_ONLY, TARGET_ONLY, DensityConfig, MaskConfig, RunConfig, WeightConfig
    from fedgates.config.shared import read_shared
    from fedgates.config.tables import DensityTable, Table

_LAZY = {
    "fedgates.config.aliases": ("current_name", "current_names", "merged"),
    "fedgates.config.app": ("AppConfig", "as_pair", "read_app", "read_overrides"),
    "fedgates.config.devices": ("devices_problem",),
    "fedgates.config.fields": ("key",),
    "fedgates.config.flat": ("flatten",),
    "fedgates.config.keys": ("keys_of",),
    "fedgates.config.parsing": ("changed", "parse", "to_dict", "updated"),
    "fedgates.config.run_config": ("PENALTY_ONLY", "TARGET_ONLY", "DensityConfig", "MaskConfig", "RunConfig", "WeightConfig"),
    "fedgates.config.shared": ("read_shared",),
    "fedgates.config.tables": ("DensityTable", "Table"),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # any of the names above
    """Import a public name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)


__all__ = [
    "CLIENTS",
    "DATASETS",
    "DATA_DIGEST",
    "DEFAULT_STRATEGY",
    "DEVICES",
    "LIMITS",
    "MODELS",
    "OWN_DATASETS",
    "PENALTY_ONLY",
    "SYNTHETIC",
    "TARGET_ONLY",
    "TRACKERS",
    "UPLINKS",
    "WEIGHT_SCALES",
    "AppConfig",
    "DensityConfig",
    "DensityTable",
    "MaskConfig",
    "RunConfig",
    "Table",
    "WeightConfig",
    "as_pair",
    "changed",
    "current_name",
    "current_names",
    "devices_problem",
    "flatten",
    "folder",
    "is_reference",
    "key",
    "keys_of",
    "merged",
    "parse",
    "read_app",
    "read_overrides",
    "read_shared",
    "split_trackers",
    "to_dict",
    "updated",
]
