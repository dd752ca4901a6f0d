"""The notebooks of the examples: stored without outputs, run from top to bottom, with the numbers of the runs."""

import json
import re
from statistics import mean

import pytest
from engines import ROOT

from fedgates.runs.listing import find_run
from fedgates.runs.round_log import RoundLog

FOLDER = ROOT / "examples" / "notebooks"
NAMES = ("first_federation", "comparing_methods")


def run(name, home, monkeypatch):
    """Run a notebook and return the outputs of its cells, with runs in a home of its own."""
    nbclient, nbformat, _ = map(pytest.importorskip, ("nbclient", "nbformat", "ipykernel"))
    monkeypatch.setenv("HOME", str(home))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    where = {"metadata": {"path": str(home)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def texts(outputs):
    """What cells print and show as text."""
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def num_figures(outputs):
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_notebooks_are_stored_without_outputs():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)
    for name in NAMES:
        for cell in json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]:
            assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.slow
def test_a_first_federation(tmp_path, monkeypatch):
    outputs = run("first_federation", tmp_path, monkeypatch)
    folder = find_run("last", tmp_path / "fedgates" / "runs")
    lines = RoundLog(folder).read()
    assert len(lines) == 15
    reached = f"{lines[-1]['accuracy']:.4f}"
    assert f"accuracy on 360 test images: {reached}; in the last round: {reached}" in texts(outputs)
    moved = sum(line["uplink_bytes"] + line["downlink_bytes"] for line in lines)
    assert f"{moved / 1e6:.2f} MB; dense float32 weights in as many messages: 102 MB" in texts(outputs)
    assert f"model.fedgates: {(folder / 'model.fedgates').stat().st_size:,} bytes" in texts(outputs)
    assert num_figures(outputs) == 2


@pytest.mark.slow
def test_comparing_methods(tmp_path, monkeypatch):
    outputs = run("comparing_methods", tmp_path, monkeypatch)
    folders = list((tmp_path / "fedgates" / "comparing_methods").iterdir())
    assert len(folders) == 6
    for method in ("coupled-masks", "fedpm", "fedavg"):
        logs = [RoundLog(folder).read() for folder in folders if f"-{method}-" in folder.name]
        accuracy = mean(log[-1]["accuracy"] for log in logs)
        moved = mean(sum(line["uplink_bytes"] + line["downlink_bytes"] for line in log) for log in logs)
        assert re.search(rf"{method} +15 +{accuracy:.3f} +[\d.]+ +{moved / 1e6:.3f}\n", texts(outputs) + "\n")
    assert num_figures(outputs) == 1
