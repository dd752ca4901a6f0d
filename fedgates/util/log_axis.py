"""A logarithmic axis with plain numbers, for figures against bytes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NARROW, _WIDE = 5, 30
"""Ratios of an axis's limits: below the first, ticks are round numbers at equal steps; below the second, 1, 2 and 5."""


def log_x(panel: "Axes") -> None:
    """Make the x axis logarithmic, after drawing, with tick labels for any range that do not overlap."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter  # noqa: PLC0415  # takes half a second

    panel.set_xscale("log")
    low, high = panel.get_xlim()
    axis = panel.xaxis
    if high < _NARROW * low:
        axis.set_major_locator(MaxNLocator(4))
    elif high < _WIDE * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
