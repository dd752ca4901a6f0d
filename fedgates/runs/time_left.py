"""The time left of runs, estimated from the durations of their rounds: for log lines, progress bars and views."""

from collections.abc import Hashable, Mapping, Sequence
from statistics import median
from typing import TypeVar

from fedgates.runs.totals import Line

Run = TypeVar("Run", bound=Hashable)

_RECENT, _LAST = 100, 9
"""Rounds that an estimate follows: of both kinds for their shares, and of each kind for their durations."""


def round_seconds(lines: Sequence[Line]) -> float:
    """Return the expected seconds of a further round.

    Rounds with and without an evaluation (`evaluate-every`) are expected as often as among the last hundred, and to take as
    long as the last nine of their kind in the median. The first round includes the loading of data and of libraries: it counts
    only while there is no other.
    """
    known = (lines[1:] or lines)[-_RECENT:]
    kinds: dict[bool, list[float]] = {}
    for line in known:
        evaluated = line.get("loss") is not None or line.get("client_loss") is not None
        kinds.setdefault(evaluated, []).append(line["seconds"])
    return sum(len(seconds) * median(seconds[-_LAST:]) for seconds in kinds.values()) / len(known)


def time_left(lines: Sequence[Line], rounds: int) -> str:
    """Return the time left as in a log line, such as ``3:50 left``; of a first round, ``3:50 left, start included``.

    Parameters
    ----------
    lines : sequence of mapping
        The rounds so far, at least one.
    rounds : int
        Number of rounds left.
    """
    left = duration(round_seconds(lines) * rounds)
    return f"{left} left, start included" if len(lines) == 1 and rounds else f"{left} left"


def time_left_of_runs(runs: Mapping[Run, Sequence[Line]], rounds: Mapping[Run, int], workers: int) -> str:
    """Return the time left of several runs, `workers` at a time; ``-`` before the first round has ended.

    Parameters
    ----------
    runs : mapping
        The rounds of each run so far.
    rounds : mapping
        The number of rounds left of each run; a run that has not begun is taken to be as fast as the others are in the median.
    """
    known = {run: round_seconds(lines) for run, lines in runs.items() if lines}
    if not known:
        return "- left"
    usual = median(known.values())
    left = [known.get(run, usual) * number for run, number in rounds.items() if number]
    # no faster than one run after the other on each worker, and no faster than the longest run
    seconds = max(sum(left) / workers, max(left, default=0.0))
    started = all(len(lines) == 1 for lines in runs.values() if lines)
    return f"{duration(seconds)} left, start included" if started and left else f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return seconds as ``h:mm:ss`` or ``m:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
