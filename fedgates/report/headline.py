"""The top of the page: which run it is, how far it is, what it reached, what that cost."""

from fedgates.config import CLIENTS
from fedgates.report import numbers
from fedgates.report.markup import Html, el
from fedgates.report.parts import table
from fedgates.report.run_data import RunData
from fedgates.report.status import status
from fedgates.runs.totals import Line, Metric
from fedgates.util.text import one_line


def headline(story: RunData) -> Html:
    """The run's name, its key figures, and how it compares with dense float32 FedAvg."""
    return el(
        "header",
        el("p", story.name, class_="eyebrow"),
        el("h1", title(story)),
        el("p", _about(story)),
        status(story),
        _tiles(story),
        _versus(story),
    )


def title(story: RunData) -> str:
    """Method and data set."""
    strategy, dataset = (one_line(story.config.get(key, ""), 80) for key in ("strategy", "dataset"))
    return f"{strategy} on {dataset}" if strategy and dataset else story.name


def _about(story: RunData) -> str:
    parts = []
    if "model" in story.config:
        parts.append(one_line(story.config["model"], 80) + (f" with {story.size:,} parameters" if story.size else ""))
    if CLIENTS in story.config:
        clients = story.config[CLIENTS]
        parts.append("real devices" if clients is None else numbers.count(clients, "simulated client"))
    took = numbers.duration(sum(line["seconds"] for line in story.lines))
    parts.append(_how_far(story) + (f" in {took}" if story.lines else ""))
    return ", ".join(parts) + "."


def _how_far(story: RunData) -> str:
    asked, done = story.asked, len(story.rounds)
    attempts = len(story.lines) - done
    repeated = f", and {numbers.count(attempts, 'attempt')} without a quorum" if attempts else ""
    if asked is not None and done != asked:
        return f"{done:,} of {numbers.count(asked, 'round')}{repeated}"
    return numbers.count(done, "round") + repeated


def _tiles(story: RunData) -> Html:
    moved, metric = story.moved, story.metric
    reached = [line for line in story.rounds if line.get(metric.key) is not None]
    best = _best(reached, metric)
    tiles = []
    if reached:
        last = reached[-1]
        tiles.append(_tile(metric.name, metric.told(last[metric.key]), f"after round {last['round']}{best}"))
    if story.lines:
        ways = f"{numbers.size(moved.up)} up, {numbers.size(moved.down)} down"
        name = "Moved so far, both ways" if story.under_way else "Moved, both ways"
        tiles.append(_tile(name, numbers.size(moved.both), ways))
    if moved.dense and moved.both:
        would = f"dense float32 FedAvg would move {numbers.size(moved.dense)}"
        less = moved.both <= moved.dense
        name, times = ("Less", (moved.dense, moved.both)) if less else ("More", (moved.both, moved.dense))
        tiles.append(_tile(f"{name} than dense FedAvg", numbers.times(*times), would))
    if story.model:
        tiles.append(_tile("The model's file", numbers.size(story.model.file_bytes), _file_note(story)))
    return el("dl", *tiles, class_="tiles")


def _best(reached: list[Line], metric: Metric) -> str:
    """The best round, where the last is not it."""
    if len(reached) < 2 or "loss" in metric.key:
        return ""
    best = max(reached, key=lambda line: float(line[metric.key]))
    if best[metric.key] <= reached[-1][metric.key]:
        return ""
    return f"; best {metric.told(best[metric.key])} in round {best['round']}"


def _file_note(story: RunData) -> str:
    """Whose size the file's is to be held against."""
    written = story.model.round if story.model else None
    when = f", of round {written}" if written not in {None, story.done} else ""
    if not story.size:
        return f"with all that it needs{when}"
    return f"its {story.size:,} parameters in float32: {numbers.size(4 * story.size)}{when}"


def _tile(name: str, value: str, beside: str) -> Html:
    return el("div", el("dt", name), el("dd", value, class_="value"), el("dd", beside))


def _versus(story: RunData) -> Html | None:
    moved = story.moved
    if not moved.dense:
        return None
    ours = [_exact(count) for count in (moved.up, moved.down, moved.both)]
    dense = [_exact(count) for count in (moved.dense_up, moved.dense_down, moved.dense)]
    pairs = ((moved.dense_up, moved.up), (moved.dense_down, moved.down), (moved.dense, moved.both))
    rows = [
        ("This run", *ours),
        ("Dense FedAvg", *dense),
        ("Times less", *(numbers.times(a, b) for a, b in pairs)),
    ]
    return table(("", "up", "down", "both ways"), rows, name="Beside what dense float32 FedAvg would move in as many messages")


def _exact(count: int) -> Html:
    return el("span", numbers.size(count), title=f"{count:,} bytes")
