"""The rows of the page's tables and lists, as text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedgates.report import numbers
from fedgates.report.run_data import RunData
from fedgates.runs.confusion import Confusion
from fedgates.runs.totals import DIRECTIONS, FAILURES, Line, downlink_bytes, format_number, has_quorum, payload_kinds
from fedgates.util.text import one_line

Failure = tuple[str, str, str]
"""A client, the kind of failure (rejected, failed, did not evaluate), and the reason."""
OWN = "own_class_accuracy"
_DEVICE_METRICS = {"examples": "examples", "accuracy": "accuracy", OWN: "accuracy among own classes", "loss": "loss"}


@dataclass
class Reason:
    """A reason of failures, and how frequent it is."""

    word: str
    why: str
    replies: int = 0
    clients: set[str] = field(default_factory=set)
    last: str = ""
    """Name of the last attempt with this reason."""


def attempt(line: Line) -> str:
    """Return the name of a line: its round, and its attempt if there is more than one."""
    number = line.get("attempt", 1)
    return f"round {line['round']}" + (f", attempt {number}" if number > 1 or not has_quorum(line) else "")


def failures(lines: Sequence[Line]) -> tuple[list[Reason], list[tuple[Line, list[Failure]]]]:
    """Return the reasons of failures, the most frequent first, and the attempts that had failures with all of theirs."""
    reasons: dict[tuple[str, str], Reason] = {}
    attempts = [
        (line, [(client, word, one_line(why)) for key, word in FAILURES for client, why in (line.get(key) or {}).items()])
        for line in lines
    ]
    for line, failed in attempts:
        for client, word, why in failed:
            reason = reasons.setdefault((word, why), Reason(word, why))
            reason.replies += 1
            reason.clients.add(client)
            reason.last = attempt(line)
    ordered = sorted(reasons.values(), key=lambda reason: -reason.replies)
    return ordered, [(line, failed) for line, failed in attempts if failed]


def rounds(run: RunData, lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of rounds, with the columns of which some line has a value."""
    cells: dict[str, Callable[[Line], str]] = {
        "round": lambda line: attempt(line).removeprefix("round "),
        run.metric.word: lambda line: run.metric.format(line.get(run.metric.key) if has_quorum(line) else None),
        "loss": lambda line: format_number(line["loss"] if has_quorum(line) else None),
        "density": lambda line: "–" if line["density"] is None else numbers.percent(line["density"]),  # noqa: RUF001
        "up": lambda line: numbers.size(line["uplink_bytes"]),
        "down": lambda line: numbers.size(downlink_bytes(line)),
        "accepted": lambda line: f"{line['clients_counted']} of {line['clients_selected']}",
        "time": lambda line: numbers.duration(line["seconds"]),
    }
    shown = [name for name in cells if name not in {"loss", "density"} or any(line[name] is not None for line in lines)]
    return shown, [[cells[name](line) for name in shown] for line in lines]


def values(line: Line) -> list[tuple[str, str]]:
    """Return every key of a line that has a single value, and the value."""
    return [(one_line(key, 60), numbers.plain(value)) for key, value in line.items() if not isinstance(value, dict | list)]


def payloads(run: RunData) -> list[list[str]]:
    """Return the rows of the table of payloads: kind, messages, total, mean and bits per parameter."""
    rows = []
    for kind in payload_kinds(run.lines):
        bpp = f"{8 * kind.total / (kind.messages * run.size):.3f}" if run.size else "–"  # noqa: RUF001
        name = f"{dict(DIRECTIONS)[kind.direction]}: {one_line(kind.name, 60)}"
        rows.append([name, f"{kind.messages:,}", numbers.size(kind.total), numbers.size(kind.total / kind.messages), bpp])
    return rows


def all_have(lines: Sequence[Line], key: str) -> bool:
    """Return whether every evaluation by a client has a metric."""
    return all(key in one for line in lines for one in line["client_evaluations"].values())


def devices(evaluations: Mapping[str, Mapping[str, Any]], key: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of devices, the worst by a metric first."""
    order = sorted(evaluations, key=lambda device: evaluations[device][key], reverse=key == "loss")
    keys = [k for k in _DEVICE_METRICS if any(k in one for one in evaluations.values())]
    rows = [
        [f"client {one_line(device, 40)}", *(_device_value(k, evaluations[device].get(k)) for k in keys)] for device in order
    ]
    return ["device", *(_DEVICE_METRICS[k] for k in keys)], rows


def _device_value(key: str, value: float | None) -> str:
    if value is None or key == "loss":
        return format_number(value)
    return numbers.percent(value) if "accuracy" in key else f"{value:,}"


@dataclass(frozen=True)
class ClassRow:
    """A class of the test set: its accuracy, and the predictions of its examples."""

    name: str
    examples: int
    accuracy: float
    shares: Sequence[float]
    """Share of the class's examples that are predicted as each class."""
    counts: Sequence[int]


def classes(confusion: Confusion) -> list[ClassRow]:
    """Return the classes in the order of their labels; the accuracy of a class without examples is 0."""
    rows = []
    for i, (name, counts) in enumerate(zip(confusion.classes, confusion.counts, strict=True)):
        total = sum(counts)
        shares = [count / (total or 1) for count in counts]
        rows.append(ClassRow(one_line(name, 40), total, shares[i], shares, counts))
    return rows


def confusions(rows: Sequence[ClassRow]) -> Iterator[tuple[str, str, int, float]]:
    """Yield true class, predicted class, examples and share of the true class of each confusion, frequent ones first."""
    found = [(i, j, count) for i, row in enumerate(rows) for j, count in enumerate(row.counts) if count and i != j]
    for i, j, count in sorted(found, key=lambda each: -each[2]):
        yield rows[i].name, rows[j].name, count, rows[i].shares[j]
