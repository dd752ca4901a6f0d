"""What a file says of itself: without its network, without torch, and the same that the network says."""

import subprocess
import sys

import pytest
from engines import ROOT
from model_files import facts, masked, own, told_by, with_facts

import fedgates
from fedgates import model_file
from fedgates.errors import ModelFileError
from fedgates.model_file import read_contents
from fedgates.nn.dead_units import remove_dead_units
from fedgates.nn.network import Network
from fedgates.nn.size import network_size
from fedgates.types import Problem

MODELS = {"mlp": (1, 8, 8), "conv4": (1, 28, 28), "resnet8": (3, 32, 32), "leaf-cnn": (1, 28, 28)}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_it_is_what_the_network_says(tmp_path, name, gated):
    network, gates, weights = masked(name, MODELS[name], density=0.05)
    path = tmp_path / "m"
    model_file.save(
        path, network, facts(name, MODELS[name]), weights if gated else weights * 1.5, gates=gates if gated else None
    )
    found, module = read_contents(path), fedgates.load(path).network
    parameters = dict(module.named_parameters())
    assert {layer.name: layer.shape for layer, _ in found.kept} == {n: tuple(p.shape) for n, p in parameters.items()}
    assert {layer.name: kept for layer, kept in found.kept} == {n: int((p != 0).sum()) for n, p in parameters.items()}
    assert {layer.kind for layer, _ in found.kept} <= {"Linear", "Conv2d"}
    small = remove_dead_units(module)
    assert found.facts.whole == network_size(module, Problem.of_images(MODELS[name], 10))
    assert found.facts.slim == (None if small is None else network_size(small, Problem.of_images(MODELS[name], 10)))
    assert found.file_bytes == path.stat().st_size


def test_a_network_of_somebodys_own_need_not_be_known(tmp_path):
    network = Network(own((1, 8, 8), 10))
    model_file.save(tmp_path / "m", network, facts("unknown:here"), network.weights.clone())
    assert [(layer.name, layer.kind, kept) for layer, kept in read_contents(tmp_path / "m").kept] == [
        ("1.weight", "Linear", 640),
        ("1.bias", "Linear", 10),
    ]


def test_it_takes_no_torch(file):
    script = (
        "import sys; sys.modules['torch'] = None; from fedgates.model_file import read_contents;"
        f"print(len(read_contents({str(file)!r}).kept))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "6\n", done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": []}, "its layers have 0 parameters, but its payload has 85,002"),
        ({"layers": [["a", "b", [85_001]]]}, "its layers have 85,001 parameters, but its payload has 85,002"),
        ({"digest": "no number"}, "its digest is 'no number', expected a number in hexadecimal"),
        ({"digest": "00" * 8}, "network digest"),
        ({"weight_scale": ""}, "mask"),
    ],
)
def test_facts_that_are_not_of_its_weights_are_a_line(file, changes, message):
    data = file.read_bytes()
    file.write_bytes(with_facts(data, told_by(data) | changes))
    with pytest.raises(ModelFileError, match=message):
        read_contents(file)


def test_no_more_gates_than_are_allowed(file):
    with pytest.raises(ModelFileError, match=r"a network of 85,002 parameters, expected at most 85,001 \(max_gates"):
        read_contents(file, max_gates=85_001)
