"""`flwr run` with Flower's Ray simulation: the same app, and the same bytes as the loopback grid."""

import re
from pathlib import Path

import pytest
from engines import ROOT, Sandbox, config_override
from loopback_runs import MLP, without

from client_app import app
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.runs.folder import RunFolder

pytestmark = pytest.mark.slow
NETWORK = MLP  # a network of the app, which is all that Ray's workers have
NODES = 12
"""Of which eight are asked for their names."""


def flwr_run(sandbox, config, clients, cwd):
    federation = f"num-supernodes={clients} client-resources-num-cpus=1"
    command = ("flwr", "run", str(ROOT), "--stream", "--federation-config", federation)
    return sandbox.run(*command, "--run-config", config_override(config), cwd=cwd)


def another_clone(folder):
    """Where the SuperLink is started: what lies there is not what was sent, and nobody is to run it."""
    for package in ("fedgates", "strategies"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("raise RuntimeError('another clone')")
    return folder


SAMPLED = {"strategy": "fedpm", "uplink": "sampled", "downlink": "relay", "num-server-rounds": 3}


def test_ray_and_loopback_give_the_same_bytes_and_bad_config_ends_before_ray(raw, tmp_path):
    plain = raw(round_timeout=120.0, fraction_train=0.75)
    sampled = plain | SAMPLED
    with Sandbox(tmp_path / "sandbox") as sandbox:
        cwd = another_clone(tmp_path / "another")
        _, out = flwr_run(sandbox, plain, NODES, cwd)
        _, out_sampled = flwr_run(sandbox, sampled, NODES, cwd)
        _, refused = flwr_run(sandbox, plain | {"partition": "classes", "classes-per-client": 11}, 4, cwd)
        statuses = [run["status"] for run in sandbox.runs()]

    for config, printed in ((plain, out), (sampled, out_sampled)):
        simulated = simulated_folder(printed)
        loopback = run_on_grid(LoopbackGrid(app, config, NODES), config)
        checkpoints = sorted(path.name for path in loopback.path.glob("checkpoint-*"))
        assert len(checkpoints) == 2
        for name in checkpoints:
            assert (simulated.path / name).read_bytes() == (loopback.path / name).read_bytes()
        assert without(simulated.round_log.read()) == without(loopback.round_log.read())
    assert "relay, sampled" in simulated.round_log.read()[-1]["downlink"]  # Ray's clients kept what they knew

    rounds = re.findall(
        r"^round \d/2  accuracy .+ %  density .+  bpp up .+ down .+  clients 9/9  \d:\d\d left(?:, start included)?$",
        out,
        re.MULTILINE,
    )
    assert len(rounds) == 2, out
    assert "dense float32 FedAvg would move" in out

    assert "fedgates: data.classes-per-client = 11: expected at most 10, the number of classes" in refused
    assert "Traceback" not in refused
    assert statuses[0].split(":")[:2] == ["finished", "failed"]  # of the others Flower says so, too, if the machine is too busy


def simulated_folder(out):
    printed = re.findall(r"^results: (.+)$", out, re.MULTILINE)
    assert len(printed) == 2, out
    return RunFolder(Path(printed[0]))
