"""Load a Flower app from its folder, and run it in this process."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp

from fedgates.config import merged, read_app
from fedgates.config.references import find
from fedgates.errors import ConfigError
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server_app import FederationApp
from fedgates.runs.folder import RunFolder
from fedgates.types import Value


class AppError(RuntimeError):
    """Raised if an app did not write exactly one run; the message is one line."""


@dataclass(frozen=True)
class App:
    """A Flower app with a ServerApp made by :func:`fedgates.flower.make_server_app`."""

    server: FederationApp
    client: ClientApp
    config: Mapping[str, Value]
    """The app's ``[tool.flwr.app.config]``."""


@lru_cache(maxsize=1)
def load_app(folder: Path) -> App:
    """Load the app described by ``pyproject.toml`` in a folder, and put the folder first on ``sys.path``.

    Raises
    ------
    ConfigError
        There is no such app, or it cannot be loaded.
    """
    described = read_app(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    server_app, client_app = find("serverapp", described.serverapp), find("clientapp", described.clientapp)
    if not isinstance(server_app, FederationApp):
        raise ConfigError("serverapp", described.serverapp, "an app made by fedgates.flower.make_server_app")
    if not isinstance(client_app, ClientApp):
        raise ConfigError("clientapp", described.clientapp, "a Flower ClientApp")
    return App(server_app, client_app, described.config)


def run_one(app: App, config: Mapping[str, Value], clients: int, folder: Path) -> RunFolder:
    """Run one federation in this process, with the app's ServerApp, ClientApp and a loopback grid.

    Parameters
    ----------
    app : App
        The app, as :func:`load_app` returns it.
    config : mapping
        Run config, which overrides the app's.
    clients : int
        Number of simulated clients.
    folder : Path
        Folder in which to create the run's folder; it must not contain other runs.

    Raises
    ------
    AppError
        The app wrote no run, or more than one. Exceptions of the app are not caught.
    """
    raw = merged(app.config, config, {"output-dir": str(folder.absolute())})
    app.server(LoopbackGrid(app.client, raw, clients), Context(1, 0, {}, RecordDict(), raw))
    found = list(folder.glob("*/config.json"))
    if len(found) != 1:
        raise AppError(f"{folder} has {len(found)} runs, expected the app to write one")
    return RunFolder(found[0].parent)
