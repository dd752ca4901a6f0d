"""Scales and their ticks."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

_MOST_TICKS = 6
_ROOM = 50
"""Units of the drawing between two texts below an axis."""
_LEAST = 0.01
"""What an axis spans at least, as a share of its largest value."""
_NOTHING = 1e-300
"""Below this, a value is 0."""
_EVERY = 10
"""Rounds of which each has its tick."""


@dataclass(frozen=True)
class Axis:
    """From values to places on a drawing.

    Attributes
    ----------
    low, high : float
        The values at its ends; above 0 where it is logarithmic.
    start, stop : float
        Where on the drawing the ends are.
    ticks : tuple of float
        Values worth a mark.
    says : callable
        A value's text.
    log : bool
        Whether equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...]
    says: Callable[[float], str]
    log: bool = False

    def __call__(self, value: float) -> float:
        """A value's place."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def linear(
    values: Iterable[float],
    start: float,
    stop: float,
    says: Callable[[float], str],
    *,
    zero: bool = False,
    most: float = math.inf,
) -> Axis:
    """An axis whose ends are ticks, around `values`, which are at most `most`; from 0 with `zero`."""
    values = [0.0, *values] if zero else list(values)
    low, high = min(values), max(values)
    room = _LEAST * max(abs(low), abs(high)) - (high - low)
    if max(abs(low), abs(high)) < _NOTHING:
        low, high = (0.0, 1.0) if zero else (-1e-3, 1e-3)
    elif room > 0:  # so that the ticks' texts differ
        high = min(high + room / 2, most)
        low = min(low, high - _LEAST * abs(high))
    step = next_step((high - low) / (_MOST_TICKS - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(i * step for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, stop, ticks, says)


def whole(values: Iterable[int], start: float, stop: float) -> Axis:
    """An axis of rounds: it ends where they end, and whole numbers alone are ticks."""
    values = list(values)
    low, high = min(values), max(values)
    step = max(1, round(next_step((high - low) / _MOST_TICKS))) if high - low > _EVERY else 1
    ticks = {low, *range(step * math.ceil(low / step), high + 1, step)}
    crowded = {low} if any(0 < tick - low < 0.6 * step for tick in ticks) and low not in {1, 0} else set()
    ticks = {tick for tick in ticks - crowded if tick == low or tick - low >= 0.6 * step}
    return Axis(
        low - 0.5 * (low == high), high + 0.5 * (low == high), start, stop, tuple(sorted(ticks)), lambda tick: f"{tick:.0f}"
    )


def logarithmic(values: Sequence[float], start: float, stop: float, says: Callable[[float], str]) -> Axis:
    """An axis that just holds `values`, all above 0; ticks at powers of ten, and between them where it is short."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low / 2, high * 2
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    axis = Axis(low, high, start, stop, (), says, log=True)
    for steps in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        marks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(marks) >= 3:
            break
    return replace(axis, ticks=tuple(_apart(axis, marks or [low])))


def _apart(axis: Axis, marks: Iterable[float]) -> Iterator[float]:
    """Those whose texts do not touch."""
    last = -math.inf
    for mark in marks:
        if axis(mark) - last >= _ROOM:
            yield mark
            last = axis(mark)


def next_step(atleast: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... (and their tenths)."""
    power = 10.0 ** math.floor(math.log10(atleast))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= atleast * (1 - 1e-9))
