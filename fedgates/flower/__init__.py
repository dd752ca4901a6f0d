"""The one room that knows Flower: the strategies' bases, messages, the two apps, and a grid for tests."""

from fedgates.flower.client_app import make_client_app
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server_app import make_server_app, run_federation
from fedgates.flower.simulation import rehearse
from fedgates.flower.strategy import GateStrategy, QuorumError
from fedgates.methods.masks import MaskConfig, MaskMethod, add_votes, threshold
from fedgates.methods.weights import WeightConfig, WeightMethod, finite, largest, rounded, weighted_mean

__all__ = [
    "GateStrategy",
    "LoopbackGrid",
    "MaskConfig",
    "MaskMethod",
    "QuorumError",
    "WeightConfig",
    "WeightMethod",
    "add_votes",
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
