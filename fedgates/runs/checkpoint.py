"""Checkpoints: the state after a round, written atomically, so that a killed process leaves a complete one.

``checkpoint-00012.safetensors`` has the state after round 12, in a safetensors file with a checksum. Everything else that a
round depends on is a function of the config and the round, so `resume` needs only the state and the round. Exceptions are the
memory of clients (``Spec.memory``) and their personal layer, which are reset in a resumed run.

``checkpoint-best.safetensors`` has the same format and the state after the best round (`keep-best`).
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fedgates.errors import ConfigError
from fedgates.types import State, Votes, Weights
from fedgates.util.files import write_atomically

FILE_NAMES = "checkpoint-*.safetensors"
BEST = "checkpoint-best.safetensors"
_MEMORY = "server_memory."
"""Prefix of the names of the arrays that stay on the server."""
_TAIL = "tail"
"""Name of the array of values sent beside masks."""
_KEEP = 2
"""Number of checkpoints kept on disk; the second last is used if the last is damaged."""


def save(folder: Path, state: State, server_round: int, digest: bytes) -> Path:
    """Write the state after `server_round`, delete all but the last two checkpoints, and return the path of the new one.

    The file is renamed to its final name only when it is complete and on disk. Equal states give identical files.
    """
    target = folder / f"checkpoint-{server_round:05d}.safetensors"
    _write(target, state, server_round, digest)
    for old in _checkpoints(folder)[:-_KEEP]:
        old.unlink()
    return target


def save_best(folder: Path, state: State, server_round: int, digest: bytes) -> None:
    """Write the state after the best round so far, replacing the previous best checkpoint."""
    _write(folder / BEST, state, server_round, digest)


def load_best(folder: Path, digest: bytes) -> tuple[State, int] | None:
    """Return the state and round of the best checkpoint; None if it is missing, damaged, or of another network."""
    found = _read(folder / BEST)
    return None if found is None or found[2] != digest.hex() else found[:2]


def _write(target: Path, state: State, server_round: int, digest: bytes) -> None:
    arrays: dict[str, NDArray[Any]] = {"votes": state.votes} if isinstance(state, Votes) else {"weights": state.values}
    if isinstance(state, Votes) and len(state.tail):
        arrays[_TAIL] = state.tail
    arrays |= {_MEMORY + name: array for name, array in state.server_memory.items()}
    trials = state.trials if isinstance(state, Votes) else 0
    facts = {
        "round": server_round,
        "trials": trials,
        "scalars": [float(number) for number in state.scalars],
        "digest": digest.hex(),
    }
    # a single entry, because safetensors writes several entries in random order
    metadata = {"fedgates": json.dumps({**facts, "checksum": _checksum(facts, arrays)})}
    write_atomically(target, to_bytes({k: np.ascontiguousarray(v) for k, v in arrays.items()}, metadata=metadata))


def load(folder: Path, digest: bytes) -> tuple[State, int] | None:
    """Return the state and round of the latest undamaged checkpoint, or None if the folder has no checkpoint.

    Raises
    ------
    ConfigError
        Key `resume`: every checkpoint is damaged, or the latest belongs to another network.
    """
    paths = _checkpoints(folder)
    if not paths:
        return None
    for path in reversed(paths):
        found = _read(path)
        if found is None:
            continue
        state, server_round, network = found
        if network != digest.hex():
            raise ConfigError("resume", str(folder), f"a run of network {digest.hex()}, not {network}")
        return state, server_round
    raise ConfigError("resume", str(folder), "the folder of a run with an undamaged checkpoint")


def _read(path: Path) -> tuple[State, int, str] | None:
    """Return the state, the round and the network's digest of a checkpoint; None if it is damaged or missing."""
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["fedgates"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if facts.pop("checksum") != _checksum(facts, arrays):
            return None
        scalars = tuple(facts["scalars"])
        memory = {name.removeprefix(_MEMORY): array for name, array in arrays.items() if name.startswith(_MEMORY)}
        state: State
        if "votes" in arrays:
            tail = arrays.get(_TAIL, np.empty(0, np.float32))
            state = Votes(arrays["votes"], facts["trials"], scalars, memory, tail=tail)
        else:
            state = Weights(arrays["weights"], scalars, memory)
        return state, facts["round"], facts["digest"]
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _checkpoints(folder: Path) -> list[Path]:
    """Return the paths of the checkpoints, by round."""
    rounds = {path: path.stem.partition("-")[2] for path in folder.glob(FILE_NAMES)}
    return sorted((path for path in rounds if rounds[path].isdecimal()), key=lambda path: int(rounds[path]))


def _checksum(facts: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    h = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        h.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        h.update(np.ascontiguousarray(array).data)
    return h.hexdigest()
