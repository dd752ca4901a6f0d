"""The section on the network: its density by round and by layer, and the distribution of keep-probabilities."""

from collections.abc import Sequence
from itertools import pairwise

from fedgates.report import charts, numbers
from fedgates.report.axes import linear, whole
from fedgates.report.charts import BOTTOM, LEFT, RIGHT, TOP, Column, Series
from fedgates.report.markup import Html
from fedgates.report.model_file import Layer, ModelFile
from fedgates.report.parts import figure, figures, section, table
from fedgates.report.run_data import RunData
from fedgates.report.traffic import grouped, label, named
from fedgates.util.text import one_line

_DENSITIES = (
    ("density", "masks sent, mean"),
    ("model_density", "evaluated model"),
    ("expected_density", "mean of theta"),
)
_EDGES = (0.0, 0.05, 0.35, 0.65, 0.95, 1.0)
_BIN_NAMES = ("below .05: dropped", ".05 to .35", ".35 to .65: undecided", ".65 to .95", ".95 and more: kept")
"""Theta is a ratio k / n of a few votes, so narrow bins would show n; these suit any n."""
_MAX_LAYERS = 80


def gates(run: RunData) -> Html | None:
    """Return the section, or None without data on it."""
    return section("Network", figures(_density(run), _probabilities(run)), *_model(run.model))


def _density(run: RunData) -> Html | None:
    curves = [
        (name, [(line["round"], line[key]) for line in run.rounds if line.get(key) is not None]) for key, name in _DENSITIES
    ]
    drawn = [(name, points) for name, points in curves if points]
    if not drawn or all(value == 1 for _, points in drawn for _, value in points):
        return None
    target = run.target_density
    series = [
        Series(name, points, [f"round {at}: {name} {numbers.percent(value)}" for at, value in points], style)
        for style, (name, points) in enumerate(drawn, 1)
    ]
    values = [value for _, points in drawn for _, value in points] + ([target] if target else [])
    name, ((start, first), *_, (end, last)) = drawn[0][0], drawn[0][1][:1] + drawn[0][1]
    chart = charts.lines(
        series[::-1],
        whole([at for _, points in drawn for at, _ in points], LEFT, RIGHT),
        linear(values, BOTTOM, TOP, lambda tick: f"{100 * tick:.4g} %", zero=True),
        says=f"Density of {name}: {numbers.percent(first)} in round {start}, {numbers.percent(last)} in round {end}",
        x_name="round",
        level=(target, f"target-density: {numbers.percent(target)}") if target else None,
    )
    names = [(f"s{style}", name) for style, (name, _) in enumerate(drawn, 1)]
    legend = charts.legend([*names, *([("mark", "density.target")] if target else [])])
    alone = f": {name}" if legend is None else ""
    return figure("Density by round", chart, note=f"Share of parameters kept{alone}.", legend=legend)


def _probabilities(run: RunData) -> Html | None:
    lines = [line for line in run.rounds if line.get("theta_histogram")]
    if not lines:
        return None
    columns = []
    for group in grouped(lines):
        shares = _shares(group[-1]["theta_histogram"])
        titles = [
            f"{named(group[-1:])}: {numbers.percent(share)} {name}" for share, name in zip(shares, _BIN_NAMES, strict=True)
        ]
        columns.append(Column(label(group) or str(group[0]["round"]), shares, titles))
    outer = [numbers.percent(column.parts[0] + column.parts[-1]) for column in (columns[0], columns[-1])]
    chart = charts.columns(
        columns,
        lambda tick: numbers.percent(tick, 0),
        says=f"Gates below .05 or above .95: {outer[0]} after the first round, {outer[1]} after the last",
        x_name="round",
        palette="t",
        top=1,
    )
    legend = charts.legend([(f"t{k}", name) for k, name in enumerate(_BIN_NAMES, 1)])
    about = "Theta, the keep-probability of each gate, after the round; shares of all gates."
    return figure("Keep-probabilities", chart, note=about, legend=legend)


def _shares(histogram: Sequence[int]) -> list[float]:
    """Return the share of gates in each interval between `_EDGES`."""
    bins, total = len(histogram), sum(histogram) or 1
    cuts = [round(edge * bins) for edge in _EDGES]
    return [sum(histogram[a:b]) / total for a, b in pairwise(cuts)]


def _model(model: ModelFile | None) -> list[Html | None]:
    if model is None:
        return []
    return [_layers(model.layers, _when(model)), _sizes(model)]


def _when(model: ModelFile) -> str:
    return "" if model.round is None else f" after round {model.round}"


def _layers(layers: Sequence[Layer], when: str) -> Html:
    rows: list[tuple[Html | str, ...]] = []
    for layer in layers[:_MAX_LAYERS]:
        share = layer.kept / layer.parameters if layer.parameters else 0.0
        kind = f"{one_line(layer.name, 60)} {one_line(layer.kind, 40)}"
        percent = numbers.percent(share)
        rows.append((kind, charts.bar(share, percent), percent, f"{layer.kept:,} of {layer.parameters:,}"))
    if len(layers) > _MAX_LAYERS:
        rows.append((f"and {len(layers) - _MAX_LAYERS} more", "", "", ""))
    return table(("layer", "", "kept", "parameters"), rows, words=2, name=f"Density of each layer of the model{when}")


def _sizes(model: ModelFile) -> Html | None:
    facts = model.contents.facts
    versions = (("All units", facts.whole), ("Without dead units", facts.slim))
    kept = f"{sum(layer.kept for layer in model.layers):,}"  # the weights of dead units are not in the file
    rows = [(name, f"{work.parameters:,}", kept, f"{work.multiply_adds:,}") for name, work in versions if work is not None]
    if not rows:
        return None
    head = ("", "parameters", "not zero", "multiply-adds")
    return table(head, rows, name=f"Size of the model{_when(model)}; multiply-adds are for one example")
