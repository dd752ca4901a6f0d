"""docs/gpu.md, on a GPU where there is one; where there is none, on one that Ray is only told of, and on torch's fake one."""

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
from fedgates.methods.registry import BUILT_IN, configure, method_class
from fedgates.methods.training import Task
from fedgates.model_file.batch_norms import measure_statistics
from fedgates.nn.dead_units import zero_dead_units
from fedgates.nn.network import Network

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
        del sandbox.env["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"]  # the page says what Ray does by itself
        yield sandbox


def noting(sandbox):
    """The app, with a default method that notes where it trains, and the file that it is noted in."""
    app, notes = prepared(sandbox), sandbox.home.parent / "notes"
    (app / "noting.py").write_text(NOTING.replace("NOTES", str(notes)))
    settings = (app / "pyproject.toml").read_text()
    (app / "pyproject.toml").write_text(settings.replace('\nstrategy = "fedpm"', '\nstrategy = "noting:Noting"'))
    return app, notes


def noted(notes):
    found = [json.loads(line) for line in notes.read_text().splitlines()]
    notes.unlink()
    return found


@pytest.mark.rehearsal
@pytest.mark.slow
def test_four_clients_share_a_gpu_others_see_none_and_too_much_is_refused(sandbox):
    app, notes = noting(sandbox)
    told = SHARED.replace("num-supernodes=10", "num-supernodes=10 init-args-num-cpus=4 init-args-num-gpus=1")
    assert "clients 10/10" in run(told, sandbox, app)
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
def test_who_is_kept_off_the_gpu_trains_on_the_cpu(sandbox):
    app, notes = noting(sandbox)
    assert "clients 4/4" in run(KEPT_OFF, sandbox, app)
    assert {(each[1], each[2]) for each in noted(notes)} == {("", "cpu")}
    assert run(ASK, sandbox, app).strip() == (torch.cuda.get_device_name() if GPU else "False")


@pytest.mark.rehearsal
@pytest.mark.slow
@pytest.mark.skipif(not GPU, reason="there is no GPU here")
def test_the_commands_as_they_stand(sandbox):
    follow("gpu", sandbox, skip=lambda script: script == KEPT_OFF)
    (folder,) = runs(sandbox)
    assert (folder / "model.fedgates").exists()


def test_every_key_of_its_commands_is_one():
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


# --- on a GPU that is not there: torch checks that whatever meets in an operation lies on one device, and computes nothing


@pytest.fixture
def fake(monkeypatch):
    """A mode of torch in which there is a GPU; numbers that leave it are made up, and it has no backward pass."""
    real, drawn = torch.Tensor.numpy, torch.rand

    def numpy(tensor):
        assert tensor.device.type == "cpu", "an array of what lies on a GPU"
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


@pytest.mark.parametrize("model", ["mlp", "conv4", "resnet8"])
@pytest.mark.parametrize("strategy", BUILT_IN)
@pytest.mark.usefixtures("fake")
def test_what_a_method_computes_with_lies_where_its_network_is(strategy, model):
    raw = {"strategy": strategy, "model": model, "local-epochs": 1}
    known = keys_of(method_class(strategy).Config)
    wanted = {"sgd.momentum": 0.9, "gates.evaluations": "threshold,sample,ensemble"}
    raw |= {key: value for key, value in wanted.items() if key in known}
    if strategy in ("one-bit-gates", "entropy-gates", "sparsyfed", "topk", "fediht", "fedavg"):
        raw["target-density"] = 0.1
    method, config = configure(raw)
    with torch.device("cuda"):
        network = Network(models.build(model, (1, 8, 8), 10), "cuda")
        x, y = torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64)
    of = method(config, network)
    state = of.initial_state()
    update = of.local_update(state, Task(x, y, 5, 0, held_out=(x, y)))
    assert update.num_examples == 40
    assert of.evaluate(state, Task(x, y, 5))["loss"] == 1.0
    network.weights.copy_(of.weights(state))
    zero_dead_units(network.module)
    measure_statistics(network.module, x)
    assert {network.weights.device.type, network.gradient.device.type} == {"cuda"}
