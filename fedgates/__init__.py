"""Federated learning where clients send gates, not weights.

``fedgates.simulate`` runs a federation in this process, and ``fedgates.load`` loads the resulting model. Names are imported
lazily, so that loading a model file needs only torch and NumPy.
"""

import importlib
from typing import TYPE_CHECKING

from fedgates.errors import ConfigError, DivergenceError, ModelFileError, NetworkError, QuorumError, StorageError

if TYPE_CHECKING:
    from fedgates.flower.simulation import SimulationResult, simulate
    from fedgates.model_file import Model, load

__version__ = "0.1.0"
_LAZY = {
    "Model": "fedgates.model_file",
    "load": "fedgates.model_file",
    "SimulationResult": "fedgates.flower.simulation",
    "simulate": "fedgates.flower.simulation",
}

__all__ = [
    "ConfigError",
    "DivergenceError",
    "Model",
    "ModelFileError",
    "NetworkError",
    "QuorumError",
    "SimulationResult",
    "StorageError",
    "load",
    "simulate",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'fedgates' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
