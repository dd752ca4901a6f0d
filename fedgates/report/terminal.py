"""A run under way as a terminal shows it: the last rounds, as many and as much of each as there is room for."""

from collections.abc import Sequence

from fedgates.runs.summary import Clock, kept, wrong
from fedgates.runs.totals import Line, metric, number
from fedgates.util.text import columns

_GAP = 2
_OTHERS = 3
"""Rows that are no rounds: the heading, the names of columns, and the last; a terminal scrolls where its own last is used."""
_MOST_REASONS = 3
_BEFORE = 10
"""Rounds before those that are shown, from which it is known how long one takes."""


def view(lines: Sequence[Line], of_rounds: int, heading: str, last: str, width: int, height: int) -> str:
    """Rows for a terminal of `width` columns and `height` rows.

    Parameters
    ----------
    lines
        Of the ledger, so far.
    of_rounds
        How many rounds the run is to have.
    heading, last
        The first row, and the last.
    """
    room = max(1, height - _OTHERS - 1)
    shown = lines[-room:]
    clock = Clock(of_rounds)
    for line in lines[max(0, len(lines) - room - _BEFORE) : len(lines) - len(shown)]:
        clock.left(line)
    rows = _table(shown, of_rounds, clock, width)
    found = []
    for line, row in zip(shown, rows[1:], strict=True):
        found += [row, *(f"    {note}" for note in wrong(line, _MOST_REASONS))]
    return "\n".join([heading, *rows[:1], *found[-room:], last])


def _table(lines: Sequence[Line], of_rounds: int, clock: Clock, width: int) -> list[str]:
    """A head and a row a line, with those columns that fit, in their order; which go first is said by their number."""
    judged = metric(lines)
    found = [
        (0, "round", [f"{line['round']}/{of_rounds}{_attempt(line)}" for line in lines]),
        (1, judged.word, [judged.told(line.get(judged.key)) for line in lines]),
        (4, "density", [kept(line) for line in lines]),
        (6, "bpp up", [number(line.get("uplink_bpp")) for line in lines]),
        (5, "bpp down", [number(line.get("downlink_bpp")) for line in lines]),
        (3, "clients", [f"{line['clients_counted']}/{line['clients_selected']}" for line in lines]),
        (2, "left", [clock.left(line) for line in lines]),
    ]
    while len(found) > 1 and sum(max(map(len, [head, *cells])) + _GAP for _, head, cells in found) - _GAP > width:
        found.remove(max(found))
    return columns([[head for _, head, _ in found], *zip(*(cells for *_, cells in found), strict=True)], left=0)


def _attempt(line: Line) -> str:
    attempt = line.get("attempt", 1)
    return f" attempt {attempt}" if attempt > 1 else ""
