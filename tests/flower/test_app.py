"""An app by its folder: a run of it, and what is none."""

import pytest
from apps import apps_forgotten, write_app
from loopback_runs import without

from client_app import app
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.flower.app import load_app, run_one


@pytest.fixture(autouse=True)
def _as_before():
    with apps_forgotten():
        yield


def test_a_run_of_the_app_is_a_run_of_the_app(raw, tmp_path):
    config = raw(strategy="fedpm", learning_rate=0.05)
    direct = run_on_grid(LoopbackGrid(app, config, 4), config)
    (tmp_path / "app").mkdir()
    own = load_app(write_app(tmp_path / "app"))
    found = run_one(own, {k: v for k, v in raw().items() if k != "output-dir"}, 4, tmp_path / "study")
    assert found.path.parent == tmp_path / "study"
    lines = without(found.round_log.read())
    assert len(lines) == 2
    assert lines == without(direct.round_log.read())  # with the app's learning rate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (None, "app = .+: expected the folder of a Flower app"),
        ({"server": "nosuch:app"}, "serverapp = 'nosuch:app': expected a module that can be imported"),
        ({"server": "server_of_study:nosuch"}, "serverapp = .+ expected module server_of_study to define nosuch"),
        ({"server": "server_of_study:other"}, "serverapp = .+ expected an app made by fedgates.flower.make_server_app"),
        ({"client": "server_of_study:app"}, "clientapp = .+ expected a Flower ClientApp"),
    ],
)
def test_what_is_no_app(tmp_path, changes, message):
    if changes is not None:
        write_app(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message):
        load_app(tmp_path)
