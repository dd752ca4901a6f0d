"""What the templates list that is more than a value of the run: failures by reason, and confusions of classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedgates.runs.confusion import Confusion
from fedgates.runs.totals import FAILURES, Line, has_quorum
from fedgates.util.text import one_line

Failure = tuple[str, str, str]
"""A client, the kind of failure (rejected, failed, did not evaluate), and the reason."""


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
    attempts = []
    for line in lines:
        failed = [(client, word, one_line(why)) for key, word in FAILURES for client, why in (line.get(key) or {}).items()]
        attempts += [(line, failed)] if failed else []
        for client, word, why in failed:
            reason = reasons.setdefault((word, why), Reason(word, why))
            reason.replies += 1
            reason.clients.add(client)
            reason.last = attempt(line)
    return sorted(reasons.values(), key=lambda reason: -reason.replies), attempts


def values(line: Line) -> list[tuple[str, object]]:
    """Return the keys of a line that have a single value, and their values."""
    return [(key, value) for key, value in line.items() if not isinstance(value, dict | list)]


def confusions(confusion: Confusion) -> list[tuple[int, int, int]]:
    """Return true class, predicted class and number of examples of each confusion, the most frequent first."""
    rows = enumerate(confusion.counts)
    found = [(i, j, count) for i, row in rows for j, count in enumerate(row) if count and i != j]
    return sorted(found, key=lambda each: -each[2])
