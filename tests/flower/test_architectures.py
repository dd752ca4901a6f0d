"""Networks that people bring: a round by each method, from training to a prediction of the exported model."""

import re
from pathlib import Path

import pytest
from architecture_runs import METHODS, NETWORKS, outcome, write_data

PAGE = (Path(__file__).resolve().parents[2] / "docs/explanation/architectures.md").read_text(encoding="utf-8")
QUICK = ("resnet18 (torchvision)", "ViT (torchvision)", "LSTM", "two inputs")
pytestmark = pytest.mark.usefixtures("whole_runs")


def listed(name):
    """Return the outcomes of a network on the page, by method."""
    lines = dict(re.findall(r"^(\d+)\. `(.*)`$", PAGE, re.MULTILINE))
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {name} |"))
    return [lines.get(cell.strip(), cell.strip()) for cell in row.strip("|").split("|")[1:]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_it_trains_exports_loads_and_predicts(name, data, tmp_path):
    method = "coupled-masks"
    assert outcome(name, method, data, tmp_path) == listed(name)[METHODS.index(method)] == "yes"


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_is_right_for_every_method(name, data, tmp_path):
    assert [outcome(name, method, data, tmp_path) for method in METHODS] == listed(name)


def test_the_page_has_every_network_and_method():
    assert len(NETWORKS) >= 20
    assert [bool(listed(name)) for name in NETWORKS] == [True] * len(NETWORKS)
    assert f"| network | {' | '.join(METHODS)} |" in PAGE
