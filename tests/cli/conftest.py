"""A run that was trained, for the commands that look at what it left."""

import pytest

from client_app import app
from fedgates.flower import LoopbackGrid, run_federation
from strategies import STRATEGIES


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a finished run: ten clients, eight rounds, the real digits."""
    raw = {
        "num-server-rounds": 8,
        "evaluations": "threshold",
        "output-dir": str(tmp_path_factory.mktemp("trained") / "runs"),
        "round-timeout": 60.0,
    }
    _, folder = run_federation(LoopbackGrid(app, raw, 10), raw, STRATEGIES)
    return folder.path
