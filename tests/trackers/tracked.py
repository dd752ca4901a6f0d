"""Runs that trackers follow."""

from client_app import app
from fedgates.flower import LoopbackGrid, run_federation
from strategies import STRATEGIES


def run(raw):
    """A whole run on four clients: its folder."""
    _, folder = run_federation(LoopbackGrid(app, raw, 4), raw, STRATEGIES)
    return folder
