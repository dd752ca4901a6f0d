"""Commands on a run that stopped early."""

import json

import pytest
from command_line import command
from scripted_runs import by_script

from fedgates import simulate
from fedgates.federation import Server

REASON = "2 evaluations since accuracy 50.0 % in round 2, the best (stop-patience = 2)"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run that stopped after four of six rounds."""
    monkeypatch.setattr(Server, "evaluate", by_script)
    settings = {"num-server-rounds": 6, "stop-patience": 2, "data.samples-per-client": 20, "local-epochs": 1}
    return simulate({**settings, "output-dir": str(tmp_path / "runs")}, 2, progress=False).folder


def test_they_say_so_and_compare_takes_it(capsys, run, tmp_path):
    code, out, _ = command(capsys, "report", run)
    assert code == 0
    assert f"4 of 6 rounds done, stopped early: {REASON}\n" in out
    assert "resume" not in out
    _, out, _ = command(capsys, "runs", "--folder", run.parent)
    assert "4/6, stopped early" in out
    _, out, _ = command(capsys, "runs", "--folder", run.parent, "--json")
    assert json.loads(out)[0]["stopped"] == REASON
    code, out, _ = command(capsys, "compare", run, "--out", tmp_path / "out")
    assert code == 0
    assert "stopped early; last round of each seed: 4." in out
