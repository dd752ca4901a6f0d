"""The commands of docs/guides/own_network.md, and its statements on layers."""

import copy
import importlib.util
import json
import sys
import zipfile

import odd_networks
import pytest
import torch
from engines import Sandbox
from guide import blocks, prepared, runs, steps
from torch import nn

import fedgates
from client_app import app
from fedgates.data import to_tensors
from fedgates.data.digits import digits
from fedgates.errors import ConfigError, NetworkError
from fedgates.federation.setup import prepare
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.models.batch_norm import BatchNorm
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.nn.roles import roles_of

PAGE = "own_network"


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    with Sandbox(tmp_path_factory.mktemp("guide") / "sandbox") as sandbox:
        yield steps(PAGE, sandbox), runs(sandbox)


@pytest.mark.slow
def test_commands_print_what_the_page_shows(followed):
    (run, inspect, look, fails), folders = followed
    assert [bool(step.shown) for step in followed[0]] == [True] * 4
    (folder,) = folders  # a run that is refused leaves nothing
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    assert lines[-1]["accuracy"] > 0.88
    assert f"accuracy {100 * lines[-1]['accuracy']:.1f} %" in run.printed
    assert "network 21de1fb96d941562" in run.printed  # on every machine
    assert f"{100 * lines[-1]['accuracy']:.1f}% of 360 test images" in look.printed
    assert "29,066 parameters" in inspect.printed
    assert "results:" not in fails.printed


@pytest.mark.slow
def test_files_that_flower_packs(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        app = prepared(sandbox)
        (app / "nets").mkdir()
        for name in ("my_network.py", "nets/mine.py", "test_mine.py", "mine_test.py", "secret.py"):
            (app / name).write_text("")
        (app / ".gitignore").write_text("secret.py\n")
        assert packed(sandbox, app) & MINE == {"my_network.py"}
        settings = (app / "pyproject.toml").read_text()
        assert settings.count('fab-include = ["/*.py", ') == 1
        (app / "pyproject.toml").write_text(
            settings.replace('fab-include = ["/*.py", ', 'fab-include = ["/*.py", "/nets/**/*.py", ')
        )
        assert packed(sandbox, app) & MINE == {"my_network.py", "nets/mine.py"}


MINE = {"my_network.py", "nets/mine.py", "test_mine.py", "mine_test.py", "secret.py"}


def packed(sandbox, app):
    for old in app.glob("*.fab"):
        old.unlink()
    code, out = sandbox.run("flwr", "build", "--app", ".", cwd=app)
    assert code == 0, out
    (bundle,) = app.glob("*.fab")
    with zipfile.ZipFile(bundle) as opened:
        return set(opened.namelist())


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("strategy", "norm"),
    [("fedpm", BatchNorm(32)), ("fedavg", nn.BatchNorm2d(32)), ("fedavg", nn.BatchNorm2d(32, track_running_stats=False))],
    ids=["without weights", "with weights", "without statistics"],
)
def test_a_finished_model_does_not_depend_on_the_batch(my_network, monkeypatch, raw, strategy, norm):
    monkeypatch.setattr(my_network, "normed", lambda shape, outputs: with_layer(my_network, copy.deepcopy(norm)), raising=False)
    monkeypatch.setitem(sys.modules, "my_network", my_network)
    settings = raw(strategy=strategy, model="my_network:normed")
    folder = run_on_grid(LoopbackGrid(app, settings, 3), settings)
    model = fedgates.load(folder.path / "model.fedgates", network=my_network.normed)
    images, _ = to_tensors(digits().test, "cpu")
    assert torch.allclose(model(images[:1]), model(images[:50])[:1], atol=1e-4)


def test_other_errors_are_those_that_the_page_shows(my_network, monkeypatch):
    (shown,) = (block.text for block in blocks(PAGE) if block.text.startswith("fedgates: gates.fixed = "))
    odd = {"squeezed": odd_networks.Squeezed, "ended": odd_networks.softmax, "ema": odd_networks.Average}
    for name, function in odd.items():
        monkeypatch.setattr(my_network, name, function, raising=False)
    monkeypatch.setitem(sys.modules, "my_network", my_network)
    messages = []
    cases = [{"model": "my_network:small", "gates.fixed": "nrom"}]
    cases += [{"model": name} for name in (*(f"my_network:{name}" for name in (*odd, "tiny")), "nets.mine:small")]
    for settings in cases:
        with pytest.raises(ConfigError) as error:
            prepare(settings, None, lambda: 10)
        messages.append(f"fedgates: {error.value}")
    assert shown.splitlines() == messages


@pytest.fixture(scope="module")
def my_network(tmp_path_factory):
    (block,) = (block for block in blocks(PAGE) if block.file == "my_network.py")
    file = tmp_path_factory.mktemp("beside") / block.file
    file.write_text(block.text)
    spec = importlib.util.spec_from_file_location("my_network", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_layer(my_network, layer, place=1):
    return my_network.small((1, 8, 8), 10).insert(place, layer)


def of_module(layer):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.shift = layer, nn.Parameter(torch.zeros(10))

        def forward(self, x):
            return self.body(x) + self.shift

    return Own()


def twice():
    layer = nn.Linear(64, 64)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(64, 10))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(32, 32, 3, padding=1, groups=4, bias=False),
        nn.ConvTranspose2d(32, 32, 3, padding=1),
        nn.Dropout(),
        nn.GroupNorm(8, 32, affine=False),
        BatchNorm(32),
    ],
    ids=repr,
)
def test_layers_of_the_first_rows_have_gates(my_network, layer):
    network = Network(with_layer(my_network, layer))
    gates = Gates(network, seed=1)
    gates.load(torch.ones(network.size))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    biases = [slot for slot in network.slices if slot.name.endswith("bias")]
    assert all(gates.frozen[slot.offset : slot.offset + slot.size].abs().min() > 0 for slot in biases)


def test_a_layer_used_twice_counts_once():
    assert Network(twice()).size == 64 * 64 + 64 + 640 + 10
    Gates(Network(twice()), seed=1)


GATED = {"0.weight", "0.bias", "3.weight", "3.bias", "7.weight", "7.bias"}


@pytest.mark.parametrize(
    ("layer", "own"),
    [
        (nn.GroupNorm(8, 32), set()),
        (nn.BatchNorm2d(32), set()),
        (nn.PReLU(), set()),
        (nn.Embedding(3, 3), {"1.weight"}),
        (nn.LSTM(3, 3, bias=False), {"1.weight_ih_l0", "1.weight_hh_l0"}),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 3, bias=False)), {"1.parametrizations.weight.original1"}),
    ],
    ids=["group norm", "batch norm", "prelu", "embedding", "lstm", "weight norm"],
)
def test_the_table_of_roles(my_network, layer, own):
    module = with_layer(my_network, layer)
    roles = roles_of(module, gates=True)
    assert {name for name, role in roles.items() if role == "gated"} == GATED | own
    assert set(roles_of(module).values()) == {"gated"}


def test_parameters_of_a_module_of_ones_own_are_fixed(my_network):
    roles = roles_of(of_module(my_network.small((1, 8, 8), 10)), gates=True)
    assert {name for name, role in roles.items() if role == "fixed"} == {"shift"}


def test_what_is_trained_is_float32(my_network):
    with pytest.raises(NetworkError, match=r"is torch.float64, expected torch.float32"):
        Network(my_network.small((1, 8, 8), 10).double())
