"""The protocol of a tracker, and what a tracker is built from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedgates.runs.totals import Line
from fedgates.types import Value

PROJECT = "fedgates"
"""The default project or experiment of runs."""


@dataclass(frozen=True)
class Run:
    """The run that a tracker receives."""

    folder: Path
    config: Mapping[str, Value]
    """The configuration, kebab-case."""
    first_round: int
    """The first round that will be logged."""
    resumed: bool
    """Whether earlier rounds were logged before; anything logged of `first_round` and later ones is void."""
    where: str
    """The text after the tracker's name and "=" in `trackers`; may be empty."""


class Tracker(Protocol):
    """A tracker. "module:Class" in `trackers` names a class of these; it is called with a :class:`Run`."""

    def log(self, line: Line) -> None:
        """Log a round: its line of ``rounds.jsonl``, and ``megabytes``, the total of the run so far, both ways."""

    def close(self, *, finished: bool) -> None:
        """End the run; `finished` is false if it ended early."""


def numbers(line: Line) -> dict[str, float]:
    """Return the finite numbers of a line, without the round and the attempt."""
    values = {key: value for key, value in line.items() if type(value) in (int, float) and key not in ("round", "attempt")}
    return {key: float(value) for key, value in values.items() if math.isfinite(value)}
