"""The section on results: the metric against rounds and against bytes."""

from itertools import accumulate

from fedgates.report import charts, numbers
from fedgates.report.axes import Axis, linear, logarithmic, whole
from fedgates.report.charts import BOTTOM, LEFT, RIGHT, TOP, Series
from fedgates.report.markup import Html
from fedgates.report.parts import figure, figures, folded, more, section, table
from fedgates.report.run_data import RunData
from fedgates.runs.totals import Line, Metric, downlink_bytes
from fedgates.util.text import one_line

_OTHERS = (("_sample", "one sampled mask"), ("_mean", "mean network"), ("_ensemble", "ensemble of masks"))
"""Suffixes of the metric's key for other evaluations than that of the thresholded mask, and their names."""
_MAX_ROWS = 200


def results(run: RunData) -> Html | None:
    """Return the section, or None if the metric was never measured."""
    metric = run.metric
    measured = [line for line in run.rounds if line.get(metric.key) is not None]
    if not measured:
        return None
    total = dict(
        zip(map(id, run.lines), accumulate(line["uplink_bytes"] + downlink_bytes(line) for line in run.lines), strict=True)
    )
    moved = [total[id(line)] for line in measured]
    rounds = [line["round"] for line in measured]
    named = _named(measured, metric)
    y = _y_axis([line[key] for key, _ in named for line in measured], metric)
    legend = charts.legend([(f"s{i}", name) for i, (_, name) in enumerate(named, 1)])
    says = f"{metric.name}, from {metric.format(measured[0][metric.key])} to {metric.format(measured[-1][metric.key])}"
    by_round = charts.lines(
        _series(measured, rounds, named, metric), whole(rounds, LEFT, RIGHT), y, says=f"{says}, by round", x_name="round"
    )
    return section(
        "Results",
        figures(
            figure(f"{metric.name} by round", by_round, legend=legend),
            _by_bytes(run, measured, moved, named, y, says) if min(moved) > 0 else None,
        ),
        _all_values(run),
    )


def _all_values(run: RunData) -> Html:
    """Return a folded table of every number in the line of the last round."""
    last = run.rounds[-1]
    rows = [(one_line(key, 60), numbers.plain(value)) for key, value in last.items() if not isinstance(value, dict | list)]
    values = table(("key", "value"), rows[:_MAX_ROWS], name="From rounds.jsonl")
    return folded(f"All values of round {last['round']}", values, more(len(rows) - _MAX_ROWS, "and {} more keys"))


def _by_bytes(run: RunData, measured: list[Line], moved: list[int], named: list[tuple[str, str]], y: Axis, says: str) -> Html:
    first = run.rounds[0]
    dense = 4 * run.size * (2 * first["clients_selected"] + first.get("clients_evaluating", 0))
    note = f"Dashed: one round of dense float32 FedAvg, {numbers.size(dense)}." if dense else None
    chart = charts.lines(
        _series(measured, moved, named, run.metric),
        logarithmic([*moved, dense] if dense else moved, LEFT, RIGHT, numbers.tick),
        y,
        says=f"{says}, by bytes moved, from {numbers.size(moved[0])} to {numbers.size(moved[-1])}",
        x_name="bytes so far, both ways, all clients; log scale",
        upright=(dense, f"one round of dense float32 FedAvg: {numbers.size(dense)}") if dense else None,
    )
    return figure(f"{run.metric.name} by bytes moved", chart, note=note)


def _named(measured: list[Line], metric: Metric) -> list[tuple[str, str]]:
    """Return the keys to draw and their names: the metric, and the other evaluations that every round has."""
    others = [(metric.key + end, name) for end, name in _OTHERS]
    others = [(key, name) for key, name in others if all(line.get(key) is not None for line in measured)]
    return [(metric.key, "thresholded mask" if others else metric.name), *others]


def _series(measured: list[Line], x: list[int], named: list[tuple[str, str]], metric: Metric) -> list[Series]:
    """Return the curves, the metric's last, so that it is drawn on top; the titles of its dots list every value."""
    titles = [
        f"round {line['round']}: " + ", ".join(f"{name} {metric.format(line[key])}" for key, name in named) for line in measured
    ]
    drawn = [
        Series(name, [(at, line[key]) for at, line in zip(x, measured, strict=True)], titles if i == 1 else (), i)
        for i, (key, name) in enumerate(named, 1)
    ]
    return drawn[::-1]


def _y_axis(values: list[float], metric: Metric) -> Axis:
    if metric.is_share:
        return linear(values, BOTTOM, TOP, lambda tick: f"{100 * tick:.4g} %", most=1)
    return linear(values, BOTTOM, TOP, lambda tick: f"{tick:.4g}")
