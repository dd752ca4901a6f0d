"""The protocol of trackers, and the description of a run that they get."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedgates.runs.totals import Line
from fedgates.types import Value

PROJECT = "fedgates"
"""Default name of the project or experiment."""


@dataclass(frozen=True)
class Run:
    """Description of a run for a tracker."""

    folder: Path
    """The run's folder."""
    config: Mapping[str, Value]
    """The configuration, with keys in kebab-case."""
    first_round: int
    """The first round that will be logged."""
    resumed: bool
    """Whether the run is resumed; entries logged earlier for `first_round` or later are obsolete."""
    where: str
    """The text after the tracker's name and "=" in `trackers`; may be empty."""


class Tracker(Protocol):
    """Protocol of trackers; the class, or "module:Class" in `trackers`, is called with a :class:`Run`."""

    def log(self, line: Line) -> None:
        """Log a round: its line of ``rounds.jsonl``, with ``megabytes`` in both directions since the start of the run."""

    def close(self, *, finished: bool) -> None:
        """End the run; `finished` is False if it ended early."""


def numbers(line: Line) -> dict[str, float]:
    """Return the finite numbers in a line, except the round and the attempt."""
    values = {key: value for key, value in line.items() if type(value) in (int, float) and key not in ("round", "attempt")}
    return {key: float(value) for key, value in values.items() if math.isfinite(value)}
