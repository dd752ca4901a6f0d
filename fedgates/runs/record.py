"""Counts of one round while it runs, and the line of ``rounds.jsonl`` made from them.

Bytes are whole payloads including headers, summed over the round's clients, without Flower's framing
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
"""Mapping from the description of a payload (kind, codec and type of values) to ``messages`` and ``bytes``."""
Evaluation = tuple[int, dict[str, float]]
"""Number of examples on which a client evaluated a state, and its metrics: ``loss``, and accuracies for classification."""
LARGEST_LOSS = 1000.0
"""Bound to which a client's loss is clipped in means."""


@dataclass
class RoundRecord:
    """Counts of one attempt at a round, collected while it runs."""

    server_round: int
    size: int
    """Number of gates d."""
    vectors: int = 1
    """Number of vectors of size d in an update."""
    attempt: int = 1
    """Number of the attempt; above 1 if the round missed its quorum or its state was withdrawn before."""
    max_examples: float = math.inf
    """Largest weight of a client in a mean, as a multiple of the median number of examples."""
    downlink: Traffic = field(default_factory=dict)
    """Payloads to clients that train."""
    uplink: Traffic = field(default_factory=dict)
    """Payloads from clients that train, accepted or rejected."""
    selected: list[int] = field(default_factory=list)
    """Clients selected to train."""
    densities: list[float] = field(default_factory=list)
    """Density of the mask of each accepted update."""
    rates: list[float] = field(default_factory=list)
    """Bits per parameter of each accepted update as the literature counts them: H2 of the density, plus 32 for each value."""
    losses: list[tuple[int, float]] = field(default_factory=list)
    """Number of examples and mean training loss of each accepted update."""
    accuracies: list[tuple[int, float]] = field(default_factory=list)
    """Number of examples and accuracy of the trained model on the client's held-out examples, for updates that report it."""
    seconds: list[float] = field(default_factory=list)
    """Seconds from message to reply that each accepted client reports."""
    measures: dict[str, float] = field(default_factory=dict)
    """Metrics of the round that the method computes."""
    theta_histogram: list[int] = field(default_factory=list)
    """Histogram of the gates' probabilities over equal bins of [0, 1] after the round; empty without gates."""
    rejected: dict[int, str] = field(default_factory=dict)
    """Reason for each client whose update was rejected."""
    failed: dict[int, str] = field(default_factory=dict)
    """Reason for each client that sent no update."""
    evaluation_downlink: Traffic = field(default_factory=dict)
    """Payloads to clients that evaluate, not included in `downlink`."""
    evaluation_failed: dict[int, str] = field(default_factory=dict)
    """Reason for each client whose evaluation is missing."""
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    """Evaluation of the new state by each client."""
    quorum: bool = True
    """Whether enough updates were accepted and the new state was kept."""
    withdrawn: str = ""
    """Reason why the new state was not kept, or an empty string."""

    def sent(self, client: int, kind: str, payload_bytes: int) -> None:
        """Count a payload to a client that trains; `kind` is its description from :func:`fedgates.wire.describe`."""
        self.selected.append(client)
        _add(self.downlink, kind, payload_bytes)

    def sent_to_evaluate(self, client: int, kind: str, payload_bytes: int) -> None:  # noqa: ARG002  # same signature as `sent`
        """Count a payload to a client that evaluates."""
        _add(self.evaluation_downlink, kind, payload_bytes)

    def received(self, kind: str, payload_bytes: int) -> None:
        """Count the payload of a reply."""
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
        """Record that a client's update was rejected."""
        self.rejected[client] = one_line(reason)

    def fail(self, client: int, reason: str) -> None:
        """Record that a client sent no update."""
        self.failed[client] = one_line(reason)

    def fail_evaluation(self, client: int, reason: str) -> None:
        """Record that a client's evaluation is missing or was rejected."""
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
            Metrics of the new state; they never replace other keys of the line than ``accuracy`` and ``loss``.
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
        """Return the mean of clients' values, weighted by numbers of examples (capped by `max_examples`)."""
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
    return math.fsum(values) / len(values) if values else None  # fsum, unlike sum, does not depend on the order of replies


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None
