"""The charts of each section of the page; None or an empty list where the run has no data for it."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

from fedgates.report import numbers
from fedgates.report.charts import WIDTH, Chart, Points, Series, columns, heat_map, lines
from fedgates.report.curves import bytes_so_far, dense_round, metric_curves
from fedgates.report.run_data import RunData
from fedgates.runs.confusion import Confusion
from fedgates.runs.totals import DIRECTIONS, Line, Metric, PayloadKind, has_quorum, payload_kinds
from fedgates.util.text import one_line

T = TypeVar("T")
_MAX_POINTS, _MAX_COLUMNS, _MAX_KINDS = 400, 60, 5
_DENSITIES = (("density", "masks sent, mean"), ("model_density", "evaluated model"), ("expected_density", "mean of theta"))
_TIMES = (("seconds", "whole round"), ("client_seconds_longest", "slowest client"), ("client_seconds", "mean of clients"))
_REPLIES = (("counted", "accepted", "good"), ("rejected", "rejected", "bad"), ("failed", "failed", "c2"))
_EDGES = (0.0, 0.05, 0.35, 0.65, 0.95, 1.0)
_BINS = ("below .05: dropped", ".05 to .35", ".35 to .65: undecided", ".65 to .95", ".95 and more: kept")
"""Theta is a ratio k / n of a few votes, so narrow bins would show n; these suit any n."""


def metric_charts(run: RunData) -> list[Chart]:
    """Return the charts of the metric by round and by bytes moved."""
    metric, measured = run.metric, thinned(run.measured, _MAX_POINTS)
    total, rounds = bytes_so_far(run.lines), [line["round"] for line in measured]
    moved, curves, dense = [total[r] for r in rounds], metric_curves(measured, metric), dense_round(run.rounds[0], run.size)
    first, last = (metric.format(measured[i][metric.key]) for i in (0, -1))
    alt, unit = f"{metric.name}, from {first} to {last}", "%" if metric.is_share else ""

    def series(x: list[int]) -> tuple[Series, ...]:
        return tuple(Series(name, tuple(v), metric.format(v[-1]), tuple(x), f"c{i + 1}") for name, v, i in curves)

    charts = [lines(Chart(f"{metric.name} by round", f"{alt}, by round", series(rounds)), unit)]
    if moved[0] > 0:
        ends = f"{numbers.size(moved[0])} to {numbers.size(moved[-1])}"
        mark = f"one round of dense float32 FedAvg: {numbers.size(dense)}" if dense else ""
        chart = Chart(f"{metric.name} by bytes moved", f"{alt}, by bytes moved, from {ends}", series(moved), mark=mark)
        charts.append(lines(chart, unit, by_bytes=True, mark=dense))
    return charts


def device_metrics(run: RunData) -> list[str]:
    """Return the metrics that are charted: those that every evaluation by a client has; none without evaluations."""
    evaluations = [one for line in run.rounds for one in (line.get("client_evaluations") or {}).values()]
    first = "accuracy" if all("accuracy" in one for one in evaluations) else "loss"
    return [key for key in (first, "own_class_accuracy") if evaluations and all(key in one for one in evaluations)]


def device_charts(run: RunData) -> list[Chart]:
    """Return a chart for each metric of clients' evaluations: its mean, and an area from the lowest client to the highest."""
    rounds = thinned([line for line in run.rounds if line.get("client_evaluations")], _MAX_POINTS)
    return [_device_chart(rounds, key) for key in device_metrics(run)]


