"""What travelled: bytes both ways by codec, round by round and in all."""

from collections.abc import Sequence

from fedgates.report import charts, numbers
from fedgates.report.axes import next_step
from fedgates.report.charts import Column
from fedgates.report.markup import Html, el
from fedgates.report.parts import figure, figures, section, table
from fedgates.report.run_data import RunData
from fedgates.runs.totals import DIRECTIONS, Line, Sort, sorts
from fedgates.util.text import one_line

_MOST_COLUMNS, _COLOURS, _MOST_ROWS = 60, 5, 20
Kinds = list[tuple[str, str]]


def traffic(story: RunData) -> Html | None:
    """The section; None of a run in which nothing travelled."""
    found = sorts(story.lines)
    if not found:
        return None
    up = [(sort.way, sort.name) for sort in found if sort.way == "uplink"]
    down = [(sort.way, sort.name) for sort in found if sort.way != "uplink"]
    return section(
        "What travelled",
        figures(_chart("Bytes up", story.lines, up), _chart("Bytes down", story.lines, down)),
        _table(found, story.size),
    )


def grouped(lines: Sequence[Line], most: int = _MOST_COLUMNS) -> list[Sequence[Line]]:
    """Neighbouring lines together, by twos, fives, tens, ..., where a chart has no room for each."""
    size = int(next_step(-(-len(lines) // most) or 1))
    return [lines[i : i + size] for i in range(0, len(lines), size)]


def named(group: Sequence[Line]) -> str:
    """Of which rounds, or of which attempt, a column is."""
    first, last = group[0], group[-1]
    if len(group) > 1:
        return f"rounds {first['round']} to {last['round']}"
    attempt = first.get("attempt", 1)
    return f"round {first['round']}" + (f", attempt {attempt}" if attempt > 1 or not first.get("quorum", True) else "")


def each(groups: Sequence[Sequence[Line]]) -> str:
    """What a column stands for; of several rounds it is their mean, so that the last of them is not low for being short."""
    first = all(line.get("attempt", 1) == 1 for group in groups for line in group)
    mean = f", means of {len(groups[0])}" if len(groups[0]) > 1 else ""
    return ("a round" if first else "an attempt at a round") + mean


def label(group: Sequence[Line]) -> str:
    """Below a column."""
    return str(group[0]["round"]) if group[0].get("attempt", 1) == 1 else ""


def _chart(title: str, lines: Sequence[Line], kinds: Kinds) -> Html | None:
    """Stacked columns of the sorts with the most bytes; others are one."""
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
    says = f"{title} {each(groups)}: {numbers.size(total)} in all"
    chart = charts.columns(columns, numbers.tick, says=says, x_name="round", palette="c")
    legend = charts.legend([(f"c{k}", name) for k, name in enumerate(names, 1)])
    alone = f"All of it {names[0]}." if len(names) == 1 else None
    return figure(f"{title}, {each(groups)}", chart, note=alone, legend=legend)


def _bytes(line: Line, way: str, name: str) -> int:
    return int(line.get(way, {}).get(name, {}).get("bytes", 0))


def _name(way: str, name: str) -> str:
    return one_line(name, 60) + (", to evaluate" if way == "evaluation_downlink" else "")


def _table(found: list[Sort], size: int) -> Html:
    ways = dict(DIRECTIONS)
    rows = [
        (
            f"{ways[sort.way]}: {one_line(sort.name, 60)}",
            f"{sort.messages:,}",
            numbers.size(sort.total),
            numbers.size(sort.total / sort.messages),
            f"{8 * sort.total / (sort.messages * size):.3f}" if size else "–",  # noqa: RUF001
        )
        for sort in found[:_MOST_ROWS]
    ]
    if len(found) > _MOST_ROWS:
        rows.append((f"and {len(found) - _MOST_ROWS} other sorts", "", "", "", ""))
    head = ("payload", "messages", "in all", "each", "bpp")
    about = el(
        "p",
        "Whole payloads, headers included; what Flower adds around them is not counted. bpp: bits a parameter.",
        class_="note",
    )
    return el("div", table(head, rows, name="Payloads by direction and codec"), about)
