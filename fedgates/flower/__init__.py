"""Integration with Flower: ServerApp, ClientApp, Strategy, and a grid that runs clients in this process."""

from fedgates.flower.client_app import make_client_app
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server_app import make_server_app, run_on_grid
from fedgates.flower.strategy import FlowerStrategy

__all__ = ["FlowerStrategy", "LoopbackGrid", "make_client_app", "make_server_app", "run_on_grid"]
