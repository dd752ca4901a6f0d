"""Where there are torch, NumPy and what they require, and nothing else, a model's file loads and gives the same numbers."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bare import link
from model_files import SHAPE, facts, images, masked, statistics

import fedgates
from fedgates import model_file

ROOT = Path(__file__).resolve().parents[2]
ABSENT = [
    "flwr",
    "ray",
    "pydantic",
    "flwr_datasets",
    "constriction",
    "safetensors",
    "typer",
    "click",
    "rich",
    "torchvision",
    "PIL",
    "matplotlib",
    "onnx",
    "pytest",
]
COLOUR = (3, 32, 32)
CODE = """
import importlib.util, json, os, sys

standard = list(sys.path)
told = json.loads(sys.argv[1])
sys.path[:] = [*standard, told["packages"], told["root"]]
there = [name for name in told["absent"] if importlib.util.find_spec(name)]
import numpy as np
import torch
torch.set_num_threads(1)
import fedgates
for name, images in told["models"].items():
    model = fedgates.load(name)
    assert not model.training
    np.save(name + ".found.npy", model(torch.from_numpy(np.load(images))).numpy())
from fedgates.errors import ModelFileError
try:
    fedgates.load(told["damaged"])
except ModelFileError as error:
    refused = str(error)
where = [os.path.relpath(module.__file__, told["packages"]) for module in (torch, np)]
print(json.dumps({"there": there, "refused": refused, "where": where, "disk": "fedgates.util.files" in sys.modules}))
"""


def write_models(folder):
    """A file of each sort, by name, with the images that it is to be tried on."""
    grey, colour = folder / "grey.npy", folder / "colour.npy"
    np.save(grey, images().numpy())
    np.save(colour, images(8, COLOUR).numpy())
    network, gates, weights = masked(density=0.1)
    model_file.save(folder / "mask", network, facts(), weights, gates=gates)
    network, gates, weights = masked(density=0.5)
    model_file.save(folder / "half", network, facts(), weights, gates=gates)
    network, _, weights = masked(density=0.1)
    model_file.save(folder / "values", network, facts(), weights * 1.5)
    network, _, weights = masked(density=1)
    model_file.save(folder / "dense", network, facts(), weights * 1.5)
    network, gates, weights = masked("resnet8", COLOUR, 0.2)
    measured = statistics(network, weights, images(64, COLOUR))
    model_file.save(folder / "norms", network, facts("resnet8", COLOUR), weights, gates=gates, statistics=measured)
    return dict.fromkeys(("mask", "half", "values", "dense"), grey) | {"norms": colour}


@pytest.mark.slow
def test_it_loads_with_torch_and_numpy_alone(tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    link(packages, "torch", "numpy")
    models = write_models(tmp_path)
    damaged = tmp_path / "damaged"
    damaged.write_bytes((tmp_path / "mask").read_bytes()[:-8])
    told = {
        "packages": str(packages),
        "root": str(ROOT),
        "absent": ABSENT,
        "models": {str(tmp_path / name): str(path) for name, path in models.items()},
        "damaged": str(damaged),
    }
    command = [sys.executable, "-I", "-S", "-c", CODE, json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "there": [],
        "refused": f"{damaged}: damaged, or cut short: its checksum does not match",
        "where": ["torch/__init__.py", "numpy/__init__.py"],
        "disk": False,  # it locks files as Unix does, and reading a model needs no Unix
    }
    assert {SHAPE, COLOUR} == {np.load(path).shape[1:] for path in models.values()}
    for name, path in models.items():
        expected = fedgates.load(tmp_path / name)(torch.from_numpy(np.load(path))).numpy()
        assert expected.any()
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.found.npy"), expected, strict=True)


def test_the_command_says_in_a_line_what_it_lacks(tmp_path):
    code = "import sys; sys.path.append(sys.argv[1]); from fedgates.__main__ import main; main()"
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    lacking = "the command needs the package click, which is not installed; fedgates.load needs only torch and numpy"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"fedgates: {lacking}\n")
