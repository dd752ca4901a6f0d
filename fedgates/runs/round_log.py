"""What a run did and what it cost: one JSON line a round, in ``rounds.jsonl``.

Bytes are whole payloads, headers included, summed over the round's clients; what Flower adds around them is not counted
(``tests/deploy/test_deployment.py`` compares the two). Bits per parameter are per client: ``8 * bytes / (clients * d)``.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedgates.errors import ConfigError
from fedgates.methods.metrics import entropy
from fedgates.types import Update, count_ones
from fedgates.util.files import write_atomically
from fedgates.util.text import one_line

FILE_NAME = "rounds.jsonl"
Traffic = dict[str, dict[str, int]]
"""What a payload is (its kind, codec and type of values) to how many messages and bytes of it."""


Evaluation = tuple[int, dict[str, float]]
"""On how many examples a client evaluated a state, and what it found: ``loss``, with ``accuracy`` where there are classes."""
LARGEST_LOSS = 1000.0
"""A client's word on its loss counts for at most so much, either way, in a mean."""


@dataclass
class RoundRecord:
    """The counts of one round, kept while it runs."""

    server_round: int
    size: int
    """The number of gates d."""
    vectors: int = 1
    """How many vectors of that size an update has."""
    attempt: int = 1
    """Above 1 where the round missed its quorum before."""
    downlink: Traffic = field(default_factory=dict)
    """To the clients that train."""
    uplink: Traffic = field(default_factory=dict)
    """From them, counted or rejected."""
    selected: list[int] = field(default_factory=list)
    densities: list[float] = field(default_factory=list)
    """Of each counted update's mask."""
    rates: list[float] = field(default_factory=list)
    """The literature's bits per parameter of each counted update: H2 of the density, and 32 for each value."""
    losses: list[tuple[int, float]] = field(default_factory=list)
    """Number of examples and mean training loss of each counted update."""
    accuracies: list[tuple[int, float]] = field(default_factory=list)
    """Number of examples, and accuracy of the client's own model on its held-out images, where an update tells it."""
    seconds: list[float] = field(default_factory=list)
    """How long each counted client says that it took from a message to its answer."""
    measures: dict[str, float] = field(default_factory=dict)
    """What the method says of the round."""
    theta_histogram: list[int] = field(default_factory=list)
    """How many gates' probabilities lie in each of some equal parts of 0 to 1, after the round; empty without gates."""
    rejected: dict[int, str] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    """Clients that answered badly, or not at all, with the reason."""
    evaluation_downlink: Traffic = field(default_factory=dict)
    """To the clients that evaluate, beside what those that train were sent."""
    evaluation_failed: dict[int, str] = field(default_factory=dict)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    """What clients found that evaluated the new state."""
    quorum: bool = True

    def sent(self, client: int, sort: str, payload_bytes: int) -> None:
        """A payload of some sort (kind and codec, as :func:`fedgates.wire.describe` says) left for a client that trains."""
        self.selected.append(client)
        _add(self.downlink, sort, payload_bytes)

    def sent_to_evaluate(self, client: int, sort: str, payload_bytes: int) -> None:  # noqa: ARG002  # as `sent`
        """A payload left for a client that evaluates."""
        _add(self.evaluation_downlink, sort, payload_bytes)

    def received(self, sort: str, payload_bytes: int) -> None:
        """A payload came back."""
        _add(self.uplink, sort, payload_bytes)

    def count(self, update: Update) -> None:
        """An update is sound and goes into the state."""
        density = 1.0 if update.mask is None else count_ones(update.mask) / (self.size * self.vectors)
        values = 0 if update.values is None else len(update.values)
        self.densities.append(density)
        self.rates.append(self.vectors * entropy(density) + 32 * values / self.size)
        if "loss" in update.metrics:
            loss = update.metrics["loss"]
            self.losses.append((update.num_examples, min(max(loss, -LARGEST_LOSS), LARGEST_LOSS)))
        if 0 <= update.metrics.get("accuracy", -1) <= 1:
            self.accuracies.append((update.num_examples, update.metrics["accuracy"]))

        if "seconds" in update.metrics:
            self.seconds.append(max(0.0, update.metrics["seconds"]))

    def reject(self, client: int, reason: str) -> None:
        """A client's update is not what it should be."""
        self.rejected[client] = one_line(reason)

    def fail(self, client: int, reason: str) -> None:
        """A client sent no update."""
        self.failed[client] = one_line(reason)

    def fail_evaluation(self, client: int, reason: str) -> None:
        """A client's evaluation is missing or not what it should be."""
        self.evaluation_failed[client] = one_line(reason)

    @property
    def counted(self) -> int:
        """How many sound updates the method was given."""
        return len(self.densities)

    def line(self, seconds: float, evaluation: dict[str, float]) -> dict[str, Any]:
        """The round as a JSON object; figures that nobody could measure are null."""
        up, down = _bytes(self.uplink), _bytes(self.downlink)
        own: dict[str, Any] = {
            "round": self.server_round,
            "seconds": round(seconds, 3),
            "accuracy": _finite(evaluation.get("accuracy")),
            "loss": _finite(evaluation.get("loss")),
            "density": _mean(self.densities),
            "uplink_bytes": up,
            "downlink_bytes": down,
            "uplink_bpp": _ratio(8 * up, _messages(self.uplink) * self.size),
            "downlink_bpp": _ratio(8 * down, _messages(self.downlink) * self.size),
            "entropy_bpp": _mean(self.rates),
            "clients_selected": len(self.selected),
            "clients_counted": self.counted,
            "clients_rejected": len(self.rejected),
            "clients_failed": len(self.failed),
            "quorum": self.quorum,
            "attempt": self.attempt,
            "uplink": dict(sorted(self.uplink.items())),
            "downlink": dict(sorted(self.downlink.items())),
            "train_loss": _weighted(self.losses),
            "rejected": {str(client): reason for client, reason in sorted(self.rejected.items())},
            "failed": {str(client): reason for client, reason in sorted(self.failed.items())},
        }
        if self.accuracies:
            own["train_accuracy"] = _weighted(self.accuracies)
        if self.theta_histogram:
            own["theta_histogram"] = self.theta_histogram
        if self.seconds:
            own["client_seconds"] = round(math.fsum(self.seconds) / len(self.seconds), 3)
            own["client_seconds_longest"] = round(max(self.seconds), 3)
        if self.evaluation_downlink:
            own["clients_evaluating"] = _messages(self.evaluation_downlink)
            own["evaluation_downlink_bytes"] = _bytes(self.evaluation_downlink)
            own["evaluation_downlink"] = dict(sorted(self.evaluation_downlink.items()))
            own["evaluation_failed"] = {str(client): reason for client, reason in sorted(self.evaluation_failed.items())}
            own["client_evaluations"] = {
                str(client): {"examples": examples, **found} for client, (examples, found) in sorted(self.evaluations.items())
            }
        further = {key: value for key, value in {**self.measures, **evaluation}.items() if key not in own}
        return own | {key: _finite(value) for key, value in further.items()}


