"""The view of a running run in a terminal: the last rounds, as many as fit, with the columns that fit."""

from collections.abc import Sequence

from fedgates.runs.summary import RoundFormatter, density, failures
from fedgates.runs.totals import Line, format_number, headline_metric
from fedgates.util.text import columns

_GAP = 2
_OTHERS = 3
"""Rows other than rounds: the heading, the names of columns and the last row."""
_MAX_REASONS = 3
_BEFORE = 10
"""Rounds before those shown that are used for the estimate of the time left."""


def view(lines: Sequence[Line], of_rounds: int, heading: str, last: str, width: int, height: int) -> str:
    """Return the rows for a terminal of `width` columns and `height` rows; the last row of the terminal stays free.

    Parameters
    ----------
    lines : sequence of mapping
        Lines of ``rounds.jsonl`` so far.
    of_rounds : int
        Number of rounds asked for.
    heading, last : str
        The first and the last row.
    width, height : int
        Size of the terminal in characters.
    """
    room = max(1, height - _OTHERS - 1)
    shown = lines[-room:]
    formatter = RoundFormatter(of_rounds)
    for line in lines[max(0, len(lines) - room - _BEFORE) : len(lines) - len(shown)]:
        formatter.time_left(line)
    rows = _table(shown, of_rounds, formatter, width)
    body = []
    for line, row in zip(shown, rows[1:], strict=True):
        body += [row, *(f"    {failure}" for failure in failures(line, _MAX_REASONS))]
    return "\n".join([heading, *rows[:1], *body[-room:], last])


def _table(lines: Sequence[Line], of_rounds: int, formatter: RoundFormatter, width: int) -> list[str]:
    """Return a header and a row for each line, with the columns that fit; those with the highest number are dropped first."""
    metric = headline_metric(lines)
    table = [
        (0, "round", [f"{line['round']}/{of_rounds}{_attempt(line)}" for line in lines]),
        (1, metric.word, [metric.format(line.get(metric.key)) for line in lines]),
        (4, "density", [density(line) for line in lines]),
        (6, "bpp up", [format_number(line.get("uplink_bpp")) for line in lines]),
        (5, "bpp down", [format_number(line.get("downlink_bpp")) for line in lines]),
        (3, "clients", [f"{line['clients_counted']}/{line['clients_selected']}" for line in lines]),
        (2, "left", [formatter.time_left(line).split()[0] for line in lines]),
    ]
    while len(table) > 1 and sum(max(map(len, [head, *cells])) + _GAP for _, head, cells in table) - _GAP > width:
        table.remove(max(table))
    return columns([[head for _, head, _ in table], *zip(*(cells for *_, cells in table), strict=True)], left=0)


def _attempt(line: Line) -> str:
    attempt = line.get("attempt", 1)
    return f" attempt {attempt}" if attempt > 1 else ""
