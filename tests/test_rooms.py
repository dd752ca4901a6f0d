"""The arrows between the rooms: what may import what, and what works where Flower and Ray are not installed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fedgates"
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """The top-level names of every module that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def test_arrows_point_one_way():
    for path in FILES:
        names = imported(path)
        assert not names & {"strategies", "client_app", "server_app", "pickle"}, path
        if "flower" not in path.relative_to(PACKAGE).parts:
            assert not names & {"flwr", "ray"}, path


@pytest.mark.slow
def test_training_works_where_flower_is_not_installed():
    code = """
import sys
for name in ("flwr", "flwr_datasets", "datasets", "ray", "torchvision", "PIL", "matplotlib"):
    sys.modules[name] = None
import torch
from fedgates import data, models, rng, wire
from fedgates.config import RunConfig
from fedgates.nn.gates import Gates, sample
from fedgates.nn.network import Network
from fedgates.types import Update, pack
from fedgates.methods.evaluation import predict
from fedgates.methods.training import Task, backward
digits = data.load(RunConfig())
x, y = data.to_tensors(digits.test, "cpu")
gates = Gates(Network(models.build("cnn", digits.problem)), seed=1)
scores = torch.zeros(gates.network.size)
gates.load_sample(scores, rng.generator(1, "masks"))
backward(gates.network, Task(x, y, 1, 0), torch.arange(16), "float32")
gates.straight_through(scores)
mask = sample(torch.sigmoid(scores), rng.generator(1, "upload"))
context = wire.CodingContext(gates.digest, tuple(slot.size for slot in gates.network.slices), server_round=1)
payload = wire.pack_update(Update(pack(mask.numpy())), context, "packed")
print(tuple(predict(gates.network, x).shape), len(payload) == 36 + -(-len(scores) // 8))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(360, 10) True\n", "")
