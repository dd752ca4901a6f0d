"""The time left of runs, estimated from the durations of their rounds: for log lines, progress bars and views."""

from collections.abc import Hashable, Mapping, Sequence
from statistics import median
from typing import TypeVar

Run = TypeVar("Run", bound=Hashable)

_LAST = 9
"""Rounds that an estimate follows."""


def round_seconds(seconds: Sequence[float]) -> float:
    """Return the seconds of a further round: the median of the last nine.

    The first round includes the start of processes and the loading of data: it counts only while there is no other.
    """
    return median(seconds[1:][-_LAST:] or seconds)


def time_left(seconds: Sequence[float], rounds: int) -> str:
    """Return the time left as in a log line, such as ``3:50 left``; of a first round, ``3:50 left, start included``.

    Parameters
    ----------
    seconds : sequence of float
        Durations of the rounds so far, at least one.
    rounds : int
        Number of rounds left.
    """
    left = duration(round_seconds(seconds) * rounds)
    return f"{left} left, start included" if len(seconds) == 1 and rounds else f"{left} left"


def time_left_of_runs(runs: Mapping[Run, Sequence[float]], rounds: Mapping[Run, int], workers: int) -> str:
    """Return the time left of several runs, `workers` at a time; ``-`` before the first round has ended.

    Parameters
    ----------
    runs : mapping
        The durations of the rounds of each run so far.
    rounds : mapping
        The number of rounds left of each run; a run that has not begun is taken to be as fast as the others are in the median.
    """
    known = {run: round_seconds(seconds) for run, seconds in runs.items() if seconds}
    if not known:
        return "- left"
    usual = median(known.values())
    left = [known.get(run, usual) * number for run, number in rounds.items() if number]
    # no faster than one run after the other on each worker, and no faster than the longest run
    seconds = max(sum(left) / workers, max(left, default=0.0))
    started = all(len(seconds) == 1 for seconds in runs.values() if seconds)
    return f"{duration(seconds)} left, start included" if started and left else f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return seconds as ``h:mm:ss`` or ``m:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
