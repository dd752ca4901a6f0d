"""The folder of a run: names of its files, its lock, and creating or resuming a run."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedgates.config import CLIENTS, DATA_DIGEST, LIMITS, RunConfig, devices_problem, folder, to_dict
from fedgates.errors import ConfigError
from fedgates.runs import checkpoint, config_file, confusion, devices, round_log
from fedgates.runs.config_file import read_config, write_config
from fedgates.runs.round_log import RoundLog
from fedgates.util.files import is_locked, locked, sweep

CONFIG = config_file.FILE_NAME
ROUNDS = round_log.FILE_NAME
CHECKPOINTS = checkpoint.FILE_NAMES
MODEL = "model.fedgates"
MODEL_BEST = "model-best.fedgates"
DEVICES = devices.FILE_NAME
CONFUSION = confusion.FILE_NAME
DEVICE_CLASSES = devices.CLASSES
PREDICTIONS = "predictions.json"
REPORT = "report.html"
CURVES = "curves.png"
LOCK = ".lock"

log = logging.getLogger("fedgates")
_LOCK_TIMEOUT = 60
"""Seconds to wait for the lock; a ServerApp keeps running for a while after its SuperLink has ended."""
_MAY_CHANGE = frozenset(
    {
        *("num-server-rounds", "resume", "output-dir", "data-dir", "trackers"),
        *("stop-accuracy", "stop-patience", "keep-best", "evaluate-every"),
        *("server.round-timeout", "server.quorum", "server.max-failed-rounds", "server.min-clients", "server.decoders"),
        *LIMITS,
    }
)
"""Keys that may differ in a resumed run. They do not affect the result of a round, except `num-server-rounds` if a schedule
ends with the last round."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for this process, and remove partial files left by killed processes.

        Waits up to a minute for another process to release the lock.

        Raises
        ------
        ConfigError
            Key `resume`: another process is running this run.
        """
        with ExitStack() as stack:
            for waited in range(_LOCK_TIMEOUT + 1):
                try:
                    stack.enter_context(locked(self.path / LOCK))
                    break
                except BlockingIOError:
                    if waited == _LOCK_TIMEOUT:
                        expected = "a run that no other process is running"
                        raise ConfigError("resume", str(self.path), expected) from None
                    if not waited:
                        log.info("waiting for another process to finish with this run")
                    time.sleep(1)
            sweep(self.path, CHECKPOINTS, CONFIG, ROUNDS, DEVICES, DEVICE_CLASSES, CONFUSION, PREDICTIONS, MODEL, MODEL_BEST)
            yield

    def is_part(self, file: object) -> bool:
        """Return whether a file, such as the ``filename`` of an error, is in the folder."""
        return isinstance(file, str | Path) and self.path in Path(file).parents

    @property
    def round_log(self) -> RoundLog:
        """The run's ``rounds.jsonl``."""
        return RoundLog(self.path)


def open_run(config: RunConfig, clients: int | None = None, data_digest: str = "") -> RunFolder:
    """Create a new folder under `output-dir`, or open the folder that `resume` names.

    Parameters
    ----------
    config : RunConfig
        The configuration; with `resume`, it must equal that of the old run except for keys that do not affect a round.
    clients : int, optional
        Number of simulated clients; None on real devices.
    data_digest : str
        Digest of the server's data set.

    Raises
    ------
    ConfigError
        The folder cannot be created, or the run to resume is missing or has another configuration or other data.
    """
    if config.resume:
        run = RunFolder(folder(config.resume))
        _check_same(read_config(run.path, key="resume"), config, clients, data_digest)
        return run
    base = folder(config.output_dir)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{_plain(config.strategy)}-{_plain(config.dataset)}-seed{config.seed}"
    for attempt in range(1000):
        path = base / (name if attempt == 0 else f"{name}-{attempt + 1}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError("output-dir", config.output_dir, f"a writable folder ({error.strerror})") from None
        write_config(path, config, clients, data_digest)
        return RunFolder(path)
    raise ConfigError("output-dir", config.output_dir, f"a folder with fewer than a thousand runs named {name}")


def is_running(path: Path) -> bool:
    """Return whether a process is running the run, that is, holds the lock of its folder."""
    return is_locked(path / LOCK)


def _plain(value: str) -> str:
    kind, _, rest = value.rpartition(":")
    name = kind.partition(":")[0] if devices_problem(value) else Path(rest).stem
    return "".join(c if c.isalnum() else "-" for c in name)


def _check_same(before: dict[str, object], config: RunConfig, clients: int | None, data_digest: str) -> None:
    """Raise a ConfigError if a run with the values `before` cannot be resumed with this configuration and data."""
    before_clients = before.get(CLIENTS)
    if before_clients != clients:
        if clients is None or before_clients is None:
            expected = f"a run on {_clients(clients)}, like this one, not on {_clients(before_clients)}"
            raise ConfigError("resume", config.resume, expected)
        raise ConfigError("num-supernodes", clients, f"{before_clients}, as in the run to resume")
    defaults = to_dict(type(config)())
    for key, value in to_dict(config).items():
        old = before.get(key, defaults[key])  # runs of older versions lack newer keys
        if key not in _MAY_CHANGE and old != value:
            raise ConfigError(key, value, f"{old!r}, as in the run to resume")
    known = before.get(DATA_DIGEST, data_digest)  # runs of older versions have no digest
    if known != data_digest:
        raise ConfigError("dataset", config.dataset, f"the data of the run to resume (digest {known}, not {data_digest})")


def _clients(clients: object) -> str:
    return "real devices" if clients is None else f"{clients} simulated clients"
