"""Charts: matplotlib figures as SVG, with the colours and the font of the page's style sheet.

No text from outside is drawn: names are in the legends, which the templates escape. Axes have a
unit: "%" for shares of 1, "B" for bytes, or any other.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, nan
from typing import TYPE_CHECKING

from fedgates.util.axes import log_x

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 400, 230
"""Size of a chart in units of the SVG: text of 12 units is readable on a phone."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 12, 42
"""Margins of the axes."""
_MOST_DOTS, _MOST_LABELS, _CACHED = 31, 10, 50
"""Largest numbers of dots and labels in a chart, and of charts in a cache: of a page that is rewritten, many do not change."""
_COLOURS = ("c1", "c2", "c3", "c4", "c5", "t1", "t2", "t3", "t4", "t5", "good", "bad", "soft", "edge")
"""CSS variables of the style sheet that charts use, without ``--``."""
_STEPS = (1, 2, 5, 10)
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
Points = tuple[float, ...]


@dataclass(frozen=True)
class Series:
    """A curve of a chart, or one part of its stacked columns, which has no `x`. The legend shows `value` beside the name."""

    name: str
    y: Points
    value: str = ""
    x: Points = ()
    colour: str = "c1"


@dataclass(frozen=True)
class Chart:
    """A chart with its texts: `alt` describes it to screen readers, and `mark` names its dashed line."""

    title: str
    alt: str
    series: tuple[Series, ...] = ()
    note: str = ""
    mark: str = ""
    height: int = HEIGHT
    svg: str = ""


