"""Who took part, how long it took, and what went wrong."""

from collections.abc import Sequence

from fedgates.report import charts, numbers
from fedgates.report.axes import linear, whole
from fedgates.report.charts import BOTTOM, LEFT, RIGHT, TOP, Column, Series
from fedgates.report.failures import went_wrong
from fedgates.report.markup import Html
from fedgates.report.parts import figure, figures, section
from fedgates.report.run_data import RunData
from fedgates.report.traffic import each, grouped, label, named
from fedgates.runs.totals import Line

_COUNTS = (("clients_counted", "counted"), ("clients_rejected", "rejected"), ("clients_failed", "failed"))


def clients(story: RunData) -> Html | None:
    """The section; None of a run without a round."""
    if not story.lines:
        return None
    return section("Clients", figures(_counts(story.lines), _waiting(story.rounds)), *went_wrong(story.lines))


def _counts(lines: Sequence[Line]) -> Html:
    groups = grouped(lines)
    columns = []
    for group in groups:
        parts = [sum(line[key] for line in group) / len(group) for key, _ in _COUNTS]
        titles = [f"{named(group)}: {part:,.4g} {name}" for part, (_, name) in zip(parts, _COUNTS, strict=True)]
        columns.append(Column(label(group), parts, titles))
    totals = [f"{sum(line[key] for line in lines):,} {name}" for key, name in _COUNTS]
    says = f"Replies {each(groups)}; in all {', '.join(totals)}"
    chart = charts.columns(
        columns, lambda tick: f"{tick:,.0f}" if tick.is_integer() else "", says=says, x_name="round", palette="k"
    )
    without = sum(not line.get("quorum", True) for line in lines)
    changed = f"{numbers.count(without, 'attempt')} had too few that count, and changed nothing."
    alone = None if any(line[key] for line in lines for key, _ in _COUNTS[1:]) else "All of them were counted."
    present = [(f"k{i}", name) for i, (key, name) in enumerate(_COUNTS, 1) if any(line[key] for line in lines)]
    return figure(f"Replies, {each(groups)}", chart, note=changed if without else alone, legend=charts.legend(present))


def _whole(tick: float) -> str:
    return f"{tick:,.0f}" if tick.is_integer() else ""


def _waiting(rounds: Sequence[Line]) -> Html | None:
    """How long rounds took, and clients in them."""
    if len(rounds) < 2:
        return None
    named_keys = (
        ("seconds", "the round"),
        ("client_seconds_longest", "its slowest client"),
        ("client_seconds", "a client, mean"),
    )
    found = [(name, [(line["round"], line[key]) for line in rounds if line.get(key) is not None]) for key, name in named_keys]
    found = [(name, points) for name, points in found if points]
    size, unit = numbers.unit(max(value for _, points in found for _, value in points))
    series = []
    for style, (name, points) in enumerate(found, 1):
        titles = [f"round {at}: {name} {numbers.duration(value)}" for at, value in points] if style == 1 else ()
        series.append(Series(name, [(at, value / size) for at, value in points], titles, style))
    seconds = [line["seconds"] for line in rounds]
    chart = charts.lines(
        series[::-1],
        whole([line["round"] for line in rounds], LEFT, RIGHT),
        linear([value for one in series for _, value in one.points], BOTTOM, TOP, lambda tick: f"{tick:.3g} {unit}", zero=True),
        says=f"Time a round, from {numbers.duration(min(seconds))} to {numbers.duration(max(seconds))}",
        x_name="round",
    )
    legend = charts.legend([(f"s{style}", name) for style, (name, _) in enumerate(found, 1)])
    return figure("Time a round", chart, note="Clients say their own.", legend=legend)