def _device_chart(rounds: Sequence[Line], key: str) -> Chart:
    values = [[float(one[key]) for one in line["client_evaluations"].values()] for line in rounds]
    means = tuple(float(line.get(f"client_{key}") or sum(v) / len(v)) for line, v in zip(rounds, values, strict=True))
    low, high, share = tuple(map(min, values)), tuple(map(max, values)), "accuracy" in key
    text = Metric(key, "", "", is_share=share).format
    name = "Accuracy among own classes" if key.startswith("own") else key.capitalize()
    ends = f"{text(low[-1])} to {text(high[-1])}"
    alt = f"{name} on devices; in the last round mean {text(means[-1])}, {len(values[-1])} devices from {ends}"
    limited = " Predictions are limited to the classes that a device has in training." * key.startswith("own")
    note = f"Area: from the lowest device to the highest; in the last round {ends}.{limited}"
    mean = Series("mean, weighted by number of examples", means, text(means[-1]), tuple(line["round"] for line in rounds))
    chart = Chart(f"{name} on devices' held-out examples", alt, (mean,), note)
    return lines(chart, "%" if share else "", band=(low, high))


def traffic_charts(run: RunData) -> list[Chart]:
    """Return the charts of bytes up and bytes down by kind of payload."""
    kinds = payload_kinds(run.lines)
    up = [kind for kind in kinds if kind.direction == DIRECTIONS[0][0]]
    return [_traffic(run.lines, title, of) for title, of in (("Bytes up", up), ("Bytes down", kinds[len(up) :])) if of]


def _traffic(attempts: Sequence[Line], title: str, kinds: list[PayloadKind]) -> Chart:
    """Return a column for each group of attempts; kinds beyond the number of colours are added up."""
    kept = kinds if len(kinds) <= _MAX_KINDS else kinds[: _MAX_KINDS - 1]
    parts = [(one_line(kind.name, 60) + ", to evaluate" * kind.direction.startswith("evaluation"), [kind]) for kind in kept]
    parts += [("others", kinds[len(kept) :])] if len(kinds) > len(kept) else []
    series = []
    for i, (name, group) in enumerate(parts, 1):
        moved = [sum(line.get(kind.direction, {}).get(kind.name, {}).get("bytes", 0) for kind in group) for line in attempts]
        series.append(Series(name, _means(moved), f"{numbers.size(sum(moved))} in total", colour=f"c{i}"))
    what, total = f"{title} {_each(attempts)}", numbers.size(sum(kind.total for kind in kinds))
    return columns(Chart(what, f"{what}: {total} in total", tuple(series)), "B", _labels(attempts))


def density_chart(run: RunData) -> Chart | None:
    """Return the chart of densities by round; None if all parameters are always kept."""
    series = _by_round(run.rounds, _DENSITIES, lambda values: numbers.percent(values[-1]))
    if all(value == 1 for one in series for value in one.y):
        return None
    first, target = series[0], run.config.get("density.target")
    start, end = (f"{numbers.percent(first.y[i])} in round {first.x[i]}" for i in (0, -1))
    mark = f"density.target: {numbers.percent(target)}" if target else ""
    alt, note = f"Density of {first.name}: {start}, {end}", "Share of parameters kept."
    return lines(Chart("Density by round", alt, series, note, mark), "%", zero=True, mark=target or 0)


def gates_chart(run: RunData) -> Chart | None:
    """Return the chart of the distribution of keep-probabilities by round."""
    measured = [line for line in run.rounds if line.get("theta_histogram")]
    if not measured:
        return None
    shares, labels = zip(*((_shares(of[-1]["theta_histogram"]), str(of[0]["round"])) for of in _grouped(measured)), strict=True)
    named = enumerate(zip(_BINS, zip(*shares, strict=True), strict=True), 1)
    series = tuple(Series(name, values, numbers.percent(values[-1]), colour=f"t{i}") for i, (name, values) in named)
    first, last = (numbers.percent(of[0] + of[-1]) for of in (shares[0], shares[-1]))
    alt = f"Gates below .05 or above .95: {first} after the first round, {last} after the last"
    note = "Share of all gates by theta, the probability that a gate keeps its weight; numbers are of the last round."
    return columns(Chart("Gate probabilities by round", alt, series, note), "%", labels)


def _shares(histogram: Sequence[int]) -> list[float]:
    """Return the share of gates in each interval between `_EDGES`."""
    bins, total = len(histogram), sum(histogram) or 1
    return [sum(histogram[round(a * bins) : round(b * bins)]) / total for a, b in pairwise(_EDGES)]


