"""The top of the page: name, progress, headline numbers and bytes of the run."""

from fedgates.config import CLIENTS
from fedgates.report import numbers
from fedgates.report.markup import Html, el
from fedgates.report.parts import table
from fedgates.report.run_data import RunData
from fedgates.report.status import status
from fedgates.runs.checkpoint import BEST
from fedgates.runs.folder import MODEL_BEST
from fedgates.runs.totals import Line, Metric, last_value
from fedgates.util.text import one_line


def headline(run: RunData) -> Html:
    """Return the header: name, headline numbers, and a comparison with dense float32 FedAvg."""
    return el(
        "header",
        el("p", run.name, class_="eyebrow"),
        el("h1", title(run)),
        el("p", _about(run)),
        status(run),
        _best_round(run),
        _tiles(run),
        _comparison(run),
    )


def title(run: RunData) -> str:
    """Method and data set."""
    strategy, dataset = (one_line(run.config.get(key, ""), 80) for key in ("strategy", "dataset"))
    return f"{strategy} on {dataset}" if strategy and dataset else run.name


def _about(run: RunData) -> str:
    parts = []
    if "model" in run.config:
        parts.append(one_line(run.config["model"], 80) + (f" with {run.size:,} parameters" if run.size else ""))
    if CLIENTS in run.config:
        clients = run.config[CLIENTS]
        parts.append("real devices" if clients is None else numbers.count(clients, "simulated client"))
    took = numbers.duration(sum(line["seconds"] for line in run.lines))
    parts.append(_progress(run) + (f" in {took}" if run.lines else ""))
    return ", ".join(parts) + "."


def _progress(run: RunData) -> str:
    asked, done = run.num_rounds, len(run.rounds)
    attempts = len(run.lines) - done
    repeated = f", and {numbers.count(attempts, 'attempt')} without a quorum" if attempts else ""
    if asked is not None and done != asked:
        return f"{done:,} of {numbers.count(asked, 'round')}{repeated}"
    return numbers.count(done, "round") + repeated


def _tiles(run: RunData) -> Html:
    total, metric = run.total, run.metric
    reached = [line for line in run.rounds if line.get(metric.key) is not None]
    best = _best(reached, metric)
    tiles = []
    if reached:
        last = reached[-1]
        tiles.append(_tile(metric.name, metric.format(last[metric.key]), f"after round {last['round']}{best}"))
    if run.lines:
        directions = f"{numbers.size(total.up)} up, {numbers.size(total.down)} down"
        name = "Bytes so far, both ways" if run.under_way else "Bytes, both ways"
        tiles.append(_tile(name, numbers.size(total.both), directions))
    if total.dense and total.both:
        dense = f"dense float32 FedAvg would move {numbers.size(total.dense)}"
        fewer = total.both <= total.dense
        name, ratio = ("Fewer", (total.dense, total.both)) if fewer else ("More", (total.both, total.dense))
        tiles.append(_tile(f"{name} bytes than dense FedAvg", numbers.times(*ratio), dense))
    if run.model:
        tiles.append(_tile("Model file", numbers.size(run.model.file_bytes), _file_note(run)))
    return el("dl", *tiles, class_="tiles")


def _best(reached: list[Line], metric: Metric) -> str:
    """Return the best value and its round; empty if the last round is the best."""
    if len(reached) < 2 or "loss" in metric.key:
        return ""
    best = max(reached, key=lambda line: float(line[metric.key]))
    if best[metric.key] <= reached[-1][metric.key]:
        return ""
    return f"; best {metric.format(best[metric.key])} in round {best['round']}"


def _best_round(run: RunData) -> Html | None:
    """Return a sentence about the model of the best round, if it was kept."""
    if run.best_model is None:
        return None
    number, metric = run.best_model.round, run.metric
    value = last_value([line for line in run.rounds if line["round"] == number], metric)
    reached = "" if value is None else f" ({metric.word} {metric.format(value)})"
    when = "" if number is None else f", of round {number}{reached},"
    return el("p", f"The best model{when} is ", el("code", MODEL_BEST), ", and its state is ", el("code", BEST), ".")


def _file_note(run: RunData) -> str:
    """Return the size to compare that of the file with, and its round if that is not the last."""
    written = run.model.round if run.model else None
    when = f", of round {written}" if written not in {None, run.last_round} else ""
    if not run.size:
        return f"parameters and metadata{when}"
    return f"its {run.size:,} parameters in float32: {numbers.size(4 * run.size)}{when}"


def _tile(name: str, value: str, beside: str) -> Html:
    return el("div", el("dt", name), el("dd", value, class_="value"), el("dd", beside))


def _comparison(run: RunData) -> Html | None:
    total = run.total
    if not total.dense:
        return None
    ours = [_exact(count) for count in (total.up, total.down, total.both)]
    dense = [_exact(count) for count in (total.dense_up, total.dense_down, total.dense)]
    pairs = ((total.dense_up, total.up), (total.dense_down, total.down), (total.dense, total.both))
    rows = [
        ("This run", *ours),
        ("Dense FedAvg", *dense),
        ("Times less", *(numbers.times(a, b) for a, b in pairs)),
    ]
    return table(
        ("", "up", "down", "both ways"), rows, name="Bytes, compared with those of dense float32 FedAvg for as many messages"
    )


def _exact(count: int) -> Html:
    return el("span", numbers.size(count), title=f"{count:,} bytes")
