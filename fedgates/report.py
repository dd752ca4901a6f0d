"""What a person looks at: a line a round, a table at the end, and two curves."""

from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median

from fedgates.ledger import Ledger
from fedgates.text import columns
from fedgates.totals import DIRECTIONS, Line, moved, sent_down, sorts


class Clock:
    """Says of each round what it did, and how long the rest will take, judged by the median of the last rounds."""

    def __init__(self, last_round: int) -> None:
        self._last = last_round
        self._seconds: deque[float] = deque(maxlen=9)

    def line(self, round_line: Line) -> str:
        """The tidy line of a round, with the reasons of what went wrong, one a line, below it."""
        self._seconds.append(round_line["seconds"])
        left = round(median(self._seconds) * (self._last - round_line["round"]))
        width = len(str(self._last))
        parts = [
            f"round {round_line['round']:{width}}/{self._last}",
            " ".join(_headline(round_line)),
            f"density {_number(round_line['density'], '.3f')}",
            f"bpp up {_number(round_line['uplink_bpp'], '.3f')} down {_number(round_line['downlink_bpp'], '.3f')}",
            f"clients {round_line['clients_counted']}/{round_line['clients_selected']}",
            f"{left // 60}:{left % 60:02d} left",
        ]
        wrong = [
            f"    client {client} {what}: {reason}"
            for what in ("rejected", "failed")
            for client, reason in round_line[what].items()
        ]
        evaluation = round_line.get("evaluation_failed", {})
        wrong += [f"    client {client} did not evaluate: {reason}" for client, reason in evaluation.items()]
        if not round_line["quorum"]:
            wrong.append("    no quorum: the round changes nothing and is repeated")
        return "\n".join(["  ".join(parts), *wrong])


def summary(lines: Sequence[Line], strategy: str, size: int) -> str:
    """The table at the end: what was reached and what it cost, beside dense float32 FedAvg; and what travelled.

    The second row is arithmetic, not a run: 4 bytes a parameter, for as many messages each way as this run had.
    """
    m = moved(lines, size)
    counted = [line for line in lines if line.get("quorum", True)]
    reached = _headline(counted[-1]) if counted else ("accuracy", "-")
    name = f"{strategy}, {len(counted)} rounds"
    rows = [
        ("", reached[0], "bytes up", "bytes down", "both"),
        (name, reached[1], *(f"{n:,}" for n in (m.up, m.down, m.both))),
        ("dense float32 FedAvg would move", "", *(f"{n:,}" for n in (m.dense_up, m.dense_down, m.dense))),
        ("times less", "", *(_times(a, b) for a, b in ((m.dense_up, m.up), (m.dense_down, m.down), (m.dense, m.both)))),
    ]
    ways = dict(DIRECTIONS)
    travelled = [f"{ways[s.way]}: {s.messages:,} x {s.name}, {s.total / s.messages:,.0f} bytes each" for s in sorts(lines)]
    return "\n".join([*columns(rows, left=1), *travelled])


def draw_curves(folder: Path, size: int) -> Path:
    """Draw ``curves.png`` in a run's folder: accuracy (for regression r2) against rounds, and against bytes moved both ways.

    A dashed line marks what one round of dense float32 FedAvg moves, for scale.
    """
    import matplotlib as mpl  # noqa: PLC0415  # takes half a second, and only the end of a run needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    every = Ledger(folder).read()
    total = dict(zip((x["round"] for x in every), accumulate(x["uplink_bytes"] + sent_down(x) for x in every), strict=True))
    headline, label = _drawn(every)
    scale = 1 if headline == "r2" else 100
    lines = [line for line in every if line.get(headline) is not None]
    rounds = [line["round"] for line in lines]
    so_far = [total[r] for r in rounds]
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        by_round, by_bytes = figure.subplots(1, 2, sharey=True)
        for key, name in (
            (headline, "thresholded mask" if lines and any(key.startswith(f"{headline}_") for key in lines[0]) else "model"),
            (f"{headline}_sample", "one sampled mask"),
            (f"{headline}_mean", "mean network"),
            (f"{headline}_ensemble", "ensemble of masks"),
        ):
            found = [scale * line[key] for line in lines if line.get(key) is not None]
            if len(found) == len(lines) and found:
                by_round.plot(rounds, found, label=name)
                by_bytes.plot([n / 1e6 for n in so_far], found, label=name)
        if lines:
            first = lines[0]["clients_selected"]
            dense = 4 * size * (2 * first + lines[0].get("clients_evaluating", 0)) / 1e6
            by_bytes.axvline(dense, color="grey", linestyle="--", linewidth=1, label="one round of dense FedAvg")
        by_round.set(xlabel="round", ylabel=label)
        by_bytes.set(xlabel="megabytes moved, both ways, all clients", xscale="log" if any(so_far) else "linear")
        if lines:
            by_bytes.legend(frameon=False, fontsize=8)
        target = folder / "curves.png"
        figure.savefig(target, dpi=130)
    return target


def _drawn(lines: Sequence[Line]) -> tuple[str, str]:
    """The key of the curve, and what its axis says."""
    if any("r2" in line for line in lines):
        return "r2", "test r2"
    if not any(line["accuracy"] is not None for line in lines) and any("client_accuracy" in line for line in lines):
        return "client_accuracy", "accuracy on devices' held-out images, %"
    return "accuracy", "test accuracy, %"


def _headline(line: Line) -> tuple[str, str]:
    """What a round is first of all judged by, and its value: accuracy, for regression r2; without test data the devices'."""
    if "r2" in line:
        return "r2", _number(line["r2"], ".3f")
    if line["accuracy"] is None and "client_accuracy" in line:
        return "devices' accuracy", _percent(line["client_accuracy"])
    return "accuracy", _percent(line["accuracy"])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _times(dense: float, ours: float) -> str:
    return f"{dense / ours:.1f}x" if ours else "-"