class RoundLog:
    """The file ``rounds.jsonl`` in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def append(self, line: dict[str, Any]) -> None:
        """Write one round and wait until it is on the disk; a checkpoint of the round comes after its line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self, key: str = "run") -> list[dict[str, Any]]:
        """All whole lines; one cut short by a kill is not a round.

        Raises
        ------
        ConfigError
            A line is no JSON object; names `key`, which said whose ledger it is.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        found: list[dict[str, Any]] = []
        for number, line in enumerate(lines[:-1], 1):
            try:
                found.append({**json.loads(line)})
            except (ValueError, TypeError):
                raise ConfigError(key, str(self.path.parent), f"a whole {FILE_NAME}; its line {number} is damaged") from None
        return found

    def forget_after(self, server_round: int) -> None:
        """Drop the rounds after `server_round`, which a resumed run does again, but for failed attempts at the next one."""
        kept = [line for line in self.read("resume") if line["round"] <= server_round or self._failed(line, server_round + 1)]
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def failed_attempts(self, server_round: int) -> int:
        """How often a round has missed its quorum."""
        return sum(self._failed(line, server_round) for line in self.read("resume"))

    @staticmethod
    def _failed(line: dict[str, Any], server_round: int) -> bool:
        return line["round"] == server_round and not line.get("quorum", True)


def _add(traffic: Traffic, sort: str, payload_bytes: int) -> None:
    of_sort = traffic.setdefault(sort, {"messages": 0, "bytes": 0})
    of_sort["messages"] += 1
    of_sort["bytes"] += payload_bytes


def _messages(traffic: Traffic) -> int:
    return sum(of_sort["messages"] for of_sort in traffic.values())


def _bytes(traffic: Traffic) -> int:
    return sum(of_sort["bytes"] for of_sort in traffic.values())


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return math.fsum(values) / len(values) if values else None  # fsum: whoever answered first


def _weighted(values: Iterable[tuple[int, float]]) -> float | None:
    values = list(values)
    return _ratio(math.fsum(n * value for n, value in values), sum(n for n, _ in values))


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None
