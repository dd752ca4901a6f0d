"""`flwr run` with Flower's Ray simulation: the same app, and the same bytes as the loopback grid."""

import re

import pytest
from engines import Sandbox, config_override

from client_app import app
from fedgates.checkpoint import RunFolder
from fedgates.flower import LoopbackGrid, run_federation
from strategies import STRATEGIES

pytestmark = pytest.mark.slow


def flwr_run(sandbox, config, clients):
    federation = f"num-supernodes={clients} client-resources-num-cpus=1"
    return sandbox.run(
        "flwr", "run", ".", "--stream", "--federation-config", federation, "--run-config", config_override(config)
    )


def test_ray_and_loopback_give_the_same_bytes_and_bad_config_ends_before_ray(raw, tmp_path):
    config = raw(round_timeout=120.0, fraction_train=0.75)
    with Sandbox(tmp_path / "sandbox") as sandbox:
        _, out = flwr_run(sandbox, config, 4)
        _, refused = flwr_run(sandbox, config | {"partition": "classes", "classes-per-client": 11}, 4)
        statuses = [run["status"] for run in sandbox.runs()]

    printed = re.findall(r"^results: (.+)$", out, re.MULTILINE)
    assert len(printed) == 2, out
    simulated = RunFolder(tmp_path.__class__(printed[0]))
    _, loopback = run_federation(LoopbackGrid(app, config, 4), config, STRATEGIES)
    for name in ("checkpoint-00001.safetensors", "checkpoint-00002.safetensors"):
        assert (simulated.path / name).read_bytes() == (loopback.path / name).read_bytes()

    def comparable(folder):
        return [{k: v for k, v in line.items() if k != "seconds"} for line in folder.ledger.read()]

    assert comparable(simulated) == comparable(loopback)
    rounds = re.findall(
        r"^round \d/2  accuracy .+ %  density .+  bpp up .+ down .+  clients 3/3  \d:\d\d left$", out, re.MULTILINE
    )
    assert len(rounds) == 2, out
    assert "dense float32 FedAvg would move" in out

    assert "fedgates: classes-per-client = 11: expected at most the 10 classes there are" in refused
    assert "Traceback" not in refused
    assert [s.split(":")[:2] for s in statuses] == [["finished", "failed"], ["finished", "completed"]]
