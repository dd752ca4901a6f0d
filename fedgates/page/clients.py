"""Who took part, what went wrong and why, and what devices found on their own data."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedgates.page import charts, numbers
from fedgates.page.axes import linear, whole
from fedgates.page.charts import BOTTOM, LEFT, RIGHT, TOP, Column, Series
from fedgates.page.markup import Html, el
from fedgates.page.parts import figure, figures, folded, more, note, section, table
from fedgates.page.story import Story
from fedgates.page.traffic import grouped, label, named
from fedgates.text import one_line
from fedgates.totals import Line

_COUNTS = (("clients_counted", "counted"), ("clients_rejected", "rejected"), ("clients_failed", "failed"))
_WRONG = (("rejected", "rejected"), ("failed", "failed"), ("evaluation_failed", "did not evaluate"))
_MOST_ROUNDS, _MOST_REASONS, _MOST_DEVICES = 40, 12, 40


def clients(story: Story) -> Html | None:
    """The section; None of a run without a round."""
    if not story.lines:
        return None
    wrong = _wrong(story.lines)
    return section("Clients", figures(_counts(story.lines), _waiting(story.rounds)), _all_wrong(wrong))


def _all_wrong(wrong: Sequence[tuple[Line, list[tuple[str, str, str]]]]) -> Html:
    if not wrong:
        return note("No reply was rejected and no client failed.")
    replies = numbers.count(sum(len(reasons) for _, reasons in wrong), "reply", "replies")
    return folded(
        f"What went wrong: {replies}, in {numbers.count(len(wrong), 'attempt')} at a round",
        *(_told(line, reasons) for line, reasons in wrong[:_MOST_ROUNDS]),
        more(len(wrong) - _MOST_ROUNDS, "and {} more attempts"),
    )


def _counts(lines: Sequence[Line]) -> Html:
    groups = grouped(lines)
    columns = []
    for group in groups:
        parts = [sum(line[key] for line in group) for key, _ in _COUNTS]
        titles = [f"{named(group)}: {part} {name}" for part, (_, name) in zip(parts, _COUNTS, strict=True)]
        columns.append(Column(label(group), parts, titles))
    totals = [f"{sum(line[key] for line in lines):,} {name}" for key, name in _COUNTS]
    each = "a round" if len(groups) == len(lines) else f"a column of {len(groups[0])} rounds"
    chart = charts.columns(
        columns, lambda tick: f"{tick:,.4g}", says=f"Replies {each}; in all {', '.join(totals)}", x_name="round", palette="k"
    )
    without = sum(not line.get("quorum", True) for line in lines)
    about = (
        f"{numbers.count(without, 'attempt')} had too few, changed nothing, and {'was' if without == 1 else 'were'} repeated."
        if without
        else None
    )
    present = [(f"k{i}", name) for i, (key, name) in enumerate(_COUNTS, 1) if any(line[key] for line in lines)]
    return figure(f"Replies {each}", chart, note=about, legend=charts.legend(present))


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
    series = [
        Series(
            name, points, [f"round {at}: {name} {numbers.duration(value)}" for at, value in points] if style == 1 else (), style
        )
        for style, (name, points) in enumerate(found, 1)
    ]
    seconds = [line["seconds"] for line in rounds]
    chart = charts.lines(
        series[::-1],
        whole([line["round"] for line in rounds], LEFT, RIGHT),
        linear([value for _, points in found for _, value in points], BOTTOM, TOP, lambda tick: f"{tick:.3g} s", zero=True),
        says=f"Seconds a round, from {min(seconds):.3g} to {max(seconds):.3g}",
        x_name="round",
    )
    legend = charts.legend([(f"s{style}", name) for style, (name, _) in enumerate(found, 1)])
    return figure("Time a round", chart, note="Clients say their own.", legend=legend)


def _wrong(lines: Sequence[Line]) -> list[tuple[Line, list[tuple[str, str, str]]]]:
    """The attempts in which something went wrong, and in each: client, what, why."""
    found = [
        (line, [(client, word, reason) for key, word in _WRONG for client, reason in (line.get(key) or {}).items()])
        for line in lines
    ]
    return [(line, reasons) for line, reasons in found if reasons]


def _told(line: Line, reasons: Sequence[tuple[str, str, str]]) -> Html:
    """An attempt, who failed it, and why."""
    name = named([line])
    quorum = "" if line.get("quorum", True) else ", no quorum"
    items = [el("li", el("b", f"client {one_line(c, 40)} {word}: "), one_line(why)) for c, word, why in reasons[:_MOST_REASONS]]
    return el(
        "div",
        el("h3", f"{name[0].upper()}{name[1:]}{quorum}"),
        el("ul", *items, class_="reasons"),
        more(len(reasons) - _MOST_REASONS, "and {} more"),
    )


def devices(story: Story) -> Html | None:
    """What devices found that evaluated the model on their own images; None where none did."""
    lines = [line for line in story.rounds if line.get("client_evaluations")]
    if not lines:
        return None
    shares = all("accuracy" in found for line in lines for found in line["client_evaluations"].values())
    key = "accuracy" if shares else "loss"
    return section(
        "On the devices' own data",
        figures(_spread(lines, key)),
        folded(f"Each device after round {lines[-1]['round']}", _each(lines[-1]["client_evaluations"], key)),
    )


def _spread(lines: Sequence[Line], key: str) -> Html:
    of_round = [(line["round"], [float(found[key]) for found in line["client_evaluations"].values()]) for line in lines]
    means = [(at, float(line.get(f"client_{key}", sum(v) / len(v)))) for line, (at, v) in zip(lines, of_round, strict=True)]
    band = [(at, min(values), max(values)) for at, values in of_round]
    titles = [
        f"round {at}: mean {_value(key, mean)}, {len(v)} devices from {_value(key, min(v))} to {_value(key, max(v))}"
        for (at, mean), (_, v) in zip(means, of_round, strict=True)
    ]
    says = (lambda tick: f"{100 * tick:.4g} %") if key == "accuracy" else (lambda tick: f"{tick:.4g}")
    chart = charts.lines(
        [Series("mean", means, titles)],
        whole([at for at, _ in of_round], LEFT, RIGHT),
        linear([value for _, low, high in band for value in (low, high)], BOTTOM, TOP, says),
        says=f"Devices' own {key}; in the last round {titles[-1].partition(': ')[2]}",
        x_name="round",
        band=charts.thinned(band, 400),
    )
    return figure(
        f"{key.capitalize()} on held-out images of their own",
        chart,
        note="The line is the mean by images, the area from the lowest device to the highest.",
    )


def _each(found: Mapping[str, Mapping[str, Any]], key: str) -> Html:
    """The weakest devices first."""
    order = sorted(found, key=lambda device: found[device][key], reverse=key == "loss")
    rows = [
        (
            f"client {one_line(device, 40)}",
            *(_value(k, found[device][k]) for k in ("examples", "accuracy", "loss") if k in found[device]),
        )
        for device in order[:_MOST_DEVICES]
    ]
    head = ("device", *(k for k in ("examples", "accuracy", "loss") if k in found[order[0]]))
    return el("div", table(head, rows, name="Devices, the weakest first"), more(len(order) - _MOST_DEVICES, "and {} more"))


def _value(key: str, value: float) -> str:
    return numbers.percent(value) if key == "accuracy" else f"{value:,}" if key == "examples" else f"{value:.3f}"
