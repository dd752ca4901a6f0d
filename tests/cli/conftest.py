"""A run that was trained, for the commands that look at what it left, and a model that was not."""

import pytest
import torch

from client_app import app
from fedgates import model_file, models
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.model_file import Facts
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.types import Problem


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a finished run: ten clients, eight rounds, the real digits."""
    raw = {
        "num-server-rounds": 8,
        "evaluations": "threshold",
        "output-dir": str(tmp_path_factory.mktemp("trained") / "runs"),
        "round-timeout": 60.0,
    }
    folder = run_on_grid(LoopbackGrid(app, raw, 10), raw)
    return folder.path


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """Bytes of a model's file, made without training."""
    network = Network(models.build("mlp", Problem.of_images((1, 8, 8), 10), seed=3))
    gates = Gates(network, 3)
    mask = torch.rand(network.size, generator=torch.Generator().manual_seed(2)) < 0.3
    file = tmp_path_factory.mktemp("untrained") / "m"
    facts = Facts("mlp", Problem.of_images((1, 8, 8), 10), tuple("0123456789"), 3, "", "", {})
    model_file.save(file, network, facts, gates.frozen * mask, gates=gates)
    return file.read_bytes()
