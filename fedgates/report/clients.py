"""The section on clients: replies, times and failures."""

from collections.abc import Sequence

from fedgates.report import charts, numbers
from fedgates.report.axes import linear, whole
from fedgates.report.charts import BOTTOM, LEFT, RIGHT, TOP, Column, Series
from fedgates.report.failures import failures
from fedgates.report.markup import Html
from fedgates.report.parts import figure, figures, section
from fedgates.report.run_data import RunData
from fedgates.report.traffic import each, grouped, label, named
from fedgates.runs.totals import Line, has_quorum

_COUNTS = (("clients_counted", "accepted"), ("clients_rejected", "rejected"), ("clients_failed", "failed"))


def clients(run: RunData) -> Html | None:
    """Return the section, or None without rounds."""
    if not run.lines:
        return None
    return section("Clients", figures(_replies(run.lines), _times(run.rounds)), *failures(run.lines))


def _replies(lines: Sequence[Line]) -> Html:
    groups = grouped(lines)
    columns = []
    for group in groups:
        parts = [sum(line[key] for line in group) / len(group) for key, _ in _COUNTS]
        titles = [f"{named(group)}: {part:,.4g} {name}" for part, (_, name) in zip(parts, _COUNTS, strict=True)]
        columns.append(Column(label(group), parts, titles))
    totals = [f"{sum(line[key] for line in lines):,} {name}" for key, name in _COUNTS]
    says = f"Replies {each(groups)}; in total {', '.join(totals)}"
    chart = charts.columns(columns, _integer, says=says, x_name="round", palette="k")
    failed = sum(not has_quorum(line) for line in lines)
    if failed:
        note: str | None = f"{numbers.count(failed, 'attempt')} had no quorum and left the state unchanged."
    else:
        note = None if any(line[key] for line in lines for key, _ in _COUNTS[1:]) else "All were accepted."
    present = [(f"k{i}", name) for i, (key, name) in enumerate(_COUNTS, 1) if any(line[key] for line in lines)]
    return figure(f"Replies {each(groups)}", chart, note=note, legend=charts.legend(present))


def _integer(tick: float) -> str:
    return f"{tick:,.0f}" if tick.is_integer() else ""


def _times(rounds: Sequence[Line]) -> Html | None:
    """Return the chart of the durations of rounds and of clients, or None of fewer than two rounds."""
    if len(rounds) < 2:
        return None
    named_keys = (
        ("seconds", "whole round"),
        ("client_seconds_longest", "slowest client"),
        ("client_seconds", "mean of clients"),
    )
    curves = [(name, [(line["round"], line[key]) for line in rounds if line.get(key) is not None]) for key, name in named_keys]
    curves = [(name, points) for name, points in curves if points]
    size, unit = numbers.unit(max(value for _, points in curves for _, value in points))
    series = []
    for style, (name, points) in enumerate(curves, 1):
        titles = [f"round {at}: {name} {numbers.duration(value)}" for at, value in points] if style == 1 else ()
        series.append(Series(name, [(at, value / size) for at, value in points], titles, style))
    seconds = [line["seconds"] for line in rounds]
    chart = charts.lines(
        series[::-1],
        whole([line["round"] for line in rounds], LEFT, RIGHT),
        linear([value for one in series for _, value in one.points], BOTTOM, TOP, lambda tick: f"{tick:.3g} {unit}", zero=True),
        says=f"Time per round, from {numbers.duration(min(seconds))} to {numbers.duration(max(seconds))}",
        x_name="round",
    )
    legend = charts.legend([(f"s{style}", name) for style, (name, _) in enumerate(curves, 1)])
    return figure("Time per round", chart, note="Times of clients are as they report them.", legend=legend)
