"""Results and costs of one run, and their statistics over the seeds of a group."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean, stdev

from fedgates.compare.runs import Group, Run
from fedgates.compare.study import Question
from fedgates.runs.totals import Line, downlink_bytes

_MEAN = "mean_"


@dataclass(frozen=True)
class Reached:
    """The first round whose metric reaches a target, and the bytes in both directions up to its end."""

    round: int
    bytes: int


@dataclass(frozen=True)
class Numbers:
    """Numbers of one run; None for a number that was not measured.

    Attributes
    ----------
    seed : int
        Seed of the run.
    metric : float, optional
        Value of the compared metric after the last round.
    uplink_bpp, downlink_bpp : float, optional
        Bits per parameter of a message from and to clients that train, averaged over rounds.
    bytes_up, bytes_down : int
        Bytes of all rounds and clients; `bytes_down` includes messages to clients that evaluate.
    reached : dict
        Mapping from target to the first round that reached it, or None.
    columns : dict
        Values of other keys in the last round; keys with the prefix ``mean_`` are averaged over the rounds that have them.
    """

    seed: int
    metric: float | None
    uplink_bpp: float | None
    downlink_bpp: float | None
    bytes_up: int
    bytes_down: int
    reached: dict[float, Reached | None]
    columns: dict[str, float | None]

    @property
    def bytes(self) -> int:
        """Bytes in both directions."""
        return self.bytes_up + self.bytes_down


@dataclass(frozen=True)
class Curve:
    """Values of a key over rounds: mean, minimum and maximum over seeds.

    Attributes
    ----------
    rounds : list of int
        Numbers of the rounds.
    bytes : list of float
        Bytes up to the end of each round, averaged over seeds.
    mean, low, high : list of float
        Mean, minimum and maximum over seeds.
    """

    rounds: list[int]
    bytes: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def measure(run: Run, question: Question, columns: Sequence[str]) -> Numbers:
    """Return the numbers of one run."""
    lines = run.lines
    moved = cumulative_bytes(lines)
    metric = [_value(line, question.metric) for line in lines]
    reached = {}
    for target in question.targets:
        there = (
            i for i, v in enumerate(metric) if v is not None and (v <= target if question.smaller_is_better else v >= target)
        )
        first = next(there, None)
        reached[target] = None if first is None else Reached(lines[first]["round"], moved[first])
    return Numbers(
        seed=run.seed,
        metric=metric[-1],
        uplink_bpp=_mean(_value(line, "uplink_bpp") for line in lines),
        downlink_bpp=_mean(_value(line, "downlink_bpp") for line in lines),
        bytes_up=sum(line["uplink_bytes"] for line in lines),
        bytes_down=sum(downlink_bytes(line) for line in lines),
        reached=reached,
        columns={key: _column(lines, key) for key in columns},
    )


def over_seeds(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Return mean and sample standard deviation of the values that are not None; None if there are too few of them."""
    known = [value for value in values if value is not None]
    return (mean(known) if known else None), (stdev(known) if len(known) > 1 else None)


def worst(values: Iterable[float | None], question: Question) -> float | None:
    """Return the worst of the values that are not None."""
    known = [value for value in values if value is not None]
    pick: Callable[[list[float]], float] = max if question.smaller_is_better else min
    return pick(known) if known else None


def curve(group: Group, key: str) -> Curve:
    """Return the curve of a key over the rounds in which every run of the group has it."""
    moved = [dict(zip((line["round"] for line in run.lines), cumulative_bytes(run.lines), strict=True)) for run in group.runs]
    values = [{line["round"]: v for line in run.lines if (v := _value(line, key)) is not None} for run in group.runs]
    rounds = sorted(set.intersection(*(set(of_run) for of_run in values)))
    at = [[of_run[r] for of_run in values] for r in rounds]
    return Curve(
        rounds,
        [mean(of_run[r] for of_run in moved) for r in rounds],
        [mean(v) for v in at],
        [min(v) for v in at],
        [max(v) for v in at],
    )


def cumulative_bytes(lines: Sequence[Line]) -> list[int]:
    """Return the bytes of all clients in both directions up to the end of each round, including evaluation."""
    return list(accumulate(int(line["uplink_bytes"]) + downlink_bytes(line) for line in lines))


def any_has(groups: Iterable[Group], key: str) -> bool:
    """Return whether any round of any run has a value for a key, whose prefix ``mean_`` is ignored."""
    key = key.removeprefix(_MEAN)
    return any(_value(line, key) is not None for group in groups for run in group.runs for line in run.lines)


def shared_metric(groups: Sequence[Group]) -> str:
    """Return the key of the metric to compare runs by.

    This is the first of ``accuracy`` and ``client_accuracy`` that all groups have, otherwise the first that any group has,
    otherwise ``loss``. Runs with a personal layer have only ``client_accuracy``.
    """
    accuracies = ("accuracy", "client_accuracy")
    by_all = (key for key in accuracies if all(any_has([group], key) for group in groups))
    by_any = (key for key in accuracies if any_has(groups, key))
    return next(by_all, next(by_any, "loss"))


def _column(lines: Sequence[Line], key: str) -> float | None:
    if key.startswith(_MEAN):
        return _mean(_value(line, key.removeprefix(_MEAN)) for line in lines)
    return _value(lines[-1], key)


def _value(line: Line, key: str) -> float | None:
    """Return the value of a key if it is a finite number, otherwise None."""
    value = line.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _mean(values: Iterable[float | None]) -> float | None:
    return over_seeds(values)[0]