@lru_cache(_CACHED)
def lines(
    chart: Chart, unit: str, *, zero: bool = False, by_bytes: bool = False, band: tuple[Points, ...] = (), mark: float = 0
) -> Chart:
    """Return `chart` with its series drawn as curves; the first is drawn on top.

    Parameters
    ----------
    chart, unit
        Texts and series, and unit of the y axis.
    zero : bool
        Whether the y axis starts at 0.
    by_bytes : bool
        Whether the x axis has bytes so far, on a logarithmic scale, instead of rounds.
    band : tuple of tuples, optional
        Lower and upper edge of an area behind the curves, at the points of the first.
    mark : float, optional
        A dashed line at this value of y or, on an axis of bytes, of x; 0 for none.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator  # noqa: PLC0415

    with _axes(chart, "bytes so far, both ways, all clients; log scale" if by_bytes else "round", unit) as (axes, file):
        if band:
            x, (low, high) = chart.series[0].x, band
            axes.fill(x + x[::-1], high + low[::-1], color=_hex("c1"), alpha=0.15, linewidth=0)
        for i, one in reversed(list(enumerate(chart.series))):
            (curve,) = axes.plot(one.x, one.y, color=_hex(one.colour), linestyle=_DASHES[i], linewidth=1.5 if i else 2.5)
            if i == 0 and len(one.x) <= _MOST_DOTS:
                curve.set(marker="o", markersize=5)
        if mark:
            (axes.axvline if by_bytes else axes.axhline)(mark, color=_hex("soft"), linestyle="--")
        shown = [value for values in (*(one.y for one in chart.series), *band) for value in values]
        axes.set_ylim(*span([*shown, mark] if mark and not by_bytes else shown, share=unit == "%", zero=zero))
        if by_bytes:
            log_x(axes)
            axes.minorticks_off()
            axes.xaxis.set_major_formatter(EngFormatter("B"))
        else:
            first, last = (end(x for one in chart.series for x in one.x) for end in (min, max))
            pad = 0.03 * (last - first) or 0.5
            axes.set_xlim(first - pad, last + pad)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=_STEPS))
    return replace(chart, svg=_inline(file.getvalue()))


@lru_cache(_CACHED)
def columns(chart: Chart, unit: str, labels: tuple[str, ...]) -> Chart:
    """Return `chart` with its series drawn as stacked columns with labels; an axis of shares is from 0 to 1."""
    with _axes(chart, "round", unit, whole=not unit) as (axes, file):
        x, feet = [i for i in range(len(labels)) for _ in range(3)], [0.0] * len(labels)
        width = (WIDTH - _LEFT - _RIGHT) * min(0.12, 0.8 / len(labels))
        for one in chart.series:
            tops = [foot + size for foot, size in zip(feet, one.y, strict=True)]
            y = [end for ends in zip(feet, tops, strict=True) for end in (*ends, nan)]
            axes.plot(x, y, color=_hex(one.colour), linewidth=width, solid_capstyle="butt")  # a thick line for all columns
            feet = tops
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_ylim(0, 1 if unit == "%" else 1.05 * max(feet) or 1)
        labelled = [i for i, label in enumerate(labels) if label]
        labelled = labelled[:: -(-len(labelled) // _MOST_LABELS) or 1]
        axes.set_xticks(labelled, [labels[i] for i in labelled])
    return replace(chart, svg=_inline(file.getvalue()))


@lru_cache(_CACHED)
def heat_map(chart: Chart, shares: tuple[Points, ...]) -> Chart:
    """Return `chart` with a square matrix of shares in 0 to 1 drawn as a picture; larger shares have a stronger colour."""
    import numpy as np  # noqa: PLC0415

    with _axes(chart, "predicted class", "", whole=True) as (axes, file):
        opacity = np.sqrt(np.array(shares))[..., None]  # the root, so that rare confusions are visible
        blue = np.full((*opacity.shape[:2], 3), (0.2, 0.58, 0.82))  # visible on light and on dark
        axes.imshow(np.concatenate([blue, opacity], 2), interpolation="none", aspect="auto")
        axes.grid(visible=False)
        axes.set_ylabel("true class", color=_hex("soft"))
    return replace(chart, svg=_inline(file.getvalue()))


def span(values: Sequence[float], *, share: bool, zero: bool = False) -> tuple[float, float]:
    """Return the ends of an axis that shows `values`.

    It spans at least ten percentage points or, for other values than a `share`, a tenth of the largest value, so that noise
    looks small; with `zero` it starts at 0.
    """
    values = [0.0, *values] if zero else values
    low, high = (0.0 if share or zero else -inf), (1.0 if share else inf)
    least = 0.1 if share else 0.1 * max(map(abs, values)) or 1e-3
    middle, half = min(values) / 2 + max(values) / 2, max(0.55 * (max(values) - min(values)), least / 2)
    middle = max(low + half, min(middle, high - half))
    return max(low, middle - half), min(high, middle + half)


def _hex(name: str) -> str:
    """Return a placeholder colour for a CSS variable until the SVG is written; never black, which matplotlib omits."""
    return f"#ff00{_COLOURS.index(name):02x}"


@contextmanager
def _axes(chart: Chart, x_name: str, unit: str, *, whole: bool = False) -> "Iterator[tuple[Axes, io.StringIO]]":
    """Yield axes to draw on, and the file that their SVG is written to; with `whole`, ticks are at whole numbers only."""
    from matplotlib import rc_context  # noqa: PLC0415  # takes half a second
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import EngFormatter, FormatStrFormatter, FuncFormatter, MaxNLocator  # noqa: PLC0415

    width, height, soft = WIDTH - _LEFT - _RIGHT, chart.height - _TOP - _BOTTOM, _hex("soft")
    formatters = {"%": FuncFormatter(lambda tick, _: f"{100 * tick:.4g} %"), "B": EngFormatter("B")}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": chart.title, "text.parse_math": False}):
        figure, file = Figure(figsize=(WIDTH / 72, chart.height / 72), frameon=False), io.StringIO()
        axes = figure.add_axes((_LEFT / WIDTH, _BOTTOM / chart.height, width / WIDTH, height / chart.height), frameon=False)
        axes.grid(axis="y", color=_hex("edge"), linewidth=1)
        axes.set_axisbelow(True)
        yield axes, file
        axes.yaxis.set_major_formatter(formatters.get(unit) or FormatStrFormatter(f"%.4g {unit}"))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=whole, steps=_STEPS))
        axes.tick_params(which="both", length=0, pad=7, labelcolor=soft)
        axes.set_xlabel(x_name, loc="right", labelpad=5, color=soft)
        for artist in (*axes.lines, *axes.patches, *axes.images, *axes.get_ygridlines()):
            artist.set_clip_on(False)  # all of them are within the axes
        figure.savefig(file, format="svg", metadata={"Date": None})


def _inline(svg: str) -> str:
    """Return the contents of matplotlib's SVG with the style sheet's colours and font, and without ids except those of dots."""
    body = svg.partition("</metadata>")[2].rpartition("</svg>")[0]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="(?!m[0-9a-f]{10}")[^"]*"', "", body)
    body = re.sub(r"#ff00([0-9a-f]{2})", lambda found: f"var(--{_COLOURS[int(found[1], 16)]})", body)
    body = re.sub(r"font(-size|-family)?: [^;\"]*(; )?", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"(\d\.\d)\d+", r"\1", body)
    return re.sub(r"\s+", " ", body.replace("xlink:href", "href")).replace("> <", "><").replace("base64, ", "base64,")
