"""Follow a running run: show its last rounds in the terminal, and update its page."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from fedgates.report import write_page
from fedgates.report.terminal import view
from fedgates.runs.folder import ROUNDS, is_running
from fedgates.runs.listing import follow_rounds, read_entry
from fedgates.runs.summary import RoundFormatter
from fedgates.runs.totals import Line
from fedgates.util.text import one_line

_Show = Callable[[Sequence[Line], bool], None]
"""Function that shows the lines so far; the second argument is whether the run has ended."""
_PAGE_INTERVAL, _PAGE_SHARE = 5.0, 0.05
"""Shortest time between updates of the page, seconds, and largest share of time spent on them."""


def show(path: Path, *, stderr: bool = False) -> None:
    """Show a run until it ends: a view of the last rounds and the time left, or, without a terminal, a line per round."""
    console, page = Console(highlight=False, stderr=stderr), _Page(path)
    plain = not console.is_terminal or console.is_dumb_terminal
    with _lines(path, stderr=stderr) if plain else _view(path, console) as show_lines:
        for log, changed, ended in follow_rounds(path):
            show_lines(log.lines, ended)
            page.update(changed=changed)


@contextmanager
def _lines(path: Path, *, stderr: bool) -> Iterator[_Show]:
    """Context manager for a function that prints a line for each round; rounds repeated by a resumed run are printed again."""
    formatter, printed = RoundFormatter(read_entry(path).of_rounds), 0

    def show_lines(lines: Sequence[Line], ended: bool) -> None:  # noqa: ARG001, FBT001  # same signature as in _view
        nonlocal printed
        for line in lines[printed:]:
            typer.echo(formatter.format(line), err=stderr)
        printed = len(lines)

    yield show_lines


@contextmanager
def _view(path: Path, console: Console) -> Iterator[_Show]:
    """Context manager for a function that redraws a view of the last rounds."""
    of_rounds = read_entry(path).of_rounds
    with Live(console=console, auto_refresh=False) as live:

        def show_lines(lines: Sequence[Line], ended: bool) -> None:  # noqa: FBT001
            last = "the run has ended" if ended else _last_row(path)
            rows = view(lines, of_rounds, one_line(path.name), last, *console.size)
            live.update(Text(rows, no_wrap=True, overflow="ellipsis"), refresh=True)

        yield show_lines


def write_current_page(path: Path) -> Path:
    """Write the page of a run and return its path; if the run ended meanwhile, write it again, so that it is final."""
    while True:
        running = is_running(path)
        page = write_page(path, under_way=running)
        if is_running(path) == running:
            return page


class _Page:
    """Page of a running run, rewritten after changes but not too often."""

    def __init__(self, path: Path) -> None:
        self._path, self._next, self._stale = path, 0.0, False

    def update(self, *, changed: bool) -> None:
        started = time.monotonic()
        self._stale |= changed
        if not self._stale or started < self._next:
            return
        with suppress(OSError):  # the folder may be read-only, which the command reports at its end
            write_current_page(self._path)
        self._stale = False
        ended = time.monotonic()
        self._next = ended + max(_PAGE_INTERVAL, (ended - started) / _PAGE_SHARE)


def _last_row(path: Path) -> str:
    """Return a line with the time since the last round, so that a long round does not look like a hang."""
    try:
        ended = (path / ROUNDS).stat().st_mtime
    except OSError:
        return "no round has ended yet; Ctrl-C ends this view, not the run"
    minutes, seconds = divmod(max(0, round(time.time() - ended)), 60)
    return f"last round ended {minutes}:{seconds:02d} ago; Ctrl-C ends this view, not the run"
