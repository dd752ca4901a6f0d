"""Commands that take ``model-best.fedgates``."""

import numpy as np
import pytest
from command_line import command
from scripted_runs import by_script

from fedgates import simulate
from fedgates.federation import Server


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run whose second round of three is the best."""
    monkeypatch.setattr(Server, "evaluate", by_script)
    settings = {"num-server-rounds": 3, "keep-best": True, "data.samples-per-client": 20, "local-epochs": 1}
    return simulate({**settings, "output-dir": str(tmp_path)}, 2, progress=False).folder


@pytest.mark.slow
def test_inspect_predict_and_report_take_the_file(capsys, run, tmp_path):
    file = run / "model-best.fedgates"
    code, out, _ = command(capsys, "inspect", file)
    assert code == 0
    assert "rounds 2" in out
    np.savez(tmp_path / "two.npz", x=np.zeros((2, 8, 8, 1), np.uint8))
    code, out, _ = command(capsys, "predict", file, tmp_path / "two.npz")
    assert (code, len(out.splitlines())) == (0, 2)
    of_file, of_run = (command(capsys, "report", path) for path in (file, run))
    assert of_file == of_run
    assert f"best model: {file}" in of_run[1]
    assert "model-best.fedgates" in (run / "report.html").read_text()