def client_charts(run: RunData) -> list[Chart]:
    """Return the charts of replies by attempt and, of two rounds or more, of durations by round."""
    counts = {name: [line[f"clients_{key}"] for line in run.lines] for key, name, _ in _REPLIES}
    series = tuple(
        Series(name, _means(counts[name]), f"{sum(counts[name]):,}", colour=colour)
        for _, name, colour in _REPLIES
        if any(counts[name]) or colour == "good"
    )
    failed, what = sum(not has_quorum(line) for line in run.lines), f"Replies {_each(run.lines)}"
    alt = f"{what}; in total {', '.join(f'{sum(of):,} {name}' for name, of in counts.items())}"
    note = f"{numbers.count(failed, 'attempt')} had no quorum and left the state unchanged." if failed else ""
    replies = columns(Chart(what, alt, series, note), "", _labels(run.lines))
    return [replies, _times(run.rounds)] if len(run.rounds) > 1 else [replies]


def _times(rounds: Sequence[Line]) -> Chart:
    shortest, longest = (end(line["seconds"] for line in rounds) for end in (min, max))
    size, unit = (3600, "h") if longest >= 7200 else (60, "min") if longest >= 120 else (1, "s")
    series = _by_round(rounds, _TIMES, lambda values: f"{numbers.duration(size * sum(values) / len(values))} on average", size)
    alt = f"Time per round, from {numbers.duration(shortest)} to {numbers.duration(longest)}"
    return lines(Chart("Time per round", alt, series, "Clients measure their own times."), unit, zero=True)


def _by_round(
    rounds: Sequence[Line], keys: Iterable[tuple[str, str]], text: Callable[[Points], str], unit: float = 1
) -> tuple[Series, ...]:
    """Return a curve of each key that any round has, in units of `unit`; `text` formats the value in the legend."""
    series = []
    for i, (key, name) in enumerate(keys, 1):
        measured = thinned([line for line in rounds if line.get(key) is not None], _MAX_POINTS)
        x, y = tuple(line["round"] for line in measured), tuple(line[key] / unit for line in measured)
        series += [Series(name, y, text(y), x, f"c{i}")] if y else []
    return tuple(series)


def confusion_map(confusion: Confusion) -> Chart:
    """Return a picture of a confusion matrix that has too many classes for a table."""
    shares = tuple(tuple(count / (sum(row) or 1) for count in row) for row in confusion.counts)
    note = "Share of each true class by predicted class; larger shares have a stronger colour. Classes are numbered from 0."
    return heat_map(Chart("Confusion matrix", f"Confusion matrix of {len(shares)} classes", note=note, height=WIDTH), shares)


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """Return about `most` evenly spaced items, the first and the last included."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _grouped(items: Sequence[T]) -> list[Sequence[T]]:
    """Return groups of 1, 2, 5, 10, ... consecutive items, so that a chart has room for each."""
    size = next(s for power in range(20) for s in (10**power, 2 * 10**power, 5 * 10**power) if len(items) <= s * _MAX_COLUMNS)
    return [items[i : i + size] for i in range(0, len(items), size)]


def _means(values: Sequence[float]) -> Points:
    return tuple(sum(group) / len(group) for group in _grouped(values))


def _each(attempts: Sequence[Line]) -> str:
    """Return what a column shows: a round, an attempt, or the mean of several, so that a shorter last group is not low."""
    size = len(_grouped(attempts)[0])
    first = all(line.get("attempt", 1) == 1 for line in attempts)
    return ("per round" if first else "per attempt") + (f", means of {size}" if size > 1 else "")


def _labels(attempts: Sequence[Line]) -> tuple[str, ...]:
    """Return the text below each column; empty for repeated attempts."""
    return tuple(str(group[0]["round"]) if group[0].get("attempt", 1) == 1 else "" for group in _grouped(attempts))
