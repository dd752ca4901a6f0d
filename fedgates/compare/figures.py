"""Curves of several methods, one panel per scenario: the mean over seeds, and a band from the minimum to the maximum."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from fedgates.compare.numbers import Curve
from fedgates.compare.study import ONLY_SCENARIO
from fedgates.compare.tables import is_share
from fedgates.util.axes import figure_style, megabytes_x, rounds_x
from fedgates.util.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panels = Mapping[str, Mapping[str, Curve]]
"""Mapping from scenario to method to curve."""
_MARKERS = "os^Dv*XP<>ph8dH"
_DASHES = ("-", "--", ":")
_NUM_MARKERS = 8
"""Number of markers per curve."""
_MAX_ACROSS = 3
"""Largest number of panels per row."""


def draw(panels: Panels, key: str, against: Literal["rounds", "bytes"]) -> "Figure":
    """Return a figure of `key` against rounds, or against megabytes on a log scale.

    A method has the same style in all panels, and in all figures with the same methods in the same order.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  # takes half a second

    across = 2 if len(panels) == 4 else min(_MAX_ACROSS, len(panels))
    down = -(-len(panels) // across)
    methods = list(dict.fromkeys(method for of_scenario in panels.values() for method in of_scenario))
    longest = max(map(len, methods), default=1)
    width = max(4.6 * across, 6.4)
    columns = max(1, min(len(methods), int(11.5 * width / (longest + 8))))
    height = 3.2 * down + 0.2 * -(-len(methods) // columns) + 0.3
    scale = 100 if is_share(key) else 1
    with figure_style():
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
        handles = {}
        for panel, (scenario, curves) in zip(axes, panels.items(), strict=False):
            for method, curve in curves.items():
                if not curve.rounds:
                    continue
                i = methods.index(method)
                x = curve.rounds if against == "rounds" else [n / 1e6 for n in curve.bytes]
                low, high, middle = ([scale * v for v in values] for values in (curve.low, curve.high, curve.mean))
                every = max(1, len(x) // _NUM_MARKERS)
                panel.fill_between(x, low, high, color=PALETTE[i % len(PALETTE)], alpha=0.15, linewidth=0)
                (handles[method],) = panel.plot(
                    x,
                    middle,
                    label=method,
                    color=PALETTE[i % len(PALETTE)],
                    linestyle=_DASHES[i // len(PALETTE) % len(_DASHES)],
                    marker=_MARKERS[i % len(_MARKERS)],
                    markersize=5,
                    markevery=(i % every, every),  # so that markers of overlapping curves do not coincide
                    linewidth=1.5,
                )
            if scenario != ONLY_SCENARIO:
                panel.set_title(scenario, fontsize=10)
            (rounds_x if against == "rounds" else megabytes_x)(panel)
        for panel in axes[len(panels) :]:
            panel.set_axis_off()
        for first in range(0, len(panels), across):
            figure.axes[first].set_ylabel(_label(key))
        if handles:
            named = [method for method in methods if method in handles]
            figure.legend(
                [handles[m] for m in named], named, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
            )
    return figure


def _label(key: str) -> str:
    return f"test {key}, %" if key == "accuracy" else key.replace("_", " ") + (", %" if is_share(key) else "")
