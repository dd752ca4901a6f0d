"""Recordings of FedPM runs on disk, with the updates of all clients in each round, for the benchmarks of the wire.

Clients train and the server counts exactly as in a federation, with the same sampling of clients and the same seeds. Each
update is coded and decoded. Only Flower's messages are left out.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fedgates.strategies.fedpm import FedPM, FedPMConfig
from numpy.typing import NDArray

from fedgates import data, models
from fedgates.config import parse
from fedgates.federation.membership import sample_clients
from fedgates.methods.registry import build, configure
from fedgates.methods.training import Task, seeded_rng
from fedgates.nn.network import Network
from fedgates.rng import generator
from fedgates.types import Problem, Update, Votes
from fedgates.wire import VersionedState

DIGEST = b"wire-py."
"""Digest for payloads of which only the size matters."""
Table = tuple[str, list[str], list[list[object]]]
"""A text, a header, and rows."""
Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class Round:
    """One round of a recording: the state at its start, and the clients' updates as the server counted them."""

    number: int
    state: Votes
    clients: list[int]
    updates: list[Update]
    payloads: list[bytes]

    @property
    def known(self) -> VersionedState:
        """State that was sent to the clients."""
        return VersionedState(self.state, self.number)


class Federation:
    """FedPM without Flower."""

    def __init__(self, raw: Mapping[str, Any], clients: int) -> None:
        kind, config = configure(raw)
        dataset = data.load(config)
        method = build(kind, config, dataset.problem)
        if not isinstance(method, FedPM):
            raise TypeError(f"{config.strategy} is not FedPM")
        self.method, self.config, self.clients = method, config, clients
        self.state = method.initial_state()
        self._train, self._parts = dataset.train, data.partition(dataset.train.strata, clients, config)
        self._test = data.to_tensors(dataset.test, "cpu")

    def updates(self, number: int) -> Iterator[tuple[int, Update, bytes]]:
        """Train the clients of a round from the current state; yield name, decoded update and payload of each."""
        config, codec, known = self.config, self.method.codec, VersionedState(self.state, number)
        for client in sample_clients(range(self.clients), config.fraction_train, config.seed, "choose", number):
            x, y = data.to_tensors(self._train.take(self._parts[client]), "cpu")
            with seeded_rng(generator(config.seed, "train", server_round=number, client=client), config.client.threads):
                update = self.method.local_update(self.state, Task(x, y, number, client))
            payload = codec.pack_update(update, known, client)
            counted = codec.unpack_update(payload, known, client)
            yield client, Update(mask=counted.mask, theta=update.theta), payload

    def advance(self, number: int, updates: list[Update]) -> None:
        """Update the state with the server's rule."""
        self.state = self.method.aggregate(self.state, updates, number)

    def accuracy(self, number: int) -> dict[str, float]:
        """Return the accuracy of the current state on the whole test set."""
        with seeded_rng(generator(self.config.seed, "evaluation", server_round=number), 1):
            return self.method.evaluate(self.state, Task(*self._test, number))


def record(job: tuple[Mapping[str, Any], int, Path, int, frozenset[int], frozenset[int]]) -> None:
    """Run FedPM and record every round: (config, clients, folder, rounds, rounds to evaluate, rounds to keep theta of).

    Rounds that were recorded with the same config are not repeated.
    """
    raw, clients, folder, rounds, evaluate, theta = job
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**raw, "clients": clients}
    known = folder / "config.json"
    if known.exists() and json.loads(known.read_text()) != facts:
        raise ValueError(f"{folder} holds a recording of another config")
    known.write_text(json.dumps(facts))
    federation = Federation(raw, clients)
    for number in range(1, rounds + 1):
        if _file(folder, number).exists():
            federation.advance(number, read(folder, number).updates)
            continue
        state = federation.state
        names, updates, payloads = (list(column) for column in zip(*federation.updates(number), strict=True))
        federation.advance(number, updates)
        if number in evaluate:
            (folder / f"accuracy-{number:05d}.json").write_text(json.dumps(federation.accuracy(number)))
        _write(_file(folder, number), state, names, updates, payloads, keep_theta=number in theta)


def read(folder: Path, number: int) -> Round:
    """Return a recorded round."""
    with np.load(_file(folder, number)) as found:
        thetas = found["theta"] if "theta" in found else [None] * len(found["masks"])
        updates = [Update(mask=mask, theta=theta) for mask, theta in zip(found["masks"], thetas, strict=True)]
        payloads = []
        if "payloads" in found:
            payloads = [part.tobytes() for part in np.split(found["payloads"], np.cumsum(found["lengths"])[:-1])]
        return Round(number, Votes(found["votes"], int(found["trials"])), found["clients"].tolist(), updates, payloads)


def accuracy(folder: Path, number: int) -> float:
    """Return the accuracy of the thresholded mask that was recorded after a round."""
    return float(json.loads((folder / f"accuracy-{number:05d}.json").read_text())["accuracy"])


def _write(
    file: Path, state: Votes, names: list[int], updates: list[Update], payloads: list[bytes], *, keep_theta: bool
) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "votes": state.votes,
        "trials": np.array(state.trials),
        "clients": np.array(names),
        "masks": np.stack([update.mask for update in updates]),
        "payloads": np.frombuffer(b"".join(payloads), dtype=np.uint8),
        "lengths": np.array([len(payload) for payload in payloads]),
    }
    if keep_theta:
        arrays["theta"] = np.stack([update.theta for update in updates])
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.rename(file)


def _file(folder: Path, number: int) -> Path:
    return folder / f"round-{number:05d}.npz"


def timed(work: Callable[[], Any], times: int = 5) -> tuple[Any, float]:
    """Return a result and its CPU milliseconds in this process, the best of several, because the machine may be shared."""
    best, result = float("inf"), None
    for _ in range(times):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return result, 1e3 * best


def h2(p: Any) -> Any:  # noqa: ANN401  # a number or an array
    """Return the binary entropy in bits."""
    p = np.clip(p, 1e-300, 1 - 2.0**-53)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


@lru_cache
def strategy(seed: int = 1) -> FedPM:
    """Return FedPM for conv4 on MNIST."""
    return FedPM(parse(FedPMConfig, {"seed": seed}), Network(models.build("conv4", Problem.of_images((1, 28, 28), 10))))


def layers() -> tuple[int, ...]:
    """Return the sizes of the network's parameters."""
    return tuple(slot.size for slot in strategy().network.slices)


def mask_of(update: Update) -> Bits:
    """Return the packed mask of an update of FedPM."""
    if update.mask is None:
        raise ValueError("an update without a mask")
    return update.mask
