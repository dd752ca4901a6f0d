"""The view of a running run in a terminal: the last rounds, as many as fit, with the columns that fit."""

from collections.abc import Sequence

from fedgates.runs.summary import attempt, density, failures, rounds_left
from fedgates.runs.time_left import time_left
from fedgates.runs.totals import Line, format_number, headline_metric
from fedgates.util.text import columns

_OTHERS = 3
"""Rows other than rounds: the heading, the names of columns and the last row."""
_MAX_REASONS = 3


def view(lines: Sequence[Line], of_rounds: int, heading: str, last: str, width: int, height: int) -> str:
    """Return the rows for a terminal of `width` columns and `height` rows; the last row of the terminal stays free.

    Parameters
    ----------
    lines : sequence of mapping
        Lines of ``rounds.jsonl`` so far.
    of_rounds : int
        Number of rounds of the whole run.
    heading, last : str
        The first and the last row.
    width, height : int
        Size of the terminal in characters.
    """
    room = max(1, height - _OTHERS - 1)
    names, *rows = _table(lines, max(0, len(lines) - room), of_rounds, width)
    body = []
    for line, row in zip(lines[-room:], rows, strict=True):
        body += [row, *(f"    {failure}" for failure in failures(line, _MAX_REASONS))]
    return "\n".join([heading, names, *body[-room:], last])


def _table(lines: Sequence[Line], first: int, of_rounds: int, width: int) -> list[str]:
    """Return a header and a row for each line from `first` on; columns are left out until the others fit."""
    metric, shown = headline_metric(lines[first:]), lines[first:]
    left = [time_left(lines[: i + 1], rounds_left(line, of_rounds)) for i, line in enumerate(shown, first)]
    table = {
        "round": [f"{line['round']}/{of_rounds} {attempt(line)}".rstrip() for line in shown],
        metric.word: [metric.format(line.get(metric.key)) for line in shown],
        "density": [density(line) for line in shown],
        "bpp up": [format_number(line.get("uplink_bpp")) for line in shown],
        "bpp down": [format_number(line.get("downlink_bpp")) for line in shown],
        "clients": [f"{line['clients_counted']}/{line['clients_selected']}" for line in shown],
        "left": [text.split()[0] for text in left],
    }
    for name in ("", "bpp up", "bpp down", "density", "clients", "left", metric.word):
        table.pop(name, None)
        rows = columns([[*table], *zip(*table.values(), strict=True)], left=0)
        if len(rows[0]) <= width:
            break
    return rows
