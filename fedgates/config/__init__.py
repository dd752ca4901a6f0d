"""The configuration of a run: its keys, their checks, and the config of an app.

Names are imported when they are used, so that :mod:`fedgates.config.names` costs no import of pydantic.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedgates.config.names import (
    CLIENTS,
    DATASETS,
    DEVICES,
    LIMITS,
    MODELS,
    OWN_DATASETS,
    SYNTHETIC,
    TRACKERS,
    UPLINKS,
    WEIGHT_SCALES,
    devices_shape,
    folder,
    is_reference,
    split_trackers,
)

if TYPE_CHECKING:
    from fedgates.config.schema import (
        RunConfig,
        choice,
        field_name,
        key_name,
        key_names,
        number,
        parse,
        require_density,
        text,
        to_dict,
    )

_LAZY = {
    "fedgates.config.schema": (
        "RunConfig",
        "choice",
        "field_name",
        "key_name",
        "key_names",
        "number",
        "parse",
        "require_density",
        "text",
        "to_dict",
    ),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # any of the names above
    """Import a name from its module."""
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
    "DEVICES",
    "LIMITS",
    "MODELS",
    "OWN_DATASETS",
    "SYNTHETIC",
    "TRACKERS",
    "UPLINKS",
    "WEIGHT_SCALES",
    "RunConfig",
    "choice",
    "devices_shape",
    "field_name",
    "folder",
    "is_reference",
    "key_name",
    "key_names",
    "number",
    "parse",
    "require_density",
    "split_trackers",
    "text",
    "to_dict",
]
