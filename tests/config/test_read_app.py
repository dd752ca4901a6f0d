"""An app's pyproject.toml and the overrides of --run-config, read in one place."""

import subprocess
import sys
from pathlib import Path

import pytest
from flwr.common.config import parse_config_args

from fedgates.config.app import AppConfig, as_pair, read_app, read_overrides
from fedgates.config.names import DEFAULT_STRATEGY
from fedgates.config.shared import read_shared
from fedgates.errors import ConfigError

ROOT = Path(__file__).parents[2]
APP = """
[tool.flwr.app.components]
serverapp = "server_app:app"
clientapp = "client_app:app"
[tool.flwr.app.config]
strategy = "own:Fading"
seed = 3
eps = 0.01
[tool.flwr.app.config.fading]
fade = 2
"""


def app(folder, text=APP):
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_our_own_app():
    found = read_app(ROOT)
    assert (found.folder, found.serverapp, found.clientapp) == (ROOT, "server_app:app", "client_app:app")
    assert found.config["strategy"] == DEFAULT_STRATEGY


def test_tables_are_flat_and_overrides_are_on_top(tmp_path):
    found = read_app(app(tmp_path))
    assert found.config == {"strategy": "own:Fading", "seed": 3, "eps": 0.01, "fading.fade": 2}
    assert found.overridden('fedpm.eps=0.1 fading.fade=4 partition="classes"') == {
        "strategy": "own:Fading",
        "seed": 3,
        "fedpm.eps": 0.1,
        "fading.fade": 4,
        "partition": "classes",
    }
    with pytest.raises(AttributeError):
        found.serverapp = "x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "the folder of a Flower app, with a pyproject.toml"),
        ("a = ", "a pyproject.toml in TOML (Invalid value (at end of document))"),
        ("[tool.flwr]", "the folder of a Flower app, with a pyproject.toml that has [tool.flwr.app.components]"),
        ("[tool]\nflwr = 3", "the folder of a Flower app, with a pyproject.toml that has [tool.flwr.app.components]"),
        (
            APP.replace("clientapp", "client"),
            "the folder of a Flower app, with a pyproject.toml that has [tool.flwr.app.components]",
        ),
        (APP.partition("[tool.flwr.app.config]")[0] + "[tool.flwr.app]\nconfig = 3", None),
    ],
)
def test_a_folder_without_an_app_is_refused(tmp_path, text, expected):
    if text is not None:
        app(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read_app(tmp_path)
    assert str(error.value).startswith(f"app = {str(tmp_path)!r}: expected ")
    assert expected is None or str(error.value) == f"app = {str(tmp_path)!r}: expected {expected}"
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "seed=3",
        '  fedpm.eps=0.01   fedpm.reset-every=5 data-dir="/a b"\tsgd.momentum=0.5 ',
        "model='a' density.dual-restart=false",
        'server.quorum=1 resume=""',
    ],
)
def test_overrides_are_read_as_flower_reads_them(text):
    assert read_overrides(text) == parse_config_args([text])


def test_overrides_may_be_a_file(tmp_path, monkeypatch):
    file = tmp_path / "run.toml"
    file.write_text("seed = 3\n[fedpm]\neps = 0.01\n")
    assert read_overrides(str(file)) == parse_config_args([str(file)]) == {"seed": 3, "fedpm.eps": 0.01}
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_overrides("~/run.toml") == {"seed": 3, "fedpm.eps": 0.01}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "partition=classes",
            'run-config = \'partition=classes\': expected pairs without spaces around "=", such as model="mlp" seed=3',
        ),
        ("seed = 3", 'run-config = \'seed\': expected pairs without spaces around "=", such as model="mlp" seed=3'),
        ("seed=3 seed=4", "seed = 4: expected each key once"),
        ("/no/such/run.toml", "run-config = '/no/such/run.toml': expected a file that can be read (No such file or directory)"),
    ],
)
def test_overrides_that_cannot_be_read_are_refused(text, line):
    with pytest.raises(ConfigError) as error:
        read_overrides(text)
    assert str(error.value) == line


def test_pairs_with_dots_are_printed_as_they_are_read():
    assert read_overrides(as_pair("fedpm.eps", 0.01)) == {"fedpm.eps": 0.01}


def test_shared_keys_of_an_app_whose_method_is_not_loaded(tmp_path):
    config = read_shared(read_app(app(tmp_path)), 'server.trim=0.3 dirichlet-alpha=0.1 dataset="mnist"')
    assert (config.seed, config.server.trim, config.data.dirichlet_alpha, config.dataset) == (3, 0.3, 0.1, "mnist")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ('partitoin="iid"', "partitoin = 'iid': expected a known key; did you mean partition?"),
        ("fading.fad=3", "fading.fad = 3: expected a known key; did you mean fading.fade?"),
        ('partition="shards"', "partition = 'shards': expected one of iid, dirichlet, classes"),
        ("quorum=2", "quorum = 2: expected a number from 0 to 1"),
    ],
)
def test_shared_keys_are_checked(tmp_path, overrides, line):
    with pytest.raises(ConfigError) as error:
        read_shared(read_app(app(tmp_path)), overrides)
    assert str(error.value).replace("server.quorum", "quorum") == line


def test_an_app_config_is_plain():
    assert AppConfig(ROOT, {}, "a:b", "c:d").overridden("seed=1") == {"seed": 1}


def test_names_are_read_without_pydantic():
    code = """
import sys
sys.modules["pydantic"] = None
import fedgates.config.aliases, fedgates.config.app, fedgates.config.names
from fedgates.config import folder, is_reference
assert is_reference("a:b") and "RunConfig" in dir(fedgates.config)
try:
    fedgates.config.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("module 'fedgates.config' has no attribute 'nothing'\n", "")
