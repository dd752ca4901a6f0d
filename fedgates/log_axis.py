"""A logarithmic axis with plain numbers on it, for every figure against bytes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def log_x(panel: "Axes") -> None:
    """Make the x axis logarithmic once all is drawn, with numbers between powers of ten only where it spans fewer than one."""
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415  # takes half a second

    plain = FuncFormatter(lambda x, _: f"{x:,.10g}")
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    panel.xaxis.set_major_formatter(plain)
    panel.xaxis.set_minor_formatter(plain if high < 10 * low else NullFormatter())
