"""Estimates of the time left of runs from the durations of their rounds."""

from collections.abc import Hashable, Mapping, Sequence
from statistics import median
from typing import TypeVar

from fedgates.runs.totals import Line

Run = TypeVar("Run", bound=Hashable)

_RECENT, _LAST = 100, 9
"""Numbers of recent rounds used: all rounds for the share of evaluated ones, and rounds of each kind for their duration."""


def round_seconds(lines: Sequence[Line]) -> float:
    """Return the expected duration of another round, in seconds.

    Rounds with and without an evaluation (`evaluate-every`) are weighted by their shares among the last hundred rounds; the
    duration of each kind is the median of its last nine. The first round includes loading of data and libraries and is used
    only if there is no other.
    """
    known = (lines[1:] or lines)[-_RECENT:]
    kinds: dict[bool, list[float]] = {}
    for line in known:
        evaluated = line.get("loss") is not None or line.get("client_loss") is not None
        kinds.setdefault(evaluated, []).append(line["seconds"])
    return sum(len(seconds) * median(seconds[-_LAST:]) for seconds in kinds.values()) / len(known)


def time_left(lines: Sequence[Line], rounds: int) -> str:
    """Return the time left as text, such as ``3:50 left``, or ``3:50 left, start included`` after the first round.

    Parameters
    ----------
    lines : sequence of mapping
        Lines of ``rounds.jsonl`` so far, at least one.
    rounds : int
        Number of rounds left.
    """
    left = duration(round_seconds(lines) * rounds)
    return f"{left} left, start included" if len(lines) == 1 and rounds else f"{left} left"


def time_left_of_runs(runs: Mapping[Run, Sequence[Line]], rounds: Mapping[Run, int], workers: int) -> str:
    """Return the time left of several runs as text; ``- left`` before the first round has ended.

    Parameters
    ----------
    runs : mapping
        Lines of each run so far.
    rounds : mapping
        Number of rounds left for each run. The median round of the other runs is used for runs without lines.
    workers : int
        Number of runs executed in parallel.
    """
    known = {run: round_seconds(lines) for run, lines in runs.items() if lines}
    if not known:
        return "- left"
    usual = median(known.values())
    left = [known.get(run, usual) * number for run, number in rounds.items() if number]
    # lower bounds: equal work for all workers, and the longest run
    seconds = max(sum(left) / workers, max(left, default=0.0))
    started = all(len(lines) == 1 for lines in runs.values() if lines)
    return f"{duration(seconds)} left, start included" if started and left else f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return seconds as ``h:mm:ss`` or ``m:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
