"""The one room that knows Flower: the strategies' base, messages, the two apps, and a grid for tests."""

from fedgates.flower.client import make_client_app
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server import make_server_app, run_federation
from fedgates.flower.strategy import GateStrategy, QuorumError

__all__ = ["GateStrategy", "LoopbackGrid", "QuorumError", "make_client_app", "make_server_app", "run_federation"]
