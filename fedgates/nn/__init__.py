"""Flat parameter vectors of torch modules, gates on them, and removal of dead units.

Names are imported lazily, so that importing the package does not import torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedgates.nn.dead_units import remove_dead_units
    from fedgates.nn.flat_parameters import ParameterSlice
    from fedgates.nn.gates import Gates
    from fedgates.nn.network import Network

__all__ = ["Gates", "Network", "ParameterSlice", "remove_dead_units"]
_MODULES = {"Gates": "gates", "Network": "network", "ParameterSlice": "flat_parameters", "remove_dead_units": "dead_units"}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fedgates.nn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fedgates.nn.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
