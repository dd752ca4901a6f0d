"""Templates of the files of a small Flower app."""

from pathlib import Path

from fedgates import __version__
from fedgates.errors import ConfigError
from fedgates.util.files import write_atomically

_PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "A Flower app on fedgates"
requires-python = ">=3.11"
# Dependencies of your own code. fedgates {version}, flwr and torch come from the environment that runs the app.
dependencies = []

[tool.hatch.build.targets.wheel]
only-include = ["client_app.py", "server_app.py", "my_method.py"]

[tool.flwr.app]
publisher = "you"

[tool.flwr.app.components]
serverapp = "server_app:app"
clientapp = "client_app:app"

# Every key and its default; `fedgates config KEY` explains one. `flwr run --run-config` changes keys that are listed here.
{config}
# The key of my_method.py.
[tool.flwr.app.config.fading]
fade = 2  # Number by which votes of earlier rounds are divided each round.
"""
_CLIENT = '''\
"""The Flower ClientApp."""

from fedgates.flower import make_client_app

app = make_client_app({"fading": "my_method:FadingVotes"})
'''
_SERVER = '''\
"""The Flower ServerApp."""

from fedgates.flower import make_server_app

app = make_server_app({"fading": "my_method:FadingVotes"})
'''
_METHOD = '''\
"""Your own method: votes that fade. Run it with strategy="fading"."""

from collections.abc import Iterable
from dataclasses import replace

from fedgates.config import MaskConfig, Table, key
from fedgates.methods import MaskMethod, Spec, Task, add_votes, train_epochs
from fedgates.nn.optimizers import Adam
from fedgates.types import Update, Votes


class FadingTable(Table):
    """Fading votes."""

    fade: int = key(2, "Number by which votes of earlier rounds are divided each round.", ge=1, le=1000)


class FadingConfig(MaskConfig):
    """Keys of all mask methods, and those of this method."""

    fading: FadingTable = FadingTable()


class FadingVotes(MaskMethod[FadingConfig]):
    """Mask method whose server divides the votes of earlier rounds before it adds the new ones."""

    Config = FadingConfig
    spec = Spec(samples=True)

    def local_update(self, state: Votes, task: Task) -> Update:
        """Train scores from the server's theta; return an update with one sample of their probabilities."""
        network, gates = self.network, self.gates
        scores = self.theta(state).clamp_(0.001, 0.999).logit_()
        draw = task.generator(self.config.seed, "masks", network.device)
        loss = train_epochs(
            network,
            task,
            self.config,
            Adam(scores, network.gradient, learning_rate=self.config.rate(task.server_round)),
            before_forward=lambda: gates.load_sample(scores, draw),
            after_backward=lambda: gates.straight_through(scores),
        )
        return self.sample_update(scores.sigmoid_(), task, loss)

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:
        """Divide the earlier votes by `fading.fade`, and add the new ones."""
        fade = self.config.fading.fade
        faded = replace(state, votes=state.votes // fade, trials=state.trials // fade)
        return add_votes(faded, updates, trim=self.config.server.trim)
'''
_README = """\
# {name}

A Flower app on fedgates. Run it in an environment with fedgates:

    flwr run . --stream --federation-config "num-supernodes=10 client-resources-num-cpus=1"
    flwr run . --stream --federation-config "num-supernodes=10 client-resources-num-cpus=1" \\
        --run-config 'strategy="fading" fading.fade=3'

The second command runs the method in `my_method.py`. To run it in a single process, with short errors and working breakpoints:

    fedgates run --app . --run-config 'strategy="my_method:FadingVotes"'
"""


def write_app(target: Path) -> Path:
    """Write a Flower app to a folder and return the folder.

    Raises
    ------
    ConfigError
        The folder is not empty or not writable.
    """
    from fedgates.config.reference import toml_block  # noqa: PLC0415  # slow: imports all methods and torch
    from fedgates.methods.registry import config_classes  # noqa: PLC0415

    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError("FOLDER", str(target), "a new or empty folder")
        target.mkdir(parents=True, exist_ok=True)
        name = "".join(c if c.isascii() and c.isalnum() else "-" for c in target.resolve().name).strip("-") or "app"
        files = {
            "pyproject.toml": _PYPROJECT.format(name=name, version=__version__, config=toml_block(config_classes(), None)),
            "client_app.py": _CLIENT,
            "server_app.py": _SERVER,
            "my_method.py": _METHOD,
            "README.md": _README.format(name=name),
        }
        for file, text in files.items():
            write_atomically(target / file, text.encode())
    except OSError as error:
        raise ConfigError("FOLDER", str(target), f"a writable folder ({error.strerror})") from None
    return target
