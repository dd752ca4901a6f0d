"""FedPM runs for the wire's benchmarks: what each client had to say in each round, kept on disk so that coders share one run.

Clients train exactly as in a federation (`tests/flower/test_simulation.py` holds the engines to the loopback grid, and
`wire.py` this loop to the loopback grid); only the messages are left out, because here they are the question.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedgates import data
from fedgates.flower.registry import build, configure
from fedgates.flower.roster import choose
from fedgates.keys import generator
from fedgates.state import Update, Votes
from fedgates.training import Task, isolated
from strategies import STRATEGIES
from strategies.fedpm import FedPM


@dataclass(frozen=True)
class Round:
    """One round of a recording: the state it opened with, and the clients' updates."""

    number: int
    state: Votes
    clients: list[int]
    updates: list[Update]


class Federation:
    """FedPM without an engine: the same choice of clients, the same tasks, the same rules."""

    def __init__(self, raw: Mapping[str, Any], clients: int) -> None:
        method, config = configure(raw, STRATEGIES)
        dataset = data.load(config.dataset, config.data_dir)
        strategy = build(method, config, dataset.input_shape, dataset.num_classes)
        if not isinstance(strategy, FedPM):
            raise TypeError(f"{raw['strategy']} is not FedPM")
        self.strategy, self.config, self.clients = strategy, config, clients
        self.state = strategy.initial_state()
        self._train, parts = dataset.train, data.partition(dataset.train.y, clients, config)
        self._parts = parts
        self._test = data.to_tensors(dataset.test, "cpu")

    def updates(self, number: int) -> Iterator[tuple[int, Update]]:
        """Train the clients of a round from the present state: name and update of each."""
        config = self.config
        for client in choose(range(self.clients), config.fraction_train, config.seed, "choose", number):
            x, y = data.to_tensors(self._train.take(self._parts[client]), "cpu")
            with isolated(generator(config.seed, "train", server_round=number, client=client), config.client_threads):
                yield client, self.strategy.local_update(self.state, Task(x, y, number, client))

    def advance(self, number: int, updates: list[Update]) -> None:
        """The server's rule."""
        self.state = self.strategy.aggregate(self.state, updates, number)

    def accuracy(self, number: int) -> dict[str, float]:
        """Of the present state on the whole test set."""
        with isolated(generator(self.config.seed, "evaluation", server_round=number), 1):
            return self.strategy.evaluate(self.state, *self._test, number)


def record(raw: Mapping[str, Any], clients: int, folder: Path, rounds: int, evaluate: set[int], theta: set[int]) -> None:
    """Run FedPM and keep every round's masks; accuracies at `evaluate`, and the clients' thetas at the rounds `theta`.

    Rounds that are there already, of the same config, are not done again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**raw, "clients": clients}
    known = folder / "config.json"
    if known.exists() and json.loads(known.read_text()) != facts:
        raise ValueError(f"{folder} holds a recording of another config")
    known.write_text(json.dumps(facts))
    torch.set_num_threads(1)
    federation = Federation(raw, clients)
    for number in range(1, rounds + 1):
        file = _file(folder, number)
        if file.exists():
            found = read(folder, number)
            federation.advance(number, found.updates)
            continue
        state = federation.state
        names, updates = (list(column) for column in zip(*federation.updates(number), strict=True))
        federation.advance(number, updates)
        arrays: dict[str, NDArray[Any]] = {
            "votes": state.votes,
            "trials": np.array(state.trials),
            "clients": np.array(names),
            "masks": np.stack([update.mask for update in updates]),
        }
        if number in theta:
            arrays["theta"] = np.stack([update.theta for update in updates])
        partial = file.with_suffix(".partial.npz")
        np.savez(partial, **arrays)
        partial.rename(file)
        if number in evaluate:
            (folder / f"accuracy-{number:05d}.json").write_text(json.dumps(federation.accuracy(number)))


def read(folder: Path, number: int) -> Round:
    """A recorded round."""
    with np.load(_file(folder, number)) as found:
        thetas = found["theta"] if "theta" in found else [None] * len(found["masks"])
        updates = [Update(mask=mask, theta=theta) for mask, theta in zip(found["masks"], thetas, strict=True)]
        return Round(number, Votes(found["votes"], int(found["trials"])), found["clients"].tolist(), updates)


def accuracy(folder: Path, number: int) -> dict[str, float]:
    """A recorded evaluation."""
    found: dict[str, float] = json.loads((folder / f"accuracy-{number:05d}.json").read_text())
    return found


def _file(folder: Path, number: int) -> Path:
    return folder / f"round-{number:05d}.npz"


Recorder = Callable[..., None]
