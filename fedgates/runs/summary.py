"""Text for the terminal: the line of a round, and the table at the end of a run."""

from collections.abc import Sequence

from fedgates.runs import totals
from fedgates.runs.time_left import time_left
from fedgates.runs.totals import (
    DIRECTIONS,
    Line,
    format_number,
    has_quorum,
    headline_metric,
    last_value,
    payload_kinds,
    total_bytes,
)
from fedgates.util.text import columns, one_line

_MAX_REASONS, _MAX_NAMES = 8, 12
"""Largest number of reasons below the line of a round, and of clients listed for a reason."""


class RoundFormatter:
    """Formats the line of each round, with the time left (:mod:`fedgates.runs.time_left`)."""

    def __init__(self, last_round: int) -> None:
        self._last = last_round
        self._lines: list[Line] = []

    def format(self, line: Line) -> str:
        """Return the line of a round, followed by one line for each reason of failures."""
        parts = [
            f"round {line['round']:{len(str(self._last))}}/{self._last}",
            " ".join(headline(line)),
            f"density {density(line)}",
            f"bpp up {format_number(line.get('uplink_bpp'))} down {format_number(line.get('downlink_bpp'))}",
            f"clients {line['clients_counted']}/{line['clients_selected']}",
            attempt(line),
            self.time_left(line),
        ]
        return "\n".join(["  ".join(filter(None, parts)), *(f"    {failure}" for failure in failures(line))])

    def time_left(self, line: Line) -> str:
        """Return the time left after a round, such as ``3:50 left``; must be called once for each attempt, in order."""
        self._lines.append(line)
        return time_left(self._lines, rounds_left(line, self._last))


def rounds_left(line: Line, last_round: int) -> int:
    """Return the number of rounds after an attempt; without a quorum, its own round is one of them."""
    return max(0, last_round - int(line["round"]) + (not has_quorum(line)))


def attempt(line: Line) -> str:
    """Return the number of an attempt in words; empty for the first."""
    number = line.get("attempt", 1)
    return f"attempt {number}" if number > 1 else ""


def headline(line: Line) -> tuple[str, str]:
    """Return the name and value of a round's headline metric."""
    metric = headline_metric([line])
    return metric.word, metric.format(line.get(metric.key))


def density(line: Line) -> str:
    """Return the density of clients' updates; if it is 1, followed by the density of the model."""
    sent, model = format_number(line.get("density")), format_number(line.get("model_density"))
    return f"{sent} model {model}" if sent == "1.000" and model not in {"-", "1.000"} else sent


def failures(line: Line, limit: int = _MAX_REASONS) -> list[str]:
    """Return a line for each reason why clients were rejected, failed or did not evaluate, and one for a missing quorum.

    At most `limit` lines are about clients; the last of them has the number of further reasons.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for client, word, reason in totals.failures(line):
        groups.setdefault((word, reason), []).append(one_line(client, 20))
    texts = [f"{_clients(names)} {word}: {reason}" for (word, reason), names in groups.items()]
    if len(texts) > limit:
        texts[limit - 1 :] = [f"and {len(texts) - limit + 1:,} other reasons, in rounds.jsonl"]
    if has_quorum(line):
        return texts
    withdrawn = line.get("withdrawn")
    return [*texts, f"the new state is not kept: {withdrawn}" if withdrawn else "no quorum: the state is unchanged"]


def _clients(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"client {names[0]}"
    more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return f"clients {', '.join(names[:_MAX_NAMES])}{more}"


def summary_table(lines: Sequence[Line], strategy: str, size: int) -> str:
    """Return the table at the end of a run: headline metric, bytes, bytes of dense float32 FedAvg, and kinds of payloads.

    The bytes of dense FedAvg are computed, not measured: 4 per parameter for the same number of messages.

    Parameters
    ----------
    lines : sequence of mapping
        Lines of ``rounds.jsonl``.
    strategy : str
        Name of the method.
    size : int
        Number of parameters of the network.
    """
    total = total_bytes(lines, size)
    rounds = [line for line in lines if has_quorum(line)]
    metric = headline_metric(rounds)
    last = last_value(rounds, metric)
    name = f"{one_line(strategy, 40)}, {len(rounds)} round{'s' * (len(rounds) != 1)}"
    ratios = ((total.dense_up, total.up), (total.dense_down, total.down), (total.dense, total.both))
    rows = [
        ("", metric.word, "bytes up", "bytes down", "both"),
        (name, metric.format(last), *(f"{n:,}" for n in (total.up, total.down, total.both))),
        ("dense float32 FedAvg would move", "", *(f"{n:,}" for n in (total.dense_up, total.dense_down, total.dense))),
        ("times less", "", *(f"{dense / ours:.1f}x" if ours else "-" for dense, ours in ratios)),
    ]
    directions = dict(DIRECTIONS)
    payloads = [
        f"{directions[kind.direction]}: {kind.messages:,} x {one_line(kind.name, 60)}, "
        f"{kind.total / kind.messages:,.0f} bytes each"
        for kind in payload_kinds(lines)
    ]
    return "\n".join([*columns(rows, left=1), *payloads])
