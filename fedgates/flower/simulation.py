"""Simulation of a federation in this process, for notebooks, tests and experiments."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.clientapp import ClientApp
from tqdm import tqdm

from fedgates import model_file
from fedgates.config import flatten, is_reference
from fedgates.errors import ConfigError
from fedgates.federation.callbacks import Record
from fedgates.federation.server import Server
from fedgates.flower.client_app import make_client_app
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server_app import run_on_grid
from fedgates.methods.registry import Methods
from fedgates.runs.callback import Callback
from fedgates.runs.folder import RunFolder
from fedgates.runs.summary import RoundFormatter
from fedgates.types import Value

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SimulationResult:
    """Result of a finished run."""

    folder: Path
    """The run's folder, with ``rounds.jsonl``, ``report.html`` and ``model.fedgates``."""

    @cached_property
    def history(self) -> "pd.DataFrame":
        """Numbers in ``rounds.jsonl``, one row per round, indexed by round; attempts without a quorum are left out."""
        import pandas as pd  # noqa: PLC0415  # slow to import, and not needed for a run

        rounds = [line for line in RunFolder(self.folder).round_log.read() if line.get("quorum", True)]
        numbers = [{k: v for k, v in line.items() if v is None or type(v) in (int, float, bool)} for line in rounds]
        return pd.DataFrame(numbers).set_index("round")

    @cached_property
    def model(self) -> model_file.Model:
        """Model after the last round, a ``torch.nn.Module``; :func:`fedgates.load` loads its file elsewhere."""
        return model_file.load(self.folder / "model.fedgates", network=self._network, weights=self._weights or None)

    _network: Any = None
    _weights: str = ""


def simulate(
    settings: Mapping[str, Any] | None = None,
    num_clients: int = 10,
    *,
    node_configs: Iterable[Mapping[str, Value]] | None = None,
    methods: Methods | None = None,
    callbacks: Sequence[Callback] = (),
    client_app: ClientApp | None = None,
    progress: bool = True,
) -> SimulationResult:
    """Run a federation in this process, one client after the other, or several in one pass with `client.train-together`.

    Flower serialises and deserialises all messages, so all results except durations equal those of `flwr run`.

    Parameters
    ----------
    settings : mapping, optional
        Config keys and values, such as ``{"strategy": "fedavg", "num-server-rounds": 5}``; all other keys have their defaults
        (``fedgates config`` lists them). Tables may be nested mappings.
    num_clients : int
        Number of clients that share the data set.
    node_configs : iterable of mapping, optional
        Node config of each device, such as ``{"data-path": "/abs/file.npz"}``; replaces `num_clients`.
    methods : mapping, optional
        Additional methods: mapping from name to "module:Class".
    callbacks : sequence of Callback
        Called at the start, after each round, and at the end (:class:`fedgates.federation.Callback`).
    client_app : ClientApp, optional
        ClientApp to use; by default :func:`fedgates.flower.make_client_app` makes it.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    SimulationResult
        The run's ``folder``, its ``history`` (a pandas DataFrame with one row per round) and its ``model``.

    Raises
    ------
    ConfigError, NetworkError
        The settings cannot be used; the message is one line.
    QuorumError, StorageError
        Too few updates were accepted, or the run's files cannot be written; the message says how to resume.
    DivergenceError
        Training diverged on most clients.

    Examples
    --------
    >>> import fedgates, tempfile
    >>> settings = {"num-server-rounds": 2, "data.samples-per-client": 20, "output-dir": tempfile.mkdtemp()}
    >>> result = fedgates.simulate(settings, num_clients=3, progress=False)
    >>> result.history.index.tolist()
    [1, 2]
    >>> result.history[["uplink_bytes", "downlink_bytes"]].shape
    (2, 2)
    """
    nodes = list(node_configs or [])
    if (type(num_clients) is not int or num_clients < 1) and not nodes:
        raise ConfigError("num_clients", num_clients, "a whole number of at least 1, or node_configs instead")
    if not isinstance(settings or {}, Mapping) or not all(isinstance(key, str) for key in settings or {}):
        raise ConfigError("settings", settings, 'a mapping of keys to values, such as {"seed": 3}')
    for callback in callbacks:
        if not all(callable(getattr(callback, name, None)) for name in ("on_start", "on_round_end", "on_end")) or isinstance(
            callback, type
        ):
            raise ConfigError("callbacks", callback, "objects with on_start, on_round_end and on_end")
    raw = flatten(settings or {})
    network = _NetworkCallback()
    extra: list[Callback] = [network, *callbacks, *([_ProgressBar()] if progress else [])]
    grid = LoopbackGrid(client_app or make_client_app(methods), raw, num_clients, nodes)
    run = run_on_grid(grid, raw, methods, extra)
    return SimulationResult(run.path, network.build, network.weights)


class _ProgressBar(Callback):
    """Progress bar with the number of completed rounds, the time left, accuracy and loss."""

    def on_start(self, server: Server[Any], first_round: int, *, resumed: bool) -> None:  # noqa: ARG002
        rounds = server.config.num_server_rounds
        self._formatter = RoundFormatter(rounds)
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} rounds{postfix}"
        self._bar = tqdm(total=rounds, initial=first_round - 1, desc=server.config.strategy, bar_format=form)

    def on_round_end(self, record: Record, server: Server[Any]) -> None:  # noqa: ARG002
        numbers = {"accuracy": record.get("accuracy"), "loss": record.get("loss")}
        shown = [f"{name}={value:.3f}" for name, value in numbers.items() if value is not None]
        self._bar.set_postfix_str(", ".join([self._formatter.time_left(record), *shown]), refresh=not record["quorum"])
        if record["quorum"]:
            self._bar.update()

    def on_end(self, server: Server[Any], *, finished: bool) -> None:  # noqa: ARG002
        self._bar.close()


class _NetworkCallback(Callback):
    """Callback that keeps what is needed besides its file to load the model: a user-defined network, and initial weights."""

    build: Any = None
    weights = ""

    def on_end(self, server: Server[Any], *, finished: bool) -> None:
        self.weights = server.config.weights
        if finished and is_reference(server.config.model):
            module = server.method.network.module
            self.build = lambda *_: deepcopy(module)
