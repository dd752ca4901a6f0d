"""A Flower app, read from its folder, and a whole run of it in this process."""

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
    """An app has not done what it should have; the message is one line."""


@dataclass(frozen=True)
class App:
    """A Flower app whose ServerApp is made by :func:`fedgates.flower.make_server_app`."""

    server: FederationApp
    client: ClientApp
    config: Mapping[str, Value]
    """Its ``[tool.flwr.app.config]``."""


@lru_cache(maxsize=1)
def load_app(folder: Path) -> App:
    """The app in a folder, as its ``pyproject.toml`` describes it; puts the folder first on the path of modules.

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
        raise ConfigError("serverapp", described.serverapp, "what fedgates.flower.make_server_app gives")
    if not isinstance(client_app, ClientApp):
        raise ConfigError("clientapp", described.clientapp, "a Flower ClientApp")
    return App(server_app, client_app, described.config)


def run_one(app: App, config: Mapping[str, Value], clients: int, folder: Path) -> RunFolder:
    """Run one federation in this process, by the app's own ServerApp on a loopback grid of its own ClientApp.

    Parameters
    ----------
    app : App
        As :func:`load_app` gives it.
    config : mapping
        Run config on top of the app's.
    clients : int
        How many clients are simulated.
    folder : Path
        Where the run's folder is made; it must hold no other.

    Raises
    ------
    AppError
        The app has left no run, or more than one. Besides, whatever the app raises.
    """
    raw = merged(app.config, config, {"output-dir": str(folder.absolute())})
    app.server(LoopbackGrid(app.client, raw, clients), Context(1, 0, {}, RecordDict(), raw))
    found = list(folder.glob("*/config.json"))
    if len(found) != 1:
        raise AppError(f"{folder} holds {len(found)} runs where the app should have left one")
    return RunFolder(found[0].parent)
