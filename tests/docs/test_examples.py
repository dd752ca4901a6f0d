"""The example apps on other data than images: they make their data, train on the loopback grid and reach what they should."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest
from loopback_runs import run

from fedgates.config import flatten
from fedgates.runs.round_log import read_rounds

EXAMPLES = Path(__file__).parents[2] / "examples"
CASES = {"sensors": ("sktime", "d.npz", 0.85), "table": ("sklearn", "d.csv", 0.9), "text": ("babel", "d.npz", 0.6)}
"""Package with the data, name of the file, and least accuracy after the shipped number of rounds."""


def made(name, target):
    """Run the example's make_data.py."""
    spec = importlib.util.spec_from_file_location(f"make_{name}", EXAMPLES / name / "make_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(target)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_example_learns(tmp_path, monkeypatch, name):
    package, file, least = CASES[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed (uv sync --group examples)")
    made(name, tmp_path / file)
    monkeypatch.syspath_prepend(str(EXAMPLES / name))
    monkeypatch.delitem(sys.modules, "models", raising=False)
    shipped = flatten(tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"])
    kind = shipped["dataset"].partition(":")[0]
    folder = run({**shipped, "dataset": f"{kind}:{tmp_path / file}", "output-dir": str(tmp_path)}, clients=4)
    monkeypatch.delitem(sys.modules, "models", raising=False)
    lines = read_rounds(folder.path).lines
    assert lines[-1]["accuracy"] >= least, [round(line["accuracy"], 3) for line in lines]
    assert (folder.path / "model.fedgates").is_file()
