"""What a device installs, the dependency group `device`, and that its part of the app runs with no other package."""

import re
import subprocess

import numpy as np
import pytest
from commands import Page
from device_environment import GROUP, PROJECT, make, with_dependencies
from engines import BIN, ROOT
from packaging.requirements import Requirement
from PIL import Image

LEFT_OUT = {"ray", "matplotlib", "pandas", "datasets", "pyarrow", "flwr-datasets"}
READS_IMAGES = """
import importlib.util, sys
import client_app, flwr.supernode.cli.flower_supernode, flwr.supernode.cli.flwr_clientapp
from fedgates.data.sources import own
from fedgates.types import Problem
data = own(sys.argv[1], Problem.of_images((1, 8, 8), 2))
assert len(data.train.y) == 4, data
print([name for name in sys.argv[2:] if importlib.util.find_spec(name)])
"""


def test_a_device_installs_neither_ray_nor_matplotlib():
    assert with_dependencies(GROUP).isdisjoint(LEFT_OUT)
    assert with_dependencies(PROJECT["project"]["dependencies"]) >= with_dependencies(GROUP) | LEFT_OUT


def test_the_page_installs_them_with_options_that_uv_has():
    options = re.findall(r"--[a-z-]+", Page().installs("device"))
    assert {"--group", "--torch-backend", "--constraints"} <= set(options)
    known = subprocess.run([BIN / "uv", "pip", "install", "--help"], capture_output=True, text=True, check=True).stdout
    assert [option for option in options if option not in known] == []


def test_versions_are_those_of_the_app():
    app = {one.name: one.specifier for one in map(Requirement, PROJECT["project"]["dependencies"])}
    for one in map(Requirement, GROUP):
        assert one.specifier == app[one.name], one


@pytest.mark.slow
def test_the_app_is_imported_and_reads_images_with_the_packages_of_a_device(tmp_path):
    """Training with them is in test_deployment.py."""
    for i in range(4):
        file = tmp_path / "data" / "train" / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), i * 50, np.uint8)).save(file)
    commands = make(tmp_path / "environment")
    done = subprocess.run(
        [commands / "python", "-c", READS_IMAGES, tmp_path / "data", *(name.replace("-", "_") for name in LEFT_OUT)],
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
