"""What the templates list that is more than a value of the run: failures by reason, and confusions of classes."""

from collections import defaultdict
from collections.abc import Sequence

from fedgates.runs.confusion import Confusion
from fedgates.runs.totals import FAILURES, Line, has_quorum
from fedgates.util.text import one_line

Failure = tuple[str, str, str]
"""A client, the kind of failure (rejected, failed, did not evaluate), and the reason."""
Reason = tuple[tuple[str, str], list[tuple[str, Line]]]
"""Kind and reason of failures, and the client and the attempt of each."""


def failures(lines: Sequence[Line]) -> tuple[list[Reason], list[tuple[Line, list[Failure]]]]:
    """Return the reasons of failures, the most frequent first, and the attempts that had failures with all of theirs."""
    reasons, attempts = defaultdict[tuple[str, str], list[tuple[str, Line]]](list), []
    for line in lines:
        failed = [(client, word, one_line(why)) for key, word in FAILURES for client, why in (line.get(key) or {}).items()]
        attempts += [(line, failed)] if failed else []
        for client, word, why in failed:
            reasons[word, why].append((client, line))
    return sorted(reasons.items(), key=lambda reason: -len(reason[1])), attempts


def attempt(line: Line) -> str:
    """Return the name of a line: its round, and its attempt if there is more than one."""
    number = line.get("attempt", 1)
    return f"round {line['round']}" + (f", attempt {number}" if number > 1 or not has_quorum(line) else "")


def values(line: Line) -> list[tuple[str, object]]:
    """Return the keys of a line that have a single value, and their values."""
    return [(key, value) for key, value in line.items() if not isinstance(value, dict | list)]


def confusions(confusion: Confusion) -> list[tuple[int, int, int]]:
    """Return true class, predicted class and number of examples of each confusion, the most frequent first."""
    rows = enumerate(confusion.counts)
    found = [(i, j, count) for i, row in rows for j, count in enumerate(row) if count and i != j]
    return sorted(found, key=lambda each: -each[2])
