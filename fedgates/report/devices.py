"""The section on evaluations by clients, on held-out data of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedgates.report import charts, numbers
from fedgates.report.axes import linear, whole
from fedgates.report.charts import BOTTOM, LEFT, RIGHT, TOP, Series
from fedgates.report.markup import Html, el
from fedgates.report.parts import figure, figures, folded, more, section, table
from fedgates.report.run_data import RunData
from fedgates.runs.totals import Line, format_number
from fedgates.util.text import one_line

_MAX_DEVICES = 40
_OWN = "own_class_accuracy"
_NAMES = {_OWN: "accuracy among own classes"}
"""What metrics are called that have another name in the log."""


def devices(run: RunData) -> Html | None:
    """Return the section, or None if no client evaluated."""
    lines = [line for line in run.rounds if line.get("client_evaluations")]
    if not lines:
        return None
    key = "accuracy" if _all_have(lines, "accuracy") else "loss"
    return section(
        "Evaluation on devices",
        figures(*(_spread(lines, shown) for shown in (key, _OWN) if _all_have(lines, shown))),
        folded(f"All devices after round {lines[-1]['round']}", _each(lines[-1]["client_evaluations"], key)),
    )


def _all_have(lines: Sequence[Line], key: str) -> bool:
    return all(key in one for line in lines for one in line["client_evaluations"].values())


def _spread(lines: Sequence[Line], key: str) -> Html:
    of_round = [(line["round"], [float(one[key]) for one in line["client_evaluations"].values()]) for line in lines]
    reported = [line.get(f"client_{key}") for line in lines]
    means = [(at, sum(v) / len(v) if mean is None else float(mean)) for mean, (at, v) in zip(reported, of_round, strict=True)]
    band = [(at, min(values), max(values)) for at, values in of_round]
    titles = [
        f"round {at}: mean {_value(key, mean)}, {len(v)} devices from {_value(key, min(v))} to {_value(key, max(v))}"
        for (at, mean), (_, v) in zip(means, of_round, strict=True)
    ]
    ends = [value for _, low, high in band for value in (low, high)] + [mean for _, mean in means]
    y = (
        linear(ends, BOTTOM, TOP, lambda tick: f"{100 * tick:.4g} %", most=1)
        if _is_share(key)
        else linear(ends, BOTTOM, TOP, lambda tick: f"{tick:.4g}")
    )
    chart = charts.lines(
        [Series("mean", means, titles)],
        whole([at for at, _ in of_round], LEFT, RIGHT),
        y,
        says=f"{_name(key).capitalize()} on devices; in the last round {titles[-1].partition(': ')[2]}",
        x_name="round",
        band=charts.thinned(band, 400),
    )
    return figure(
        f"{_name(key).capitalize()} on devices' held-out images",
        chart,
        note="Line: mean, weighted by number of images. Area: from the lowest device to the highest."
        + (" Predictions are limited to the classes that a device has in training." if key == _OWN else ""),
    )


def _each(evaluations: Mapping[str, Mapping[str, Any]], key: str) -> Html:
    """Return a table of devices, worst first."""
    order = sorted(evaluations, key=lambda device: evaluations[device][key], reverse=key == "loss")
    head = [k for k in ("examples", "accuracy", _OWN, "loss") if any(k in one for one in evaluations.values())]
    rows = [
        (f"client {one_line(device, 40)}", *(_value(k, evaluations[device].get(k)) for k in head))
        for device in order[:_MAX_DEVICES]
    ]
    name = "Devices, worst first"
    return el("div", table(("device", *map(_name, head)), rows, name=name), more(len(order) - _MAX_DEVICES, "and {} more"))


def _value(key: str, value: float | None) -> str:
    if value is None or key == "loss":
        return format_number(value)
    return numbers.percent(value) if _is_share(key) else f"{value:,}"


def _name(key: str) -> str:
    return _NAMES.get(key, key)


def _is_share(key: str) -> bool:
    return "accuracy" in key
