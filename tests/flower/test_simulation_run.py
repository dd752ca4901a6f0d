"""`fedgates.simulate`: what a script of one's own prints and gets back, and the errors that it raises."""

import json
import os
import re
import subprocess
import sys

import pytest
from engines import ROOT
from torch import nn

import fedgates
from fedgates.errors import ConfigError, QuorumError

SCRIPT = """
import logging, sys
import fedgates

logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
settings = {"num-server-rounds": 1, "samples-per-client": 20, "output-dir": sys.argv[1]}
result = fedgates.simulate(settings, num_clients=3)
print("it returned", result.folder)
"""
AT_LEAST_ONE = "a whole number of at least 1"


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A script that runs a federation and shows a progress bar: its folder, standard output and standard error."""
    place = tmp_path_factory.mktemp("script")
    command = [sys.executable, "-c", SCRIPT, str(place)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    (folder,) = place.iterdir()
    return folder, ended.stdout, ended.stderr


def test_it_logs_the_rounds_and_returns_the_folder(ended):
    folder, output, _ = ended
    lines = output.splitlines()
    assert lines[0] == f"results: {folder}"
    assert lines[2] == "changed: num-server-rounds=1 data.samples-per-client=20"
    assert lines[3] == "1,377 of 1,437 training examples are held by no client"
    assert lines[4].startswith("round 1/1  accuracy ")
    assert lines[4].endswith("  clients 3/3  0:00 left")
    assert lines[-1] == f"it returned {folder}"


def test_a_progress_bar_counts_the_rounds_and_is_all_of_standard_error(ended):
    lines = ended[2].splitlines()
    assert all(line.startswith("coupled-masks: ") for line in lines if line)
    assert lines[-1].startswith("coupled-masks: 100%|")
    assert re.search(r"\| 1/1 rounds, 0:00 left, accuracy=\d\.\d{3}, loss=\d+\.\d{3}$", lines[-1])


@pytest.mark.usefixtures("whole_runs")
def test_the_result_has_the_history_and_the_model(raw):
    result = fedgates.simulate(raw(num_server_rounds=3, model="mlp"), num_clients=3, progress=False)
    lines = [json.loads(line) for line in (result.folder / "rounds.jsonl").read_text().splitlines()]
    assert result.history.index.tolist() == [1, 2, 3]
    for column in ("accuracy", "uplink_bytes", "clients_counted"):
        assert result.history[column].tolist() == [line[column] for line in lines]
    assert "uplink" not in result.history  # a mapping, not a number
    assert isinstance(result.model, nn.Module)
    assert result.model.facts.training["accuracy"] == lines[-1]["accuracy"]


@pytest.mark.slow
@pytest.mark.usefixtures("whole_runs")
def test_the_model_of_a_network_of_ones_own_is_loaded_with_that_network(raw):
    result = fedgates.simulate(raw(num_server_rounds=1, model="tiny_network:build"), num_clients=2, progress=False)
    assert sum(parameter.numel() for parameter in result.model.parameters()) == 610


@pytest.mark.parametrize(
    ("settings", "clients", "error", "message"),
    [
        ({}, {"num_clients": 0}, ConfigError, f"num_clients = 0: expected {AT_LEAST_ONE}, or node_configs instead"),
        ({}, {"num_clients": -3}, ConfigError, f"num_clients = -3: expected {AT_LEAST_ONE}"),
        ({"seed": -1}, {"num_clients": 3}, ConfigError, "seed = -1: expected a whole number from 0 to "),
        ({"model": "linear"}, {"num_clients": 3}, ConfigError, "model = 'linear': expected another"),
        (
            {"dataset": "devices:8x8x1:10"},
            {"node_configs": [{"partition-id": 4, "data-path": "/absent.npz"}]},
            QuorumError,
            "server.min-clients = 2: 0 of 1 clients can take part; the first of the others: data-path = '/absent.npz'",
        ),
    ],
)
def test_what_cannot_be_run_is_an_error_of_one_line(raw, capsys, settings, clients, error, message):
    with pytest.raises(error) as raised:
        fedgates.simulate({**raw(samples_per_client=20), **settings}, **clients, progress=False)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_the_lines_in_the_readme_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "fedgates.simulate(" in block)
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *table, folder = done.stdout.splitlines()
    assert table[0].split() == ["accuracy", "uplink_bytes", "downlink_bytes"]
    assert [row.split()[0] for row in table[2:]] == [str(number) for number in range(1, 11)]
    assert float(table[-1].split()[1]) > 0.9
    assert folder.startswith(str(tmp_path / "fedgates" / "runs"))


def test_tables_may_be_nested_mappings(raw):
    flat = raw(num_server_rounds=1)
    del flat["samples-per-client"]
    result = fedgates.simulate(flat | {"data": {"samples-per-client": 7}}, num_clients=2, progress=False)
    assert json.loads((result.folder / "config.json").read_text())["data.samples-per-client"] == 7
