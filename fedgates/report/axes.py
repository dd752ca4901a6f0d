"""Axes: scales and their ticks."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

_MAX_TICKS = 6
_ROOM = 50
"""Least distance of two texts below an axis, in units of the drawing."""
_MIN_SPAN = 0.01
"""Least span of an axis, as a share of its largest value."""
_ZERO = 1e-300
"""Smaller values count as 0."""
_ALL_TICKS = 10
"""Up to this many rounds, each has a tick."""


@dataclass(frozen=True)
class Axis:
    """A map from values to positions on a drawing.

    Attributes
    ----------
    low, high : float
        Values at the ends; above 0 if logarithmic.
    start, stop : float
        Positions of the ends on the drawing.
    ticks : tuple of float
        Values with a mark.
    says : callable
        Returns the text of a value.
    log : bool
        Whether the scale is logarithmic.
    """

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...]
    says: Callable[[float], str]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
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
    """Return an axis that spans `values` and ends at ticks, no higher than `most`; it starts at 0 with `zero`."""
    values = [0.0, *values] if zero else list(values)
    low, high = min(values), max(values)
    room = _MIN_SPAN * max(abs(low), abs(high)) - (high - low)
    if max(abs(low), abs(high)) < _ZERO:
        low, high = (0.0, 1.0) if zero else (-1e-3, 1e-3)
    elif room > 0:  # so that the texts of ticks differ
        high = min(high + room / 2, most)
        low = min(low, high - _MIN_SPAN * abs(high))
    step = next_step((high - low) / (_MAX_TICKS - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(i * step for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, stop, ticks, says)


def whole(values: Iterable[int], start: float, stop: float) -> Axis:
    """Return an axis of rounds, from the first to the last, with ticks at whole numbers."""
    values = list(values)
    low, high = min(values), max(values)
    step = max(1, round(next_step((high - low) / _MAX_TICKS))) if high - low > _ALL_TICKS else 1
    ticks = {low, *range(step * math.ceil(low / step), high + 1, step)}
    crowded = {low} if any(0 < tick - low < 0.6 * step for tick in ticks) and low not in {1, 0} else set()
    ticks = {tick for tick in ticks - crowded if tick == low or tick - low >= 0.6 * step}
    return Axis(
        low - 0.5 * (low == high), high + 0.5 * (low == high), start, stop, tuple(sorted(ticks)), lambda tick: f"{tick:.0f}"
    )


def logarithmic(values: Sequence[float], start: float, stop: float, says: Callable[[float], str]) -> Axis:
    """Return a logarithmic axis that spans `values`, all above 0; ticks at powers of ten, on a short axis also between them."""
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
    """Yield the marks whose texts do not overlap that of the one before."""
    last = -math.inf
    for mark in marks:
        if axis(mark) - last >= _ROOM:
            yield mark
            last = axis(mark)


def next_step(atleast: float) -> float:
    """Return the smallest number of the form 1, 2 or 5 times a power of ten that is at least `atleast`."""
    power = 10.0 ** math.floor(math.log10(atleast))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= atleast * (1 - 1e-9))
