"""What a run moved and what it reached: the arithmetic of :func:`fedgates.runs.summary.summary`, as numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]
DIRECTIONS = (("uplink", "up"), ("downlink", "down"), ("evaluation_downlink", "to evaluate"))
"""Keys of a line that hold what travelled, and what they are called."""
WRONG = (("rejected", "rejected"), ("failed", "failed"), ("evaluation_failed", "did not evaluate"))
"""Keys of a line that say what went wrong with which client, and what that is called."""
_LARGEST = 1e12
"""Parameters; a ledger that implies more is damaged."""


@dataclass(frozen=True)
class Moved:
    """Bytes of payloads, and what dense float32 FedAvg would move for as many messages: 4 a parameter. 0 where d is unknown."""

    up: int
    down: int
    dense_up: int
    dense_down: int

    @property
    def both(self) -> int:
        """Both ways."""
        return self.up + self.down

    @property
    def dense(self) -> int:
        """Dense FedAvg's, both ways."""
        return self.dense_up + self.dense_down


def moved(lines: Iterable[Line], size: int) -> Moved:
    """Sums over all attempts of all rounds, of a network with `size` parameters."""
    lines = list(lines)
    replies = sum(line["clients_counted"] + line["clients_rejected"] for line in lines)
    messages = sum(line["clients_selected"] + line.get("clients_evaluating", 0) for line in lines)
    return Moved(
        up=sum(line["uplink_bytes"] for line in lines),
        down=sum(sent_down(line) for line in lines),
        dense_up=4 * size * replies,
        dense_down=4 * size * messages,
    )


def sent_down(line: Line) -> int:
    """All that a round sent down, to those that trained and to those that evaluated."""
    return int(line["downlink_bytes"]) + int(line.get("evaluation_downlink_bytes", 0))


def parameters(lines: Iterable[Line]) -> int:
    """The network's size d, which a ledger implies: bits per parameter are ``8 * bytes / (messages * d)``. 0 if none says."""
    for line in lines:
        for way in ("downlink", "uplink"):
            rate = line.get(f"{way}_bpp")
            messages = sum(of_sort["messages"] for of_sort in line.get(way, {}).values())
            size: float = 8 * line[f"{way}_bytes"] / (messages * rate) if rate and messages else 0
            if 0 < size < _LARGEST:
                return round(size)
    return 0


def number(value: float | None) -> str:
    """With three digits behind the point; large ones, of a run that diverged, with an exponent; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1e6 else f"{value:.3g}"


@dataclass(frozen=True)
class Metric:
    """What a run is first of all judged by."""

    key: str
    name: str
    word: str
    """The name in a line of a terminal."""
    is_share: bool = False
    """Of 1, so that it is read as percent."""

    def told(self, value: float | None) -> str:
        """A value as a person reads it, or a dash."""
        return f"{100 * value:.1f} %" if self.is_share and value is not None else number(value)


_ACCURACY = Metric("accuracy", "Test accuracy", "accuracy", is_share=True)
_BY_PREFERENCE = (
    Metric("r2", "Test r2", "r2"),
    _ACCURACY,
    Metric("client_accuracy", "Accuracy on devices' held-out images", "devices' accuracy", is_share=True),
    Metric("loss", "Test loss", "loss"),
    Metric("client_loss", "Loss on devices' held-out images", "devices' loss"),
    Metric("train_loss", "Training loss of the clients", "training loss"),
)


def metric(lines: Iterable[Line]) -> Metric:
    """Accuracy, for regression r2; without test data the devices'; without either what else was measured."""
    lines = list(lines)
    return next((m for m in _BY_PREFERENCE if any(line.get(m.key) is not None for line in lines)), _ACCURACY)


@dataclass(frozen=True)
class Sort:
    """One sort of payload in one direction."""

    way: str
    name: str
    messages: int
    total: int


def sorts(lines: Iterable[Line]) -> list[Sort]:
    """What travelled, for each direction the sort with the most bytes first."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for line in lines:
        for key, _ in DIRECTIONS:
            for name, of_sort in line.get(key, {}).items():
                messages, total = found.get((key, name), (0, 0))
                found[key, name] = messages + of_sort["messages"], total + of_sort["bytes"]
    order = [key for key, _ in DIRECTIONS]
    every = [Sort(key, name, messages, total) for (key, name), (messages, total) in found.items()]
    return sorted(every, key=lambda sort: (order.index(sort.way), -sort.total, sort.name))
