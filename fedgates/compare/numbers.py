"""What runs reached and what they cost: numbers of one run, and over the seeds of a group."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean, stdev

from fedgates.compare.runs import Group, Line, Run
from fedgates.compare.study import Question

_MEAN = "mean_"


@dataclass(frozen=True)
class Reached:
    """The first round whose metric is at least (of a loss: at most) a target, and all bytes up to its end, both ways."""

    round: int
    bytes: int


@dataclass(frozen=True)
class Numbers:
    """One run. What it did not measure is None.

    Attributes
    ----------
    metric : float, optional
        After the last round.
    uplink_bpp, downlink_bpp : float, optional
        Bits a parameter and message from clients that train, and to them; mean over rounds.
    bytes_up, bytes_down : int
        Of all rounds and clients; down with what those that evaluate were sent.
    reached : dict
        Target to where it was reached.
    columns : dict
        Further keys of the last round; a key after ``mean_`` is averaged over the rounds that have it.
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
        """Both ways."""
        return self.bytes_up + self.bytes_down


@dataclass(frozen=True)
class Curve:
    """A key of the ledger over rounds: mean, smallest and largest over seeds, at rounds and at mean bytes moved until then."""

    rounds: list[int]
    bytes: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def measure(run: Run, question: Question, columns: Sequence[str]) -> Numbers:
    """The numbers of one run."""
    lines = run.lines
    moved = total_bytes(lines)
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
        bytes_down=sum(_down(line) for line in lines),
        reached=reached,
        columns={key: _column(lines, key) for key in columns},
    )


def over_seeds(found: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean, and sample standard deviation (None of fewer than two), of the values that there are."""
    values = [value for value in found if value is not None]
    return (mean(values) if values else None), (stdev(values) if len(values) > 1 else None)


def worst(found: Iterable[float | None], question: Question) -> float | None:
    """The worst metric of those that there are."""
    values = [value for value in found if value is not None]
    pick: Callable[[list[float]], float] = max if question.smaller_is_better else min
    return pick(values) if values else None


def curve(group: Group, key: str) -> Curve:
    """A key over the rounds in which every run of the group has it."""
    moved = [dict(zip((line["round"] for line in run.lines), total_bytes(run.lines), strict=True)) for run in group.runs]
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


def total_bytes(lines: Sequence[Line]) -> list[int]:
    """Bytes of all clients both ways from the first round to the end of each; those to clients that evaluate, too."""
    return list(accumulate(int(line["uplink_bytes"]) + _down(line) for line in lines))


def has(groups: Iterable[Group], key: str) -> bool:
    """Whether any round of any run has a value of a key, or of the one after ``mean_``."""
    key = key.removeprefix(_MEAN)
    return any(_value(line, key) is not None for group in groups for run in group.runs for line in run.lines)


def _column(lines: Sequence[Line], key: str) -> float | None:
    if key.startswith(_MEAN):
        return _mean(_value(line, key.removeprefix(_MEAN)) for line in lines)
    return _value(lines[-1], key)


def _down(line: Line) -> int:
    return int(line["downlink_bytes"] + line.get("evaluation_downlink_bytes", 0))


def _value(line: Line, key: str) -> float | None:
    """A number; None where it is missing, null, or no number at all."""
    found = line.get(key)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        return None
    return float(found)


def _mean(found: Iterable[float | None]) -> float | None:
    return over_seeds(found)[0]
