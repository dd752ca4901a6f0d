"""The one room that knows Flower: the strategies' bases, messages, the two apps, and a grid for tests."""

from fedgates.flower.client_app import make_client_app
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server_app import make_server_app, run_federation
from fedgates.flower.simulation import rehearse
from fedgates.flower.strategy import GateStrategy, QuorumError
from fedgates.methods.masks import MaskConfig, MaskStrategy, counted, threshold
from fedgates.methods.weights import WeightConfig, WeightStrategy, finite, largest, rounded, weighted_mean

__all__ = [
    "GateStrategy",
    "LoopbackGrid",
    "MaskConfig",
    "MaskStrategy",
    "QuorumError",
    "WeightConfig",
    "WeightStrategy",
    "counted",
    "finite",
    "largest",
    "make_client_app",
    "make_server_app",
    "rehearse",
    "rounded",
    "run_federation",
    "threshold",
    "weighted_mean",
]
