"""The example of a method of one's own: copied out of the repository, run on the loopback grid and by `flwr run`."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from engines import ROOT, Sandbox
from safetensors import safe_open

from fedgates.runs.checkpoint import load
from fedgates.runs.folder import RunFolder

EXAMPLE = ROOT / "examples" / "own_strategy"
LOOPBACK = """
import json, sys
from client_app import app
from fedgates.flower import LoopbackGrid, run_on_grid
for raw in json.loads(sys.argv[1]):
    print(run_on_grid(LoopbackGrid(app, raw, 5), raw, {}).path)
"""


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(EXAMPLE, tmp_path / "elsewhere"))


def on_loopback(copy, *runs):
    """Run the example once with each of some changes, and return the folders of the runs."""
    raw = {"output-dir": str(copy / "runs"), "strategy": "own_strategy:FadingVotes", "num-server-rounds": 4}
    raw |= {"samples-per-client": 150, "evaluations": "threshold"}
    settings = json.dumps([{**raw, **changes} for changes in runs])
    done = subprocess.run(
        [sys.executable, "-c", LOOPBACK, settings], cwd=copy, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [RunFolder(Path(line)) for line in done.stdout.splitlines()]


def test_the_example_is_short_and_changes_two_rules():
    text = (EXAMPLE / "own_strategy.py").read_text()
    assert len(text.splitlines()) < 60
    assert re.findall(r"    def (\w+)", text) == ["local_update", "aggregate"]


@pytest.mark.slow
def test_it_learns_on_every_wire_and_its_own_key_works(copy):
    folder, relayed, sampled, forgetful = on_loopback(
        copy, {}, {"downlink": "relay"}, {"uplink": "sampled"}, {"fade": 1000, "samples-per-client": 20, "local-epochs": 1}
    )
    lines = folder.round_log.read()
    assert lines[-1]["accuracy"] > 0.6
    assert load(folder.path, bytes.fromhex(json_of(folder)["digest"]))[0].trials == 9  # 5, then 5 // 2 + 5 = 7, 8, 9
    relayed = relayed.round_log.read()
    assert [line["accuracy"] for line in relayed] == [line["accuracy"] for line in lines]
    assert any("delta" in sort or "relay" in sort for sort in relayed[-1]["downlink"])
    assert sum(line["uplink_bytes"] for line in sampled.round_log.read()) < sum(line["uplink_bytes"] for line in lines)
    assert load(forgetful.path, bytes.fromhex(json_of(forgetful)["digest"]))[0].trials == 5


def json_of(folder):
    with safe_open(max(folder.path.glob("checkpoint-*")), framework="numpy") as file:
        return json.loads(file.metadata()["fedgates"])


@pytest.mark.slow
def test_flwr_runs_it_outside_the_repository(copy, tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        federation = "num-supernodes=3 client-resources-num-cpus=1"
        config = f'num-server-rounds=2 fade=3 output-dir="{tmp_path / "out"}"'
        code, out = sandbox.run(
            "flwr", "run", ".", "--stream", "--federation-config", federation, "--run-config", config, cwd=copy
        )
    assert code == 0, out
    assert re.search(r"^round 2/2  accuracy ", out, re.MULTILINE), out
    assert "own_strategy:FadingVotes, 2 rounds" in out
