"""Runs with trackers, lines, and a run loop that calls a TrackerCallback."""

from contextlib import contextmanager

from client_app import app
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.trackers import TrackerCallback


def run(raw):
    """Do a run on four clients and return its folder."""
    return run_on_grid(LoopbackGrid(app, raw, 4), raw)


def line(server_round, **changes):
    """A line of rounds.jsonl with few keys."""
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


@contextmanager
def tracking(trackers, folder, config, first_round=1, *, resumed=False, lenient=True):
    """What a run loop does with the callback; yields a function that logs a line."""
    callback, finished = TrackerCallback(trackers, folder, config, lenient=lenient), False
    callback.on_start(None, first_round, resumed=resumed)
    try:
        yield lambda line: callback.on_round_end(line, None)
        finished = True
    finally:
        callback.on_end(None, finished=finished)
