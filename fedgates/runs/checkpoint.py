"""A run's folder, and the state in it: written atomically, so that a kill at any moment leaves a whole checkpoint.

A checkpoint is a safetensors file with a checksum, ``checkpoint-00012.safetensors``: the state after round 12. Everything else
that a round depends on is a function of the config and the round, so state and round are all that `resume` needs; but for what
clients of some methods keep (``Method.remembers``), which starts anew.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedgates.config import CLIENTS, LIMITS, RunConfig, current_names, devices_shape, folder, to_dict
from fedgates.errors import ConfigError
from fedgates.runs.round_log import RoundLog
from fedgates.types import State, Votes, Weights
from fedgates.util.files import locked, sweep, write_atomically

log = logging.getLogger("fedgates")
_PATIENCE = 60
"""Seconds: a ServerApp outlives its SuperLink by some of them."""
_KEPT = 2
"""Checkpoints left on disk; the one before the last is there should a disk damage the last."""
_MAY_CHANGE = (
    *("num-server-rounds", "resume", "output-dir", "data-dir", "trackers"),
    *("server.round-timeout", "server.quorum", "server.max-failed-rounds", "server.min-clients"),
    *("limits.max-relay-updates", *LIMITS),
)
"""Keys that a resumed run may set anew. They do not change what a round computes, but for `num-server-rounds` where something
is on a schedule that ends with the last round."""


@dataclass(frozen=True)
class RunFolder:
    """Where one run's files lie."""

    path: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder for this process: two that write into one would leave neither run. Waits a while for another's end.

        Raises
        ------
        ConfigError
            Another process goes on with the run; names `resume`.
        """
        with ExitStack() as stack:
            for waited in range(_PATIENCE + 1):
                try:
                    stack.enter_context(locked(self.path / ".lock"))
                    break
                except BlockingIOError:
                    if waited == _PATIENCE:
                        expected = "a run that no other process goes on with"
                        raise ConfigError("resume", str(self.path), expected) from None
                    if not waited:
                        log.info("another process is still at this run; waiting for its end")
                    time.sleep(1)
            sweep(self.path, "checkpoint-*", "config.json", "rounds.jsonl", "predictions.json", "model.fedgates")
            yield

    def note(self, config: RunConfig, clients: int | None) -> None:
        """Write down the config that the run goes on with."""
        _write_config(self.path, config, clients)

    @property
    def ledger(self) -> RoundLog:
        """Its ``rounds.jsonl``."""
        return RoundLog(self.path)

    def save(self, state: State, server_round: int, digest: bytes) -> Path:
        """Write the state after `server_round` under its final name only once it is whole and on the disk."""
        arrays = {"votes": state.votes} if isinstance(state, Votes) else {"weights": state.values}
        trials = state.trials if isinstance(state, Votes) else 0
        # one entry, because safetensors writes several in an order of chance, and equal states should be equal files
        facts = {
            "round": server_round,
            "trials": trials,
            "scalars": [float(number) for number in state.scalars],
            "digest": digest.hex(),
        }
        whole = {"fedgates": json.dumps({**facts, "checksum": _checksum(facts, arrays)})}
        target = self.path / f"checkpoint-{server_round:05d}.safetensors"
        write_atomically(target, save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, metadata=whole))
        for old in self._checkpoints()[:-_KEPT]:
            old.unlink()
        return target

    def load(self, digest: bytes) -> tuple[State, int] | None:
        """The latest whole checkpoint: its state and round; None of a run that was ended before its first one.

        Raises
        ------
        ConfigError
            None of them is whole, or it belongs to another network; names `resume`.
        """
        found = self._checkpoints()
        if not found:
            return None
        for path in reversed(found):
            try:
                with safe_open(path, framework="numpy") as file:
                    facts = json.loads(file.metadata()["fedgates"])
                    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                if facts.pop("checksum") != _checksum(facts, arrays):
                    continue
                scalars = tuple(facts["scalars"])
            except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError):
                continue
            if facts["digest"] != digest.hex():
                raise ConfigError("resume", str(self.path), f"a run of network {digest.hex()}, not {facts['digest']}")
            if "votes" in arrays:
                return Votes(arrays["votes"], facts["trials"], scalars), facts["round"]
            return Weights(arrays["weights"], scalars), facts["round"]
        raise ConfigError("resume", str(self.path), "a run's folder with a whole checkpoint in it")

    def _checkpoints(self) -> list[Path]:
        found = [path for path in self.path.glob("checkpoint-*.safetensors") if path.stem.partition("-")[2].isdecimal()]
        return sorted(found, key=lambda path: int(path.stem.partition("-")[2]))


def _checksum(facts: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    h = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        h.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        h.update(np.ascontiguousarray(array).data)
    return h.hexdigest()


def open_run(config: RunConfig, clients: int | None = None) -> RunFolder:
    """A new folder under `output-dir`, or with `resume` the old one, if it is a run of the same config and `clients`.

    Raises
    ------
    ConfigError
        The folder cannot be made, or the run to resume is not there or was of another config.
    """
    if config.resume:
        run = RunFolder(folder(config.resume))
        _check_same(run.path, config, clients)
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
            raise ConfigError("output-dir", config.output_dir, f"a folder that can be written ({error.strerror})") from None
        _write_config(path, config, clients)
        return RunFolder(path)
    raise ConfigError("output-dir", config.output_dir, f"a folder without a thousand runs named {name}")


def _plain(value: str) -> str:
    kind, _, rest = value.rpartition(":")
    name = kind.partition(":")[0] if devices_shape(value) else Path(rest).stem
    return "".join(c if c.isalnum() else "-" for c in name)


def _write_config(path: Path, config: RunConfig, clients: int | None) -> None:
    whole = {**to_dict(config), CLIENTS: clients}
    write_atomically(path / "config.json", (json.dumps(whole, indent=2) + "\n").encode())


def _kind(clients: object) -> str:
    return "real devices" if clients is None else f"{clients} simulated clients"


def _check_same(path: Path, config: RunConfig, clients: int | None) -> None:
    try:
        before = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict):
        raise ConfigError("resume", config.resume, "a run's folder, with its config.json")
    if before.get(CLIENTS) != clients:
        if clients is None or before.get(CLIENTS) is None:
            expected = f"a run of {_kind(clients)}, as this is, not of {_kind(before.get(CLIENTS))}"
            raise ConfigError("resume", config.resume, expected)
        raise ConfigError("num-supernodes", clients, f"{before[CLIENTS]}, as in the run to resume")
    before, defaults = current_names(before), to_dict(type(config)())
    for key, value in to_dict(config).items():
        if key not in _MAY_CHANGE and before.get(key, defaults[key]) != value:  # an older run has not all keys
            raise ConfigError(key, value, f"{before.get(key, defaults[key])!r}, as in the run to resume")
