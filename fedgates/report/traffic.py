"""The section on communication: bytes each way by kind of payload, by round and in total."""

from collections.abc import Sequence

from fedgates.report import charts, numbers
from fedgates.report.axes import next_step
from fedgates.report.charts import Column
from fedgates.report.markup import Html, el
from fedgates.report.parts import figure, figures, section, table
from fedgates.report.run_data import RunData
from fedgates.runs.totals import DIRECTIONS, Line, PayloadKind, has_quorum, payload_kinds
from fedgates.util.text import one_line

_MAX_COLUMNS, _COLOURS, _MAX_ROWS = 60, 5, 20
Kinds = list[tuple[str, str]]
"""Directions and names of kinds of payloads."""


def traffic(run: RunData) -> Html | None:
    """Return the section, or None without payloads."""
    kinds = payload_kinds(run.lines)
    if not kinds:
        return None
    up = [(kind.direction, kind.name) for kind in kinds if kind.direction == "uplink"]
    down = [(kind.direction, kind.name) for kind in kinds if kind.direction != "uplink"]
    return section(
        "Communication",
        figures(_chart("Bytes up", run.lines, up), _chart("Bytes down", run.lines, down)),
        _table(kinds, run.size),
    )


def grouped(lines: Sequence[Line], most: int = _MAX_COLUMNS) -> list[Sequence[Line]]:
    """Return groups of 1, 2, 5, 10, ... consecutive lines, at most `most`, so that a chart has room for each."""
    size = int(next_step(-(-len(lines) // most) or 1))
    return [lines[i : i + size] for i in range(0, len(lines), size)]


def named(group: Sequence[Line]) -> str:
    """Return the name of a group: its rounds, or its attempt."""
    first, last = group[0], group[-1]
    if len(group) > 1:
        return f"rounds {first['round']} to {last['round']}"
    attempt = first.get("attempt", 1)
    return f"round {first['round']}" + (f", attempt {attempt}" if attempt > 1 or not has_quorum(first) else "")


def each(groups: Sequence[Sequence[Line]]) -> str:
    """Return what a column is: a round, an attempt, or the mean of several, so that a shorter last group is not low."""
    first = all(line.get("attempt", 1) == 1 for group in groups for line in group)
    mean = f", means of {len(groups[0])}" if len(groups[0]) > 1 else ""
    return ("per round" if first else "per attempt") + mean


def label(group: Sequence[Line]) -> str:
    """Return the text below a column; empty for repeated attempts."""
    return str(group[0]["round"]) if group[0].get("attempt", 1) == 1 else ""


def _chart(title: str, lines: Sequence[Line], kinds: Kinds) -> Html | None:
    """Return a chart with a stacked column for each group; kinds beyond the number of colours are added up."""
    if not kinds:
        return None
    shown = kinds if len(kinds) <= _COLOURS else kinds[: _COLOURS - 1]
    names = [_name(way, name) for way, name in shown] + ["others"] * (len(kinds) > len(shown))
    groups = grouped(lines)
    columns = []
    for group in groups:
        parts = [sum(_bytes(line, way, name) for line in group) / len(group) for way, name in shown]
        if len(kinds) > len(shown):
            parts.append(sum(_bytes(line, way, name) for line in group for way, name in kinds[len(shown) :]) / len(group))
        titles = [f"{named(group)}: {numbers.size(part)}, {name}" for name, part in zip(names, parts, strict=True)]
        columns.append(Column(label(group), parts, titles))
    total = sum(_bytes(line, way, name) for line in lines for way, name in kinds)
    says = f"{title} {each(groups)}: {numbers.size(total)} in total"
    chart = charts.columns(columns, numbers.tick, says=says, x_name="round", palette="c")
    legend = charts.legend([(f"c{k}", name) for k, name in enumerate(names, 1)])
    alone = f"All payloads: {names[0]}." if len(names) == 1 else None
    return figure(f"{title} {each(groups)}", chart, note=alone, legend=legend)


def _bytes(line: Line, way: str, name: str) -> int:
    return int(line.get(way, {}).get(name, {}).get("bytes", 0))


def _name(way: str, name: str) -> str:
    return one_line(name, 60) + (", to evaluate" if way == "evaluation_downlink" else "")


def _table(kinds: list[PayloadKind], size: int) -> Html:
    directions = dict(DIRECTIONS)
    rows = [
        (
            f"{directions[kind.direction]}: {one_line(kind.name, 60)}",
            f"{kind.messages:,}",
            numbers.size(kind.total),
            numbers.size(kind.total / kind.messages),
            f"{8 * kind.total / (kind.messages * size):.3f}" if size else "–",  # noqa: RUF001
        )
        for kind in kinds[:_MAX_ROWS]
    ]
    if len(kinds) > _MAX_ROWS:
        rows.append((f"and {len(kinds) - _MAX_ROWS} other kinds", "", "", "", ""))
    head = ("payload", "messages", "total", "mean", "bpp")
    about = el(
        "p",
        "Whole payloads, headers included; what Flower adds around them is not counted. bpp: bits per parameter.",
        class_="note",
    )
    return el("div", table(head, rows, name="Payloads by direction and codec"), about)
