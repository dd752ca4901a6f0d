"""`--network`: a network of one's own on the command line, which a file only names."""

import math
import sys
from pathlib import Path

import pytest
import torch
from command_line import command, refused
from PIL import Image
from torch import nn

from fedgates import model_file
from fedgates.model_file import Facts
from fedgates.nn.network import Network
from fedgates.types import Problem

EXPORT = ("export", "--to", "safetensors")
EVERY = {"predict": ("folder",), "export": ("--to", "onnx")}


def own(input_shape, num_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))


def own_model(folder, named="own_networks:build", outputs=("\x1b[2Ja", "b\nc")):
    """A file of a network of somebody's own, and the module beside it."""
    folder.mkdir(exist_ok=True)
    network = Network(own((1, 2, 2), len(outputs) or 1))
    facts = Facts(
        named,
        Problem.of_images((1, 2, 2), len(outputs)),
        outputs,
        3,
        "",
        "",
        {"strategy": "fedavg\nforged: line", "\x1b[31mkey": 1},
    )
    model_file.save(folder / "m", network, facts, torch.arange(1.0, network.size + 1))
    (folder / "own_networks.py").write_text(
        "import math\nfrom torch import nn\n"
        "def build(shape, outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), outputs))\n"
        "def another(shape, outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 3 * outputs))\n"
        "def renamed(shape, outputs):\n    return nn.Sequential(nn.ReLU(), *build(shape, outputs))\n"
        "def raising(shape, outputs):\n    raise ValueError('of\\nmine')\n"
        "number = 3\n"
    )
    (folder / "broken_networks.py").write_text("1 / 0\n")
    return folder / "m"


@pytest.fixture
def own_file(tmp_path, monkeypatch):
    """A model of one's own network, in the current folder with its module."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    for name in ("own_networks", "broken_networks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    own_model(tmp_path)
    yield Path("m")
    for name in ("own_networks", "broken_networks"):
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "more"), EVERY.items())
def test_it_is_imported_from_the_current_folder_if_it_is_named(capsys, own_file, name, more):
    wanted = (
        "MODEL = m: its network is built by own_networks:build, which is not imported automatically: pass that "
        "function, as load(..., network=) or as --network own_networks:build"
    )
    assert refused(capsys, name, own_file, *more) == wanted
    assert "own_networks" not in sys.modules
    Path("folder").mkdir()
    Image.new("L", (2, 2), 255).save("folder/a.png")
    code, out, err = command(capsys, name, own_file, *more, "--network", "own_networks:build")
    assert (code, err) == (0, "")
    lines = {"predict": "a.png  b c 100.0 %", "export": "written: m.onnx"}
    assert lines[name] in out


def test_the_current_folder_goes_before_what_is_installed(capsys, own_file, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own_networks.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.syspath_prepend(elsewhere)
    assert command(capsys, *EXPORT, own_file, "--network", "own_networks:build")[0] == 0


def test_one_that_is_installed_is_found_from_anywhere(capsys, own_file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command(capsys, *EXPORT, tmp_path / own_file, "--network", "own_networks:build")[0] == 0


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("own_networks", """--network = 'own_networks': expected "module:function\""""),
        ("own_networks:", """--network = 'own_networks:': expected "module:function\""""),
        ("../own_networks:build", """--network = '../own_networks:build': expected "module:function\""""),
        (
            "absent_networks:build",
            "--network = 'absent_networks:build': expected a module that can be imported; ModuleNotFound",
        ),
        ("broken_networks:build", "--network = 'broken_networks:build': expected a module that can be imported; ZeroDivision"),
        ("own_networks:absent", "--network = 'own_networks:absent': expected module own_networks to define absent"),
        ("own_networks:number", "--network = 'own_networks:number': expected a function, not int"),
        ("own_networks:raising", "MODEL = m: network = raising: expected a function that builds a network from ((1, 2, 2), 2)"),
        ("math:prod", "MODEL = m: network = prod: expected a function that builds a network from ((1, 2, 2), 2); it raised"),
        (
            "own_networks:another",
            "MODEL = m: the network passed as network has 30 parameters, expected 10 as in the file",
        ),
        ("own_networks:renamed", "MODEL = m: another network than the file's own_networks:build: digest "),
    ],
)
def test_what_is_not_the_files_network_is_a_line(capsys, own_file, reference, line):
    assert refused(capsys, *EXPORT, own_file, "--network", reference).startswith(line)


# --- what files say of themselves


def test_names_from_a_file_cannot_move_a_terminals_cursor(capsys, own_file):
    own_model(Path(), "\x1b[2Jforged:build")
    code, out, _ = command(capsys, "inspect", own_file)
    assert code == 0
    assert all(line.isprintable() for line in out.splitlines())
    assert "\\x1b[2Jforged:build, 10 parameters" in out
    assert "training: strategy fedavg forged: line, \\x1b[31mkey 1" in out.splitlines()
    Image.new("L", (2, 2)).save("\x1b[2J.png")
    code, out, _ = command(capsys, "predict", own_file, "\x1b[2J.png", "--network", "own_networks:build", "--top", 2)
    assert code == 0
    assert all(line.isprintable() for line in out.splitlines())
    assert "\\x1b[2Ja " in out


def test_a_name_that_nobody_knows_is_a_line(capsys, tmp_path):
    file = own_model(tmp_path, "\x1b[2J\nresnet99")
    line = f"MODEL = {file}: its network is '\\x1b[2J\\nresnet99', expected one of mlp, cnn, conv4,"
    assert refused(capsys, *EXPORT, file).startswith(line)


def test_a_regression_has_one_number(capsys, own_file):
    own_model(Path(), outputs=())
    code, out, _ = command(capsys, "inspect", own_file)
    assert code == 0
    assert (
        "images 1x2x2 (C x H x W), pixels from 0 to 1 normalised with mean 0.5 and standard deviation 0.5; one number each"
        in out
    )
