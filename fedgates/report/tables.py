"""Contents of tables and lists that are computed: layers of a model, failures by reason, confusions of classes."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from fedgates.model_file import Contents
from fedgates.runs import totals
from fedgates.runs.confusion import Confusion
from fedgates.runs.totals import Failure, Line, has_quorum


class Layer(NamedTuple):
    """A layer of a model that has weights: its parameters, and those that are not zero."""

    name: str
    kind: str
    parameters: int
    kept: int


def layers(model: Contents) -> list[Layer]:
    """Return the layers of a model that have weights; weight and bias are one layer."""
    found = []
    for name, group in groupby(model.kept, key=lambda each: each[0].name.rpartition(".")[0]):
        parameters, kept = zip(*group, strict=True)
        found.append(Layer(name or "network", parameters[-1].kind, sum(one.size for one in parameters), sum(kept)))
    return found


def model_round(model: Contents | None) -> int | None:
    """Return the round after which a model was written; None if unknown."""
    number = model.facts.training.get("rounds") if model else None
    return number if type(number) is int else None


Reason = tuple[tuple[str, str], list[tuple[str, Line]]]
"""Kind and reason of failures, and the client and the attempt of each."""


def failures(lines: Sequence[Line]) -> tuple[list[Reason], list[tuple[Line, list[Failure]]]]:
    """Return the reasons of failures, the most frequent first, and the attempts that had failures with all of theirs."""
    attempts = [(line, failed) for line in lines if (failed := totals.failures(line))]
    reasons = defaultdict[tuple[str, str], list[tuple[str, Line]]](list)
    for line, failed in attempts:
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
