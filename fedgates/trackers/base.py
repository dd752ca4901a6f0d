"""What a tracker is, and what it is given."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedgates.runs.totals import Line
from fedgates.types import Value

PROJECT = "fedgates"
"""What runs stand under, where nothing else is said."""


@dataclass(frozen=True)
class Run:
    """The run that a tracker is to follow."""

    folder: Path
    config: Mapping[str, Value]
    first_round: int
    """The one that is told next."""
    resumed: bool
    """Whether the run was told before, up to some round; what was told of `first_round` and later ones is void."""
    where: str
    """What stands after the tracker's name and "=" in `trackers`; empty without."""


class Tracker(Protocol):
    """What "module:Class" in `trackers` names is a class of these, built from a :class:`Run`."""

    def tell(self, line: Line) -> None:
        """A round has ended: its line of ``rounds.jsonl``, and ``megabytes``, all that the run has moved so far, both ways."""

    def close(self, *, finished: bool) -> None:
        """The run has ended; early, if not `finished`."""


def numbers(line: Line) -> dict[str, float]:
    """The figures of a line that can be drawn over rounds."""
    told = {key: value for key, value in line.items() if type(value) in (int, float) and key not in ("round", "attempt")}
    return {key: float(value) for key, value in told.items() if math.isfinite(value)}


def without_secrets(text: str) -> str:
    """The text, with addresses that have a name or a password in them shown without."""
    return re.sub(r"//[^/@\s]*@", "//", text)
