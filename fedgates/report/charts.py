"""Drawings as inline SVG, coloured by the page's style alone. Each is 400 wide, so that its letters can be read on a phone.

A chart says in ``aria-label`` what it shows, and every mark has a ``<title>``, which a mouse finds.
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
_MOST_POINTS, _MOST_DOTS = 400, 31
_ROOM = 32
"""Units between the labels of two columns."""


@dataclass(frozen=True)
class Series:
    """A line of a chart."""

    name: str
    points: Sequence[tuple[float, float]]
    titles: Sequence[str] = ()
    """For each point; a line without has no dots."""
    style: int = 1
    """Which of the page's line styles; 1 is the strong one."""


@dataclass(frozen=True)
class Column:
    """A column of a chart: a part for each of the chart's names."""

    label: str
    """Below it, where there is room for one."""
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
    """Lines over a common axis.

    Parameters
    ----------
    series
        What is drawn, the last on top.
    x, y
        From LEFT to RIGHT, and from BOTTOM to TOP.
    says, x_name
        What the chart shows, and what is to the right.
    band
        (x, low, high): an area behind the lines.
    upright, level
        A dashed line at a value of x, or of y, and its name.
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
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in thinned(one.points, _MOST_POINTS))
        drawn.append(el("path", class_=f"line s{one.style}", d=f"M{path}"))
        if one.titles or len(one.points) == 1:
            titles = one.titles or [one.name] * len(one.points)
            pairs = thinned(list(zip(one.points, titles, strict=True)), _MOST_DOTS)
            drawn += [el("circle", el("title", t), class_=f"dot s{one.style}", cx=x(a), cy=y(b), r=3) for (a, b), t in pairs]
    return _svg(says, drawn)


def columns(
    found: Sequence[Column], y_says: Callable[[float], str], *, says: str, x_name: str, palette: str, top: float = 0
) -> Html:
    """Stacked columns; `palette` names the page's colours, and `top` is what the axis holds at least."""
    y = linear([*(math.fsum(column.parts) for column in found), top], BOTTOM, TOP, y_says, zero=True)
    step = (RIGHT - LEFT) / len(found)
    width = min(0.78 * step, 40)
    drawn = _frame(y)
    for i, column in enumerate(found):
        bottom = 0.0
        for k, (part, title) in enumerate(zip(column.parts, column.titles, strict=True), 1):
            if part > 0:
                upper, lower = y(bottom + part), y(bottom)
                place = {"x": LEFT + (i + 0.5) * step - width / 2, "y": upper, "width": width, "height": lower - upper}
                drawn.append(el("rect", el("title", title), class_=f"{palette}{k}", **place))
            bottom += part
    labels = [(LEFT + (i + 0.5) * step, column.label) for i, column in enumerate(found) if column.label]
    return _svg(says, [*drawn, *_x_ticks(_apart(labels), x_name)])


def bar(share: float, title: str) -> Html:
    """A share of 1 as a bar in a table's cell."""
    inside = (
        el("rect", class_="full", x=0, y=0, width=100, height=8),
        el("rect", class_="c1", x=0, y=0, width=100 * share, height=8),
    )
    return el(
        "svg", el("title", title), *inside, class_="bar", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true"
    )


def legend(names: Sequence[tuple[str, str]]) -> Html | None:
    """What the colours mean: pairs of a class of the style and a name; None where there is one alone."""
    if len(names) < 2:
        return None
    return el("ul", *(el("li", swatch(kind), name) for kind, name in names), class_="legend")


def swatch(kind: str) -> Html:
    """A colour, or a line's style, beside its name."""
    if kind.startswith(("s", "mark")):
        inside = el("line", class_=f"line {kind}" if kind != "mark" else kind, x1=0, y1=6, x2=20, y2=6)
    else:
        inside = el("rect", class_=kind, x=4, y=0, width=12, height=12)
    return el("svg", inside, class_="swatch", viewBox="0 0 20 12", aria_hidden="true")


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """At most about `most` of many, evenly, with the first and the last."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _svg(says: str, drawn: Sequence[Html]) -> Html:
    return el("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=says)


def _frame(y: Axis) -> list[Html]:
    """Lines across, with their values."""
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
    """Those that do not touch the one before."""
    kept: list[tuple[float, str]] = []
    for at, label in labels:
        if not kept or at - kept[-1][0] >= _ROOM:
            kept.append((at, label))
    return kept


def _x_ticks(labels: Sequence[tuple[float, str]], name: str) -> list[Html]:
    marks = [el("text", label, x=at, y=BOTTOM + 15, text_anchor="middle") for at, label in labels]
    return [el("g", *marks, el("text", name, class_="axis", x=RIGHT, y=BOTTOM + 31, text_anchor="end"))]
