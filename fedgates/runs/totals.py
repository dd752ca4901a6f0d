"""Numbers computed from lines of ``rounds.jsonl``: bytes, bytes of dense FedAvg, headline metric, and network size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fedgates.util.text import one_line

Line = Mapping[str, Any]
DIRECTIONS = (("uplink", "up"), ("downlink", "down"), ("evaluation_downlink", "to evaluate"))
"""Keys of a line with payloads, and their names in tables."""
_FAILURES = (("rejected", "rejected"), ("failed", "failed"), ("evaluation_failed", "did not evaluate"))
"""Keys of a line with reasons by client, and their names in tables."""
_MAX_SIZE = 1e12
"""Largest plausible number of parameters; a log that implies more is damaged."""


@dataclass(frozen=True)
class TotalBytes:
    """Bytes of payloads, and of dense float32 FedAvg for as many messages (4 per parameter; 0 if d is unknown)."""

    up: int
    down: int
    dense_up: int
    dense_down: int

    @property
    def both(self) -> int:
        """Bytes in both directions."""
        return self.up + self.down

    @property
    def dense(self) -> int:
        """Bytes of dense FedAvg in both directions."""
        return self.dense_up + self.dense_down


def total_bytes(lines: Iterable[Line], size: int) -> TotalBytes:
    """Return the bytes of all attempts at all rounds, for a network with `size` parameters."""
    lines = list(lines)
    replies = sum(line["clients_counted"] + line["clients_rejected"] for line in lines)
    messages = sum(line["clients_selected"] + line.get("clients_evaluating", 0) for line in lines)
    return TotalBytes(
        up=sum(line["uplink_bytes"] for line in lines),
        down=sum(downlink_bytes(line) for line in lines),
        dense_up=4 * size * replies,
        dense_down=4 * size * messages,
    )


def downlink_bytes(line: Line) -> int:
    """Return the bytes sent to clients in an attempt, for training and evaluation."""
    return int(line["downlink_bytes"]) + int(line.get("evaluation_downlink_bytes", 0))


def has_quorum(line: Line) -> bool:
    """Return whether an attempt had a quorum and changed the state."""
    return bool(line.get("quorum", True))


class Failure(NamedTuple):
    """A client that was rejected, failed or did not evaluate, and the reason."""

    client: str
    kind: str
    reason: str


def failures(line: Line) -> list[Failure]:
    """Return the failures in an attempt."""
    return [Failure(client, kind, one_line(why)) for key, kind in _FAILURES for client, why in (line.get(key) or {}).items()]


def network_size(lines: Iterable[Line]) -> int:
    """Return the number of parameters d, solved from ``bpp = 8 * bytes / (messages * d)``; 0 if unknown."""
    for line in lines:
        for direction in ("downlink", "uplink"):
            rate = line.get(f"{direction}_bpp")
            messages = sum(of_kind["messages"] for of_kind in line.get(direction, {}).values())
            size: float = 8 * line[f"{direction}_bytes"] / (messages * rate) if rate and messages else 0
            if 0 < size < _MAX_SIZE:
                return round(size)
    return 0


def format_number(value: float | None) -> str:
    """Return a number with three decimals, in scientific notation from a million on; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1e6 else f"{value:.3g}"


@dataclass(frozen=True)
class Metric:
    """Headline metric of a run or round."""

    key: str
    name: str
    word: str
    """Name in the terminal."""
    is_share: bool = False
    """Whether values are in [0, 1] and shown in percent."""

    @property
    def smaller_is_better(self) -> bool:
        """Whether the metric is a loss."""
        return is_loss(self.key)

    def format(self, value: float | None) -> str:
        """Return a value as text; a dash for None."""
        return f"{100 * value:.1f} %" if self.is_share and value is not None else format_number(value)


def is_loss(key: str) -> bool:
    """Return whether a key of ``rounds.jsonl`` is a loss, so that lower is better."""
    return key.endswith("loss")


_ACCURACY = Metric("accuracy", "Test accuracy", "accuracy", is_share=True)
_EVALUATIONS = (
    Metric("r2", "Test r2", "r2"),
    _ACCURACY,
    Metric("client_accuracy", "Accuracy on devices' held-out examples", "devices' accuracy", is_share=True),
    Metric("loss", "Test loss", "loss"),
    Metric("client_loss", "Loss on devices' held-out examples", "devices' loss"),
)
"""Metrics of a state, in order of preference."""
_TRAINING = Metric("train_loss", "Training loss of the clients", "training loss")


def evaluation_metric(lines: Iterable[Line]) -> Metric | None:
    """Return the first metric in the lines of r2, accuracy, devices' accuracy, and a loss; None without an evaluation."""
    return _measured(_EVALUATIONS, lines)


def headline_metric(lines: Iterable[Line]) -> Metric:
    """Return the metric of the evaluations; without evaluations the training loss, and without any metric accuracy."""
    return _measured((*_EVALUATIONS, _TRAINING), lines) or _ACCURACY


def last_value(lines: Sequence[Line], metric: Metric) -> float | None:
    """Return the metric's value in the last round that has one (not every round is evaluated); None if no round has."""
    return next((line[metric.key] for line in reversed(lines) if line.get(metric.key) is not None), None)


def _measured(metrics: Iterable[Metric], lines: Iterable[Line]) -> Metric | None:
    lines = list(lines)
    return next((metric for metric in metrics if any(line.get(metric.key) is not None for line in lines)), None)


@dataclass(frozen=True)
class PayloadKind:
    """Totals of all payloads of one kind in one direction."""

    direction: str
    """A key of :data:`DIRECTIONS`."""
    name: str
    messages: int
    total: int
    """Bytes."""


def payload_kinds(lines: Iterable[Line]) -> list[PayloadKind]:
    """Return the kinds of payloads, ordered by direction, then by descending bytes."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for line in lines:
        for direction, _ in DIRECTIONS:
            for name, of_kind in line.get(direction, {}).items():
                messages, total = sums.get((direction, name), (0, 0))
                sums[direction, name] = messages + of_kind["messages"], total + of_kind["bytes"]
    order = [direction for direction, _ in DIRECTIONS]
    kinds = [PayloadKind(direction, name, messages, total) for (direction, name), (messages, total) in sums.items()]
    return sorted(kinds, key=lambda kind: (order.index(kind.direction), -kind.total, kind.name))
