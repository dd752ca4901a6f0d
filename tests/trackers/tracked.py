"""Runs that trackers follow, and what they are told."""

from client_app import app
from fedgates.flower import LoopbackGrid, run_on_grid


def run(raw):
    """A whole run on four clients: its folder."""
    return run_on_grid(LoopbackGrid(app, raw, 4), raw)


def line(server_round, **changes):
    """A line of a ledger."""
    counts = {"clients_selected": 2, "clients_counted": 2, "clients_rejected": 0}
    return {
        "round": server_round,
        "accuracy": 0.5,
        "uplink_bytes": 300_000,
        "downlink_bytes": 200_000,
        "quorum": True,
        "attempt": 1,
        **counts,
        **changes,
    }
