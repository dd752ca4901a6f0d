"""The counts of one round while it runs, and the line of ``rounds.jsonl`` made from them.

Bytes are whole payloads, headers included, summed over the round's clients; what Flower adds around them is not counted
(``tests/deploy/test_deployment.py`` compares the two). Bits per parameter are per client: ``8 * bytes / (clients * d)``.
:mod:`fedgates.runs.schema` describes every key of the line.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedgates.types import Update, count_ones
from fedgates.util.entropy import binary_entropy
from fedgates.util.robust import capped
from fedgates.util.text import one_line

Traffic = dict[str, dict[str, int]]
"""Description of a payload (its kind, codec and type of values) to ``messages`` and ``bytes``."""
Evaluation = tuple[int, dict[str, float]]
"""Number of examples on which a client evaluated a state, and the metrics: ``loss``, and accuracies if there are classes."""
LARGEST_LOSS = 1000.0
"""Bound on the absolute value of a client's loss in a mean."""


@dataclass
class RoundRecord:
    """The counts of one attempt at a round, kept while it runs."""

    server_round: int
    size: int
    """Number of gates d."""
    vectors: int = 1
    """Number of vectors of that size in an update."""
    attempt: int = 1
    """Above 1 if the round missed its quorum before, or its state was withdrawn."""
    max_examples: float = math.inf
    """Largest number of examples that a client is weighted by in a mean, as a multiple of the median."""
    downlink: Traffic = field(default_factory=dict)
    """Payloads to the clients that train."""
    uplink: Traffic = field(default_factory=dict)
    """Payloads from them, accepted or rejected."""
    selected: list[int] = field(default_factory=list)
    """Clients that were asked to train."""
    densities: list[float] = field(default_factory=list)
    """Density of the mask of each accepted update."""
    rates: list[float] = field(default_factory=list)
    """The literature's bits per parameter of each accepted update: H2 of the density, and 32 for each value."""
    losses: list[tuple[int, float]] = field(default_factory=list)
    """Number of examples and mean training loss of each accepted update."""
    accuracies: list[tuple[int, float]] = field(default_factory=list)
    """Number of examples, and accuracy of the client's own model on its held-out images, of each update that reports it."""
    seconds: list[float] = field(default_factory=list)
    """Seconds from message to reply, as each accepted client reports them."""
    measures: dict[str, float] = field(default_factory=dict)
    """Metrics of the round that the method computes."""
    theta_histogram: list[int] = field(default_factory=list)
    """Number of gates whose probability is in each of some equal bins of 0 to 1, after the round; empty without gates."""
    rejected: dict[int, str] = field(default_factory=dict)
    """Client to the reason why its update was rejected."""
    failed: dict[int, str] = field(default_factory=dict)
    """Client to the reason why it sent no update."""
    evaluation_downlink: Traffic = field(default_factory=dict)
    """Payloads to the clients that evaluate, in addition to `downlink`."""
    evaluation_failed: dict[int, str] = field(default_factory=dict)
    """Client to the reason why its evaluation is missing."""
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    """Client to its evaluation of the new state."""
    quorum: bool = True
    """Whether enough updates were accepted, and the state that they led to was kept."""
    withdrawn: str = ""
    """Why the new state was not kept; empty if it was."""

    def sent(self, client: int, kind: str, payload_bytes: int) -> None:
        """Count a payload to a client that trains; `kind` is its description by :func:`fedgates.wire.describe`."""
        self.selected.append(client)
        _add(self.downlink, kind, payload_bytes)

    def sent_to_evaluate(self, client: int, kind: str, payload_bytes: int) -> None:  # noqa: ARG002  # same signature as `sent`
        """Count a payload to a client that evaluates."""
        _add(self.evaluation_downlink, kind, payload_bytes)

    def received(self, kind: str, payload_bytes: int) -> None:
        """Count a payload of a reply."""
        _add(self.uplink, kind, payload_bytes)

    def count(self, update: Update) -> None:
        """Count an accepted update."""
        density = 1.0 if update.mask is None else count_ones(update.mask) / (self.size * self.vectors)
        values = 0 if update.values is None else len(update.values)
        self.densities.append(density)
        self.rates.append(self.vectors * binary_entropy(density) + 32 * values / self.size)
        if "loss" in update.metrics:
            loss = update.metrics["loss"]
            self.losses.append((update.num_examples, min(max(loss, -LARGEST_LOSS), LARGEST_LOSS)))
        if 0 <= update.metrics.get("accuracy", -1) <= 1:
            self.accuracies.append((update.num_examples, update.metrics["accuracy"]))
        if "seconds" in update.metrics:
            self.seconds.append(max(0.0, update.metrics["seconds"]))

    def reject(self, client: int, reason: str) -> None:
        """Count a client's update as rejected."""
        self.rejected[client] = one_line(reason)

    def fail(self, client: int, reason: str) -> None:
        """Count a client as failed: it sent no update."""
        self.failed[client] = one_line(reason)

    def fail_evaluation(self, client: int, reason: str) -> None:
        """Count a client's evaluation as missing or rejected."""
        self.evaluation_failed[client] = one_line(reason)

    @property
    def counted(self) -> int:
        """Number of accepted updates."""
        return len(self.densities)

    def line(self, seconds: float, evaluation: dict[str, float]) -> dict[str, Any]:
        """Return the line of ``rounds.jsonl``, a JSON object; a number that could not be measured is None.

        Parameters
        ----------
        seconds : float
            Duration of the attempt.
        evaluation : dict
            Metrics of the new state; they never replace a key of the record's own, other than ``accuracy`` and ``loss``.
        """
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
            "train_loss": self._weighted(self.losses),
            "rejected": {str(client): reason for client, reason in sorted(self.rejected.items())},
            "failed": {str(client): reason for client, reason in sorted(self.failed.items())},
        }
        if self.withdrawn:
            own["withdrawn"] = self.withdrawn
        if self.accuracies:
            own["train_accuracy"] = self._weighted(self.accuracies)
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
                str(client): {"examples": examples, **metrics}
                for client, (examples, metrics) in sorted(self.evaluations.items())
            }
        other = {key: value for key, value in {**self.measures, **evaluation}.items() if key not in own}
        return own | {key: _finite(value) for key, value in other.items()}

    def _weighted(self, values: Sequence[tuple[int, float]]) -> float | None:
        """Return the mean of clients' values, weighted by their numbers of examples."""
        examples = capped([n for n, _ in values], self.max_examples)
        return _ratio(math.fsum(n * value for n, (_, value) in zip(examples, values, strict=True)), sum(examples))


def _add(traffic: Traffic, kind: str, payload_bytes: int) -> None:
    of_kind = traffic.setdefault(kind, {"messages": 0, "bytes": 0})
    of_kind["messages"] += 1
    of_kind["bytes"] += payload_bytes


def _messages(traffic: Traffic) -> int:
    return sum(of_kind["messages"] for of_kind in traffic.values())


def _bytes(traffic: Traffic) -> int:
    return sum(of_kind["bytes"] for of_kind in traffic.values())


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return math.fsum(values) / len(values) if values else None  # fsum: independent of the order of replies


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None
