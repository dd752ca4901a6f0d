"""The examples with data of their own: the networks are built, and the apps run as their READMEs say."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from engines import ROOT

from fedgates.config import flatten
from fedgates.models.probe import probe
from fedgates.types import InputSpec, Problem

CLIENTS = 5
NETWORKS = {
    "sensors": ("cnn", Problem((InputSpec("x", (6, 100), "float32"),), "classes", 4)),
    "table": ("layers", Problem((InputSpec("x", (30,), "float32"),), "classes", 2)),
    "text": ("gru", Problem((InputSpec("x", (16,), "int64"),), "classes", 5)),
}
PACKAGES = {"sensors": "sktime", "table": "sklearn", "text": "babel"}
LOOPBACK = """
import json, sys
from client_app import app
from fedgates.flower import LoopbackGrid, run_on_grid
raw = json.loads(sys.argv[1])
print(run_on_grid(LoopbackGrid(app, raw, int(sys.argv[2])), raw, {}).path)
"""


def module_of(name, file):
    """A file of an example as a module; several examples have files of one name."""
    spec = importlib.util.spec_from_file_location(f"{name}_{file}", ROOT / "examples" / name / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(name):
    """The settings in the example's pyproject.toml."""
    return tomllib.loads((ROOT / "examples" / name / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(PACKAGES[name]) is None, reason=f"needs {PACKAGES[name]}")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_fits_the_data_and_can_be_trained(name):
    function, problem = NETWORKS[name]
    assert settings(name)["model"] == f"networks:{function}"
    build = getattr(module_of(name, "networks"), function)
    probe(f"networks:{function}", lambda: build(problem.shape, problem.outputs), problem)


@needs("sensors")
def test_the_windows_are_those_of_the_file(tmp_path):
    module_of("sensors", "make_data").main(tmp_path)
    found = np.load(tmp_path / "sensors.npz")
    for part in ("train", "test"):
        assert (found[f"x_{part}"].shape, found[f"x_{part}"].dtype) == ((40, 6, 100), np.float32)
        assert np.bincount(found[f"y_{part}"]).tolist() == [10] * 4
    assert found["x_train"][0, 0, :3] == pytest.approx([0.079106, 0.079106, -0.903497])
    assert found["classes"][found["y_train"][0]] == "Standing"


@needs("text")
def test_words_are_numbers_that_give_them_back_and_have_one_language(tmp_path):
    module = module_of("text", "make_data")
    module.main(tmp_path)
    found = np.load(tmp_path / "text.npz")
    letters = " " + module.LETTERS
    assert len(letters) <= module_of("text", "networks").LETTERS
    words = {}
    for part in ("train", "test"):
        assert set(found[f"y_{part}"]) == set(range(5))
        for row, label in zip(found[f"x_{part}"], found[f"y_{part}"], strict=True):
            words["".join(letters[i] for i in row).strip()] = found["classes"][label]
    assert len(words) == len(found["y_train"]) + len(found["y_test"])
    assert (words["saksa"], words["polska"], words["türkiye"]) == ("Finnish", "Polish", "Turkish")
    assert "afganistan" not in words


@pytest.mark.slow
@needs("table")
def test_the_table_has_a_column_of_labels(tmp_path):
    module_of("table", "make_data").main(tmp_path)
    header, *rows = (tmp_path / "table.csv").read_text().splitlines()
    assert header.endswith(",diagnosis")
    assert (len(rows), header.count(",")) == (569, 30)
    assert [sum(row.endswith(name) for row in rows) for name in (",benign", ",malignant")] == [357, 212]


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in NETWORKS])
def test_the_app_runs_as_its_readme_says(name, tmp_path):
    copy = shutil.copytree(ROOT / "examples" / name, tmp_path / "elsewhere")
    environment = os.environ | {"HOME": str(tmp_path)}

    def python(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("make_data.py")
    folder = python("-c", LOOPBACK, json.dumps(flatten(settings(name))), str(CLIENTS)).strip()
    last = json.loads((Path(folder) / "rounds.jsonl").read_text().splitlines()[-1])
    readme = (copy / "README.md").read_text()
    (shown,) = re.findall(r"accuracy ([\d.]+) %", readme)
    assert last["round"] == settings(name)["num-server-rounds"]
    assert 100 * last["accuracy"] == pytest.approx(float(shown), abs=3)
    assert f"num-supernodes={CLIENTS} " in readme
    if name == "table":
        assert last["recall"] > 0.9
