"""docs/guides/gpu.md, on a GPU if there is one; otherwise with one that only Ray is configured with, and torch's fake one."""

import json
import re
import shlex

import numpy as np
import pytest
import torch
from engines import Sandbox, until
from flwr.proto.federation_config_pb2 import SimulationConfig
from guide import blocks, follow, prepared, run, runs
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fedgates import models, rng
from fedgates.config import keys_of
from fedgates.methods import training
from fedgates.methods.evaluation import predict
from fedgates.methods.registry import BUILT_IN, configure, method_class
from fedgates.methods.training import Task
from fedgates.nn.batch_norms import channel_sums
from fedgates.nn.dead_units import zero_dead_units
from fedgates.nn.network import Network
from fedgates.types import Problem

ASK, SHARED, KEPT_OFF = (block.text for block in blocks("gpu") if block.language == "bash")
SHOWN = next(block.text for block in blocks("gpu") if block.language == "text")
GPU = torch.cuda.is_available()
NOTING = """
import json, os
from pathlib import Path
from fedgates.strategies.fedpm import FedPM

class Noting(FedPM):
    def local_update(self, state, task):
        with Path("NOTES").open("a") as notes:
            print(json.dumps([os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), self.network.device.type]), file=notes)
        return super().local_update(state, task)
"""


@pytest.fixture
def sandbox(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        del sandbox.env["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"]  # the page describes the default
        yield sandbox


def noting(sandbox):
    """Return the app, with a default method that records where it trains, and the file of these records."""
    app, notes = prepared(sandbox), sandbox.home.parent / "notes"
    (app / "noting.py").write_text(NOTING.replace("NOTES", str(notes)))
    settings = (app / "pyproject.toml").read_text()
    (app / "pyproject.toml").write_text(settings.replace('\nstrategy = "coupled-masks"', '\nstrategy = "noting:Noting"'))
    return app, notes


def noted(notes):
    found = [json.loads(line) for line in notes.read_text().splitlines()]
    notes.unlink()
    return found


@pytest.mark.rehearsal
@pytest.mark.slow
def test_four_clients_share_a_gpu_and_a_request_for_too_many_is_refused(sandbox):
    app, notes = noting(sandbox)
    shared = SHARED.replace("num-supernodes=10", "num-supernodes=10 init-args-num-cpus=4 init-args-num-gpus=1")
    assert "clients 10/10" in run(shared, sandbox, app)
    processes, visible, devices = map(set, zip(*noted(notes), strict=True))
    assert (len(processes), len(visible), devices) == (4, 1, {"cuda" if GPU else "cpu"})
    assert re.fullmatch(r"\d+", visible.pop())

    run(KEPT_OFF.replace("CUDA_VISIBLE_DEVICES= ", ""), sandbox, app)  # no GPU asked for
    assert {(each[1], each[2]) for each in noted(notes)} == {("", "cpu")}

    if not GPU:
        out = run(SHARED, sandbox, app)
        assert re.sub(r"CPUs=[\d.]+", "CPUs=2.0", plain(out)).count(SHOWN.split(":", 1)[1].strip()) == 1, out
        assert out.index("ActorPool is empty") < out.index("Traceback")
        assert not notes.exists()
        assert sandbox.runs()[0]["status"] == "finished:failed"
        until(lambda: not sandbox.processes("flwr-simulation"), "the end of a run without a GPU")


@pytest.mark.rehearsal
@pytest.mark.slow
def test_clients_without_a_visible_gpu_train_on_the_cpu(sandbox):
    app, notes = noting(sandbox)
    assert "clients 4/4" in run(KEPT_OFF, sandbox, app)
    assert {(each[1], each[2]) for each in noted(notes)} == {("", "cpu")}
    assert run(ASK, sandbox, app).strip() == (torch.cuda.get_device_name() if GPU else "False")


@pytest.mark.rehearsal
@pytest.mark.slow
@pytest.mark.skipif(not GPU, reason="there is no GPU here")
def test_unchanged_commands(sandbox):
    follow("gpu", sandbox, skip=lambda script: script == KEPT_OFF)
    (folder,) = runs(sandbox)
    assert (folder / "model.fedgates").exists()


def test_keys_of_the_commands_exist():
    options = set(SimulationConfig.DESCRIPTOR.fields_by_name)
    for script in (SHARED, KEPT_OFF):
        words = shlex.split(script.replace("\\\n", " "))
        federation, settings = (pairs(words[words.index(option) + 1]) for option in ("--federation-config", "--run-config"))
        assert {key.replace("-", "_") for key in federation} <= options
        configure({key: int(value) if value.isdecimal() else value for key, value in settings.items()})


def pairs(option):
    return dict(pair.split("=") for pair in shlex.split(option))


def plain(out):
    return re.sub(r"\x1b\[\d*m", "", out)


# --- on a fake GPU: torch checks that the tensors of an operation are on one device, and computes nothing


@pytest.fixture
def fake(monkeypatch):
    """Enable a mode of torch with a fake GPU; numbers read from it are made up, and it has no backward pass."""
    real, drawn = torch.Tensor.numpy, torch.rand

    def numpy(tensor):
        assert tensor.device.type == "cpu", "an array of a tensor on a GPU"
        return np.full(tensor.shape, 0.25, str(tensor.dtype).split(".")[1]) if isinstance(tensor, FakeTensor) else real(tensor)

    def rand(*size, generator, device):
        assert generator.of == torch.device(device).type
        return drawn(*size, device=device)

    class Generator(torch.Generator):
        of = "cpu"

    def generator(*_, device="cpu", **__):
        made = Generator()
        made.of = torch.device(device).type
        return made

    for name, made_up in (("__float__", 1.0), ("__int__", 3), ("__bool__", True), ("backward", None)):
        monkeypatch.setattr(torch.Tensor, name, lambda _, made_up=made_up: made_up)
    monkeypatch.setattr(torch.Tensor, "numpy", numpy)
    monkeypatch.setattr(torch, "rand", rand)
    monkeypatch.setattr(torch, "equal", lambda a, b: (a == b) is not None)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, _: module)
    monkeypatch.setattr(rng, "generator", generator)
    monkeypatch.setattr(training, "generator", generator)
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "conv4", "resnet8"])
@pytest.mark.parametrize("strategy", BUILT_IN)
@pytest.mark.usefixtures("fake")
def test_tensors_of_a_method_are_on_the_device_of_its_network(strategy, model):
    raw = {"strategy": strategy, "model": model, "local-epochs": 1}
    known = keys_of(method_class(strategy).Config)
    wanted = {"sgd.momentum": 0.9, "gates.evaluations": "threshold,sample,ensemble"}
    raw |= {key: value for key, value in wanted.items() if key in known}
    if strategy in ("one-bit-gates", "entropy-gates", "sparsyfed", "topk", "fediht", "fedavg"):
        raw["target-density"] = 0.1
    method, config = configure(raw)
    with torch.device("cuda"):
        network = Network(models.build(model, Problem.of_images((1, 8, 8), 10)), "cuda")
        x, y = torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64)
    of = method(config, network)
    state = of.initial_state()
    update = of.local_update(state, Task(x, y, 5, 0, held_out=(x, y)))
    assert update.num_examples == 40
    assert of.evaluate(state, Task(x, y, 5))["loss"] == 1.0
    network.weights.copy_(of.weights(state))
    zero_dead_units(network.module)
    with channel_sums(network.module) as sums:
        predict(network, x)
        sums()
    assert {network.weights.device.type, network.gradient.device.type} == {"cuda"}
