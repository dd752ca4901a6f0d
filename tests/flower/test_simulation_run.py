"""`rehearse`: what a script of one's own prints, and how it ends."""

import json
import subprocess
import sys

import pytest
from engines import ROOT

SCRIPT = """
import json, sys
from client_app import app
from fedgates.flower import rehearse

settings = {"num-server-rounds": 1, "samples-per-client": 20, "output-dir": sys.argv[1], **json.loads(sys.argv[2])}
folder = rehearse(app, settings, **json.loads(sys.argv[3]))
print("it returned", folder.path)
"""


def script(tmp_path, settings, clients):
    arguments = [str(tmp_path), json.dumps(settings), json.dumps(clients)]
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_tells_the_rounds_and_returns_the_folder(tmp_path):
    ended = script(tmp_path, {}, {"num_clients": 3})
    assert (ended.returncode, ended.stderr) == (0, "")
    (folder,) = tmp_path.iterdir()
    lines = ended.stdout.splitlines()
    assert lines[0] == f"results: {folder}"
    assert lines[2].startswith("round 1/1  accuracy ")
    assert lines[2].endswith("  clients 3/3  0:00 left")
    assert lines[-1] == f"it returned {folder}"


@pytest.mark.parametrize(
    ("settings", "clients", "said"),
    [
        ({}, {}, "fedgates: num_clients = 0: expected how many clients share the data set, or node_configs instead"),
        ({}, {"num_clients": -3}, "fedgates: num_clients = -3: expected how many clients share the data set"),
        ({"seed": -1}, {"num_clients": 3}, "fedgates: seed = -1: expected a whole number of at least 0 and at most "),
        ({"model": "linear"}, {"num_clients": 3}, "fedgates: model = 'linear': expected another"),
        (
            {"dataset": "devices:8x8x1:10"},
            {"node_configs": [{"partition-id": 4, "data-path": "/absent.npz"}]},
            "fedgates: min-clients = 2: 0 of 1 clients can take part; of the others the first says: data-path = '/absent.npz'",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, settings, clients, said):
    ended = script(tmp_path, settings, clients)
    assert ended.returncode == 1
    assert "it returned" not in ended.stdout
    (line,) = ended.stderr.splitlines()
    assert line.startswith(said)
