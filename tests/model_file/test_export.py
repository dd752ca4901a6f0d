"""A model for other programs: every network of ours in ONNX, and what cannot be written."""

import builtins
import json

import numpy as np
import odd_networks
import pytest
import torch
from model_files import statistics
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from fedgates import models
from fedgates.config import MODELS
from fedgates.model_file import Facts, Model, load, save
from fedgates.model_file.export import ExportError, without_dead_units, write_onnx, write_safetensors
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.types import Problem

SHAPES = dict.fromkeys(MODELS, (1, 16, 16)) | {
    "linear": (1, 1, 20),
    "conv10": (3, 32, 32),
    "resnet8": (3, 32, 32),
    "resnet18": (3, 32, 32),
    "vgg11": (3, 32, 32),
}


def images(count, shape):
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def loaded(folder, name, *, tried=True):
    """A model of this name under a random mask, as it comes out of its file."""
    shape, classes = SHAPES[name], () if name == "linear" else tuple("abcdefghij")
    network = Network(models.build(name, Problem.of_images(shape, len(classes)), seed=3))
    gates = Gates(network, 3)
    mask = torch.rand(network.size, generator=torch.Generator().manual_seed(2)) < 0.4
    facts = Facts(name, Problem.of_images(shape, len(classes)), classes, 3, "", "", {})
    measured = statistics(network, gates.frozen * mask, images(64, shape)) if tried else None
    save(folder / "m", network, facts, gates.frozen * mask, gates=gates, statistics=measured)
    return load(folder / "m")


def expect_the_logits_of_torch(file, model):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    output = "values" if model.facts.problem.task == "regression" else "logits"
    for count in (1, 7):
        x = images(count, model.facts.problem.shape) / 255
        (found,) = session.run([output], {"images": x.numpy()})
        np.testing.assert_allclose(found, model(x).numpy(), rtol=1e-5, atol=1e-5)


SLOW = {*MODELS} - {"mlp", "cnn"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS])
def test_onnx_gives_the_logits_of_torch(tmp_path, name):
    model = loaded(tmp_path, name)
    assert write_onnx(model, tmp_path / "o") == (tmp_path / "o").stat().st_size
    expect_the_logits_of_torch(tmp_path / "o", model)


@pytest.mark.slow
def test_a_batch_norm_that_goes_by_the_batch_does_so_in_onnx(tmp_path):
    model = loaded(tmp_path, "resnet8", tried=False)
    write_onnx(model, tmp_path / "o")
    expect_the_logits_of_torch(tmp_path / "o", model)


@pytest.mark.slow
def test_the_model_that_is_written_stays_as_it_is(tmp_path):
    model = loaded(tmp_path, "mlp")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    without_dead_units(model).network[1].weight.data.zero_()
    without_dead_units(loaded(tmp_path, "resnet8")).network.to(torch.float16)
    write_onnx(model, tmp_path / "o")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_files_say_what_they_take_and_what_classes_are_called(tmp_path):
    model = loaded(tmp_path, "mlp")
    onnx = pytest.importorskip("onnx")
    write_onnx(model, tmp_path / "o")
    write_safetensors(model, tmp_path / "s")
    told = {prop.key: prop.value for prop in onnx.load(tmp_path / "o").metadata_props}
    with safe_open(tmp_path / "s", framework="pt") as file:
        also = file.metadata()
    assert json.loads(told["class_names"]) == json.loads(also["class_names"]) == list("abcdefghij")
    assert told["input"] == "float32 [n, 1, 16, 16], pixels from 0 to 1"
    assert also["input"] == "float32 [n, 1, 16, 16], (pixels from 0 to 1 - 0.5) / 0.5"
    assert told["fedgates"] == also["fedgates"] == "mlp"


@pytest.mark.parametrize("name", ["mlp", "resnet8"])
def test_safetensors_has_every_weight_and_statistic(tmp_path, name):
    model = loaded(tmp_path, name)
    assert write_safetensors(model, tmp_path / "s") == (tmp_path / "s").stat().st_size
    found, expected = load_file(tmp_path / "s"), model.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert name == "mlp" or any("running_mean" in key for key in found)


class Looking(nn.Module):
    """What it does depends on what it sees, which no graph has."""

    def forward(self, x):
        return x.flatten(1)[:, :2] if float(x.sum()) > 0 else -x.flatten(1)[:, :2]


def test_a_network_that_torch_cannot_write_is_a_line(tmp_path, capfd):
    model = Model(Looking(), Facts("a:b", Problem.of_images((1, 2, 2), 2), ("a", "b"), 3, "", "", {}))
    with pytest.raises(ExportError, match="torch cannot write this network as ONNX") as caught:
        write_onnx(model, tmp_path / "o")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_onnx_without_its_packages_is_a_line(tmp_path, monkeypatch):
    imported = builtins.__import__

    def absent(name, *more):
        if name == "onnxscript":
            raise ImportError(name)
        return imported(name, *more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ExportError, match=r"the packages of the extra onnx \(uv sync --extra onnx\); ImportError: onnx"):
        write_onnx(loaded(tmp_path, "mlp"), tmp_path / "o")


def test_parameters_that_layers_share_are_written_under_the_name_of_each(tmp_path):
    network = Network(odd_networks.tied((1, 8, 8), 10))
    facts = Facts("odd_networks:tied", Problem.of_images((1, 8, 8), 10), tuple("abcdefghij"), 3, "", "", {})
    gates = Gates(network, 3)
    mask = torch.rand(network.size, generator=torch.Generator().manual_seed(2)) < 0.4
    save(tmp_path / "m", network, facts, gates.frozen * mask, gates=gates)
    model = load(tmp_path / "m", network=odd_networks.tied)
    write_safetensors(model, tmp_path / "s")
    stored = load_file(tmp_path / "s")
    assert torch.equal(stored["3.weight"], stored["5.weight"])
    fresh = odd_networks.tied((1, 8, 8), 10)
    fresh.load_state_dict(stored)
    assert fresh[3].weight is fresh[5].weight
    x = images(5, (1, 8, 8))
    torch.testing.assert_close(fresh(x / 255 * 2 - 1), model(x))
