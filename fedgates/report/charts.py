"""Charts as inline SVG, coloured by the style sheet of the page, 400 wide, so that text is readable on a phone.

``aria-label`` describes the chart, and every mark has a ``<title>``, shown when the mouse is over it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fedgates.report.axes import Axis, linear
from fedgates.report.markup import Html, el, join

T = TypeVar("T")
WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 50, 388, 12, 196
_MAX_POINTS, _MAX_DOTS = 400, 31
_ROOM = 32
"""Least distance of the labels of two columns."""


@dataclass(frozen=True)
class Series:
    """A curve of a chart."""

    name: str
    points: Sequence[tuple[float, float]]
    titles: Sequence[str] = ()
    """The title of each point; a curve without titles has no dots."""
    style: int = 1
    """Number of the line style; 1 is the most prominent."""


@dataclass(frozen=True)
class Column:
    """A stacked column of a chart."""

    label: str
    """Text below the column; left out if there is no room."""
    parts: Sequence[float]
    titles: Sequence[str]


def lines(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    says: str,
    x_name: str,
    band: Sequence[tuple[float, float, float]] = (),
    upright: tuple[float, str] | None = None,
    level: tuple[float, str] | None = None,
) -> Html:
    """Return a chart of curves over a common x axis.

    Parameters
    ----------
    series
        The curves; the last is drawn on top.
    x, y
        Axes from LEFT to RIGHT and from BOTTOM to TOP.
    says, x_name
        Description of the chart, and name of the x axis.
    band
        An area behind the curves, as (x, low, high).
    upright, level
        A dashed line at a value of x, or of y, and its title.
    """
    drawn = [*_frame(y), *_x_ticks([(x(tick), x.says(tick)) for tick in x.ticks], x_name)]
    if band:
        there = [f"{x(at):.1f} {y(high):.1f}" for at, _, high in band]
        back = [f"{x(at):.1f} {y(low):.1f}" for at, low, _ in reversed(band)]
        drawn.append(el("path", class_="band", d=f"M{'L'.join([*there, *back])}Z"))
    if upright:
        at = x(upright[0])
        drawn.append(el("line", el("title", upright[1]), class_="mark", x1=at, x2=at, y1=TOP, y2=BOTTOM))
    if level:
        at = y(level[0])
        drawn.append(el("line", el("title", level[1]), class_="mark", x1=LEFT, x2=RIGHT, y1=at, y2=at))
    for one in series:
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in thinned(one.points, _MAX_POINTS))
        drawn.append(el("path", class_=f"line s{one.style}", d=f"M{path}"))
        if one.titles or len(one.points) == 1:
            titles = one.titles or [one.name] * len(one.points)
            pairs = thinned(list(zip(one.points, titles, strict=True)), _MAX_DOTS)
            drawn += [el("circle", el("title", t), class_=f"dot s{one.style}", cx=x(a), cy=y(b), r=3) for (a, b), t in pairs]
    return _svg(says, drawn)


def columns(
    stacks: Sequence[Column], y_says: Callable[[float], str], *, says: str, x_name: str, palette: str, top: float = 0
) -> Html:
    """Return a chart of stacked columns.

    Parameters
    ----------
    stacks
        The columns.
    y_says
        Returns the text of a tick of the y axis.
    says, x_name
        Description of the chart, and name of the x axis.
    palette
        First letter of the CSS classes of the parts.
    top
        Least upper end of the y axis.
    """
    y = linear([*(math.fsum(column.parts) for column in stacks), top], BOTTOM, TOP, y_says, zero=True)
    step = (RIGHT - LEFT) / len(stacks)
    width = min(0.78 * step, 40)
    drawn = _frame(y)
    for i, column in enumerate(stacks):
        bottom = 0.0
        for k, (part, title) in enumerate(zip(column.parts, column.titles, strict=True), 1):
            if part > 0:
                upper, lower = y(bottom + part), y(bottom)
                place = {"x": LEFT + (i + 0.5) * step - width / 2, "y": upper, "width": width, "height": lower - upper}
                drawn.append(el("rect", el("title", title), class_=f"{palette}{k}", **place))
            bottom += part
    labels = [(LEFT + (i + 0.5) * step, column.label) for i, column in enumerate(stacks) if column.label]
    return _svg(says, [*drawn, *_x_ticks(_apart(labels), x_name)])


def bar(share: float, title: str) -> Html:
    """Return a share of 1 as a bar for the cell of a table."""
    inside = (
        el("rect", class_="full", x=0, y=0, width=100, height=8),
        el("rect", class_="c1", x=0, y=0, width=100 * share, height=8),
    )
    return el(
        "svg", el("title", title), *inside, class_="bar", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true"
    )


def legend(names: Sequence[tuple[str, str]]) -> Html | None:
    """Return a legend from pairs of a CSS class and a name; None for fewer than two."""
    if len(names) < 2:
        return None
    return el("ul", *(el("li", swatch(kind), name) for kind, name in names), class_="legend")


def swatch(kind: str) -> Html:
    """Return a sample of a colour or line style, for a legend."""
    if kind.startswith(("s", "mark")):
        inside = el("line", class_=f"line {kind}" if kind != "mark" else kind, x1=0, y1=6, x2=20, y2=6)
    else:
        inside = el("rect", class_=kind, x=4, y=0, width=12, height=12)
    return el("svg", inside, class_="swatch", viewBox="0 0 20 12", aria_hidden="true")


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """Return about `most` evenly spaced items, the first and the last included."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _svg(says: str, drawn: Sequence[Html]) -> Html:
    return el("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=says)


def _frame(y: Axis) -> list[Html]:
    """Return horizontal grid lines with their values."""
    marks = [
        join(
            [
                el("line", class_="grid", x1=LEFT, x2=RIGHT, y1=y(tick), y2=y(tick)),
                el("text", y.says(tick), x=LEFT - 6, y=y(tick) + 4, text_anchor="end"),
            ]
        )
        for tick in y.ticks
    ]
    return [el("g", *marks)]


def _apart(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return the labels that do not overlap the one before."""
    kept: list[tuple[float, str]] = []
    for at, label in labels:
        if not kept or at - kept[-1][0] >= _ROOM:
            kept.append((at, label))
    return kept


def _x_ticks(labels: Sequence[tuple[float, str]], name: str) -> list[Html]:
    marks = [el("text", label, x=at, y=BOTTOM + 15, text_anchor="middle") for at, label in labels]
    return [el("g", *marks, el("text", name, class_="axis", x=RIGHT, y=BOTTOM + 31, text_anchor="end"))]
