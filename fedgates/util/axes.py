"""Style and x axes of figures: rounds, and bytes on a logarithmic scale with plain numbers."""

from contextlib import AbstractContextManager
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NARROW, _WIDE = 5, 30
"""Ratios of the upper to the lower limit: below the first, ticks are evenly spaced; below the second, at 1, 2 and 5."""


def figure_style() -> AbstractContextManager[None]:
    """Return a context in which figures have a light grid, and no spines at the top and on the right."""
    from matplotlib import rc_context  # noqa: PLC0415  # takes half a second

    return rc_context({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3})


def rounds_x(panel: "Axes") -> None:
    """Label the x axis as rounds, with ticks at integers."""
    panel.set_xlabel("round")
    panel.locator_params(axis="x", integer=True)


def megabytes_x(panel: "Axes") -> None:
    """Label the x axis as megabytes, and make it logarithmic if any bytes were moved; call it after drawing."""
    panel.set_xlabel("megabytes moved, both ways, all clients")
    if isfinite(panel.dataLim.minposx):
        log_x(panel)


def log_x(panel: "Axes") -> None:
    """Make the x axis logarithmic, with tick labels that do not overlap; call it after drawing."""
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
