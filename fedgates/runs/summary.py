"""What a person looks at: a line a round, a table at the end, and two curves."""

from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median

from fedgates.runs.round_log import RoundLog
from fedgates.runs.totals import DIRECTIONS, WRONG, Line, metric, moved, number, sent_down, sorts
from fedgates.util.log_axis import log_x
from fedgates.util.text import columns, one_line

_MOST_REASONS, _MOST_NAMES = 8, 12
"""Reasons below one round's line, and clients in one reason's."""
_NO_TIME = "0:00"


class Clock:
    """Says of each round what it did, and how long the rest will take, judged by the median of the last rounds.

    While the first that it is told ran, processes started and data was loaded: it says so, and forgets that one.
    """

    def __init__(self, last_round: int) -> None:
        self._last = last_round
        self._seconds: deque[float] = deque(maxlen=9)
        self._seen = 0

    def line(self, round_line: Line) -> str:
        """The tidy line of a round, with the reasons of what went wrong, one a line, below it."""
        attempt = round_line.get("attempt", 1)
        parts = [
            f"round {round_line['round']:{len(str(self._last))}}/{self._last}",
            " ".join(reached(round_line)),
            f"density {kept(round_line)}",
            f"bpp up {number(round_line.get('uplink_bpp'))} down {number(round_line.get('downlink_bpp'))}",
            f"clients {round_line['clients_counted']}/{round_line['clients_selected']}",
            *([f"attempt {attempt}"] if attempt > 1 else []),
        ]
        left = self.left(round_line)
        parts.append(f"{left} left, start included" if self._seen == 1 and left != _NO_TIME else f"{left} left")
        return "\n".join(["  ".join(parts), *(f"    {told}" for told in wrong(round_line))])

    def left(self, round_line: Line) -> str:
        """Hours, minutes and seconds after this round, to be asked once for each. One without a quorum is still to be done."""
        self._seen += 1
        if self._seen == 2:
            self._seconds.clear()
        self._seconds.append(round_line["seconds"])
        rounds = max(0, self._last - round_line["round"] + (not round_line.get("quorum", True)))
        minutes, seconds = divmod(round(median(self._seconds) * rounds), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


def reached(round_line: Line) -> tuple[str, str]:
    """What a round is first of all judged by, and its value: accuracy, for regression r2; without test data the devices'."""
    judged = metric([round_line])
    return judged.word, judged.told(round_line.get(judged.key))


def kept(round_line: Line) -> str:
    """The density of what clients send; where that is all of it, the model's beside it."""
    sent, model = number(round_line.get("density")), number(round_line.get("model_density"))
    return f"{sent} model {model}" if sent == "1.000" and model not in {"-", "1.000"} else sent


def wrong(round_line: Line, most: int = _MOST_REASONS) -> list[str]:
    """Who was rejected, failed or did not evaluate, `most` reasons with theirs; and whether the round counted for nothing."""
    groups: dict[tuple[str, str], list[str]] = {}
    for key, what in WRONG:
        for client, reason in (round_line.get(key) or {}).items():
            groups.setdefault((what, one_line(reason)), []).append(one_line(client, 20))
    told = [f"{_clients(names)} {what}: {reason}" for (what, reason), names in groups.items()]
    if len(told) > most:
        told[most - 1 :] = [f"and {len(told) - most + 1:,} other reasons, in rounds.jsonl"]
    return told if round_line.get("quorum", True) else [*told, "no quorum: the round changes nothing"]


def _clients(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"client {names[0]}"
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f"clients {', '.join(names[:_MOST_NAMES])}{more}"


def summary(lines: Sequence[Line], strategy: str, size: int) -> str:
    """The table at the end: what was reached and what it cost, beside dense float32 FedAvg; and what travelled.

    The second row is arithmetic, not a run: 4 bytes a parameter, for as many messages each way as this run had.
    """
    m = moved(lines, size)
    counted = [line for line in lines if line.get("quorum", True)]
    judged = metric(counted)
    last = counted[-1].get(judged.key) if counted else None
    name = f"{one_line(strategy, 40)}, {len(counted)} round{'s' * (len(counted) != 1)}"
    rows = [
        ("", judged.word, "bytes up", "bytes down", "both"),
        (name, judged.told(last), *(f"{n:,}" for n in (m.up, m.down, m.both))),
        ("dense float32 FedAvg would move", "", *(f"{n:,}" for n in (m.dense_up, m.dense_down, m.dense))),
        ("times less", "", *(_times(a, b) for a, b in ((m.dense_up, m.up), (m.dense_down, m.down), (m.dense, m.both)))),
    ]
    ways = dict(DIRECTIONS)
    travelled = [
        f"{ways[s.way]}: {s.messages:,} x {one_line(s.name, 60)}, {s.total / s.messages:,.0f} bytes each" for s in sorts(lines)
    ]
    return "\n".join([*columns(rows, left=1), *travelled])


def draw_curves(folder: Path, size: int) -> Path:
    """Draw ``curves.png`` in a run's folder: accuracy (for regression r2) against rounds, and against bytes moved both ways.

    A dashed line marks what one round of dense float32 FedAvg moves, for scale.
    """
    import matplotlib as mpl  # noqa: PLC0415  # takes half a second, and only the end of a run needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    every = RoundLog(folder).read()
    total = dict(zip((x["round"] for x in every), accumulate(x["uplink_bytes"] + sent_down(x) for x in every), strict=True))
    judged = metric(every)
    headline, scale = judged.key, 100 if judged.is_share else 1
    label = judged.name[0].lower() + judged.name[1:] + (", %" if judged.is_share else "")
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
        by_round.xaxis.get_major_locator().set_params(integer=True)
        by_bytes.set(xlabel="megabytes moved, both ways, all clients")
        if any(so_far):
            log_x(by_bytes)
        if lines:
            by_bytes.legend(frameon=False, fontsize=8)
        target = folder / "curves.png"
        figure.savefig(target, dpi=130)
    return target


def _times(dense: float, ours: float) -> str:
    return f"{dense / ours:.1f}x" if ours else "-"
